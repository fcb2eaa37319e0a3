"""What customers tell us of addresses: who must not be mailed, and who left.

A hard bounce or a complaint goes the way of one that came back by itself; an unsubscribe goes
through the one function that ends subscriptions. Each function is safe to repeat.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts.audit import service as audit
from newsletter.accounts.project import Principal, Project
from newsletter.audience import access, lists
from newsletter.audience import service as audience
from newsletter.feedback.schemas import PushedReason, SuppressionCreate
from newsletter.kit import address, ids
from newsletter.kit.errors import Conflict, NewsletterError, ValidationFailed
from newsletter.suppressions import queries, service
from newsletter.suppressions.models import Reason
from newsletter.suppressions.queries import Held, Level
from newsletter.suppressions.service import Wanted

MAX_EXAMPLES = 10
_EXAMPLE_CHARS = 320


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
    told = await _Reader(session, principal).told(body)
    known = await queries.at(session, *told.place)
    await _apply(session, principal, [told])
    held = await queries.at(session, *told.place)
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


AT_ONCE = 1_000
"""Rows whose statements are one set."""
_WEAKEST_FIRST = (
    PushedReason.unsubscribe,
    PushedReason.hard_bounce,
    PushedReason.complaint,
    PushedReason.manual,
)


async def suppress_many(
    session: AsyncSession, principal: Principal, raw_rows: Sequence[object]
) -> BatchResult:
    """A bad row is counted and shown, and fails no other. Rows are applied by their reasons, the weakest
    first, so that what comes of several about one address does not depend on their order; and those of one
    reason by their addresses, so that two calls never wait for each other.

    A call of 10,000 took 0.6 to 1.6 s of this process's time, on either database and for each reason; row by
    row a call of 1,000 took seconds.
    """
    reader, told, bad = _Reader(session, principal), [], []
    for raw in raw_rows:
        try:
            told.append(await reader.told(SuppressionCreate.model_validate(raw)))
        except (ValidationError, NewsletterError):
            bad.append(raw)
    # Of equals the first stays the first.
    told.sort(key=lambda each: (_WEAKEST_FIRST.index(each.reason), each.place))
    created = 0
    for start in range(0, len(told), AT_ONCE):
        part = told[start : start + AT_ONCE]
        places = {each.place for each in part}
        created += len(places) - len(await queries.there(session, places))
        await _apply(session, principal, part)
    received, invalid = len(raw_rows), len(bad)
    examples = [json.dumps(raw, ensure_ascii=False)[:_EXAMPLE_CHARS] for raw in bad[:MAX_EXAMPLES]]
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


@dataclass(frozen=True, slots=True)
class _Told:
    """A row that may be applied."""

    scope: str
    address_key: str
    reason: PushedReason
    level: Level
    list_id: UUID | None
    source: str

    @property
    def place(self) -> tuple[str, str]:
        return self.scope, self.address_key


class _Reader:
    """Checks rows of one call against the project and the key; looks each list up once."""

    def __init__(self, session: AsyncSession, principal: Principal) -> None:
        self._session, self._principal = session, principal
        self._lists: dict[UUID, NewsletterError | None] = {}

    async def told(self, body: SuppressionCreate) -> _Told:
        """Raises `ValidationFailed` and `Forbidden`."""
        _check(body)
        scope = await self._scope(body)
        key = address.parse(body.email).key
        return _Told(scope, key, body.reason, Level(body.level), body.list_id, body.source)

    async def _scope(self, body: SuppressionCreate) -> str:
        project = self._principal.project
        if body.list_id is None:
            self._principal.require_every_list()
            if body.domain:
                return queries.domain_scope(project.id, body.domain)
            return queries.project_scope(project.id)
        access.allow(self._principal, body.list_id)
        if (refusal := await self._refusal(body.list_id)) is not None:
            raise refusal
        return queries.list_scope(body.list_id)

    async def _refusal(self, list_id: UUID) -> NewsletterError | None:
        if list_id not in self._lists:
            try:
                await lists.check_list(self._session, self._principal.project, list_id)
                self._lists[list_id] = None
            except ValidationFailed as error:
                self._lists[list_id] = error
        return self._lists[list_id]


async def _apply(session: AsyncSession, principal: Principal, told: Sequence[_Told]) -> None:
    project, key_id = principal.project, principal.key_id

    def of(reason: PushedReason) -> list[_Told]:
        # Of several that say the same the first counts, as it would one by one.
        return [each for each in reversed(told) if each.reason is reason]

    if left := of(PushedReason.unsubscribe):
        # Who wants nothing more from one domain stays on the lists.
        wishes = {
            (each.list_id, each.address_key): each.source for each in left if each.level != Level.domain
        }
        await audience.unsubscribe_each(session, project, wishes, key_id=key_id)
        await _write(session, project, left, Reason.unsubscribe)
    if bounced := of(PushedReason.hard_bounce):
        sources = {each.address_key: each.source for each in bounced}
        await audience.mark_each_bounced(session, project, sources, key_id=key_id)
    if complained := of(PushedReason.complaint):
        sources = {each.address_key: each.source for each in complained}
        await audience.mark_each_complained(session, project, sources, key_id=key_id)
    if kept := of(PushedReason.manual):
        await _write(session, project, kept, Reason.manual)


async def _write(session: AsyncSession, project: Project, told: Sequence[_Told], reason: Reason) -> None:
    wanted = {each.place: Wanted(*each.place, reason, each.source) for each in told}
    await service.suppress_each(session, project.id, wanted.values())


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
