"""What customers tell us of addresses: who must not be mailed, and who left.

A hard bounce or a complaint goes the way of one that came back by itself; an unsubscribe goes
through the one function that ends subscriptions. Each function is safe to repeat.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts import audit
from newsletter.accounts.project import Principal, Project
from newsletter.audience import access, lists
from newsletter.audience import service as audience
from newsletter.feedback.schemas import PushedReason, SuppressionCreate
from newsletter.kit import address, ids
from newsletter.kit.errors import Conflict, NewsletterError, ValidationFailed
from newsletter.suppressions import queries, service
from newsletter.suppressions.models import Reason
from newsletter.suppressions.queries import Held

MAX_EXAMPLES = 10


class SuppressionPermanent(Conflict):
    code, status = "suppression_permanent", 409
    summary = "This person was erased. Only their own new consent, sent with an upsert, ends that."


@dataclass(frozen=True, slots=True)
class Pushed:
    held: Held
    is_new: bool


@dataclass(frozen=True, slots=True)
class BatchResult:
    """``received = created + known + invalid``."""

    received: int
    created: int
    known: int
    invalid: int
    invalid_examples: list[str]


async def suppress(session: AsyncSession, principal: Principal, body: SuppressionCreate) -> Pushed:
    """Raises `ValidationFailed` for a level that lacks its list or domain, or does not suit the
    reason, and `Forbidden` for what is outside of a restricted key."""
    scope = await _scope(session, principal, body)
    key = address.parse(body.email).key
    known = await queries.at(session, scope, key)
    project, source = principal.project, body.source
    match body.reason:
        case PushedReason.hard_bounce:
            await audience.mark_bounced(session, project, key, source=source, key_id=principal.key_id)
        case PushedReason.complaint:
            await audience.mark_complained(session, project, key, source=source, key_id=principal.key_id)
        case PushedReason.unsubscribe:
            await _end_subscriptions(session, principal, key, body.list_id, source)
            await _write(session, project, scope, key, Reason.unsubscribe, source)
        case PushedReason.manual:
            await _write(session, project, scope, key, Reason.manual, source)
    held = await queries.at(session, scope, key)
    assert held is not None
    return Pushed(held, is_new=known is None)


async def unsubscribe(
    session: AsyncSession, principal: Principal, email: str, list_id: UUID | None, source: str
) -> Pushed:
    """From one list, or from all: those that come later included."""
    body = SuppressionCreate(
        email=email,
        reason=PushedReason.unsubscribe,
        level="project" if list_id is None else "list",
        list_id=list_id,
        source=source,
    )
    return await suppress(session, principal, body)


async def suppress_many(
    session: AsyncSession, principal: Principal, raw_rows: Sequence[object]
) -> BatchResult:
    """A bad row is counted and shown, and fails no other."""
    created, bad = 0, []
    for raw in raw_rows:
        try:
            body = SuppressionCreate.model_validate(raw)
            created += (await suppress(session, principal, body)).is_new
        except (ValidationError, NewsletterError):
            bad.append(raw)
    received, invalid = len(raw_rows), len(bad)
    examples = [str(raw)[:320] for raw in bad[:MAX_EXAMPLES]]
    return BatchResult(received, created, received - created - invalid, invalid, examples)


async def lift(session: AsyncSession, principal: Principal, held: Held, *, ip: str | None) -> None:
    """The address may be mailed again, and the audit log says who had that done. Nobody is put back
    on a list by that, and who bounced or complained keeps that status. Raises
    `SuppressionPermanent`."""
    if held.reason is Reason.erased:
        raise SuppressionPermanent()
    await audit.note(
        session,
        principal.project.id,
        "suppression.removed",
        ids.public("sup", held.id),
        key_id=principal.key_id,
        ip=ip,
        details={"reason": held.reason.value, "level": held.reach.level.value, "source": held.source},
    )
    await service.remove(session, held.id)


async def _end_subscriptions(
    session: AsyncSession, principal: Principal, key: str, list_id: UUID | None, source: str
) -> None:
    await audience.unsubscribe(
        session,
        principal.project,
        source=source,
        key_id=principal.key_id,
        address_key=key,
        list_ids=None if list_id is None else [list_id],
    )


async def _write(
    session: AsyncSession, project: Project, scope: str, key: str, reason: Reason, source: str
) -> None:
    await service.suppress(
        session, project_id=project.id, scope=scope, address_keys=[key], reason=reason, source=source
    )


async def _scope(session: AsyncSession, principal: Principal, body: SuppressionCreate) -> str:
    _check(body)
    project = principal.project
    if body.list_id is not None:
        access.allow(principal, body.list_id)
        await lists.named_list(session, project, body.list_id)
        return queries.list_scope(body.list_id)
    access.allow_everywhere(principal)
    return queries.domain_scope(project.id, body.domain) if body.domain else queries.project_scope(project.id)


def _check(body: SuppressionCreate) -> None:
    errors: dict[str, list[str]] = {}
    for field, level, value in (("list_id", "list", body.list_id), ("domain", "domain", body.domain)):
        if body.level == level and value is None:
            errors[field] = [f"is needed with the level '{level}'"]
        elif body.level != level and value is not None:
            errors[field] = [f"goes with the level '{level}' alone"]
    if body.reason in (PushedReason.hard_bounce, PushedReason.complaint) and body.level != "project":
        errors["level"] = [f"must be 'project': a {body.reason.value} is about the address everywhere"]
    if errors:
        raise ValidationFailed(errors=errors)
