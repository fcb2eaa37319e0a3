"""Adds or changes one subscriber: with an event, and with errors for what a batch only counts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts import queries as accounts
from newsletter.accounts.project import Project
from newsletter.audience import consents, fields, leaving, quota, rows, upsert
from newsletter.audience.announce import announce
from newsletter.audience.consents import Change, Evidence
from newsletter.audience.models import Status, Subscriber
from newsletter.audience.rows import Row
from newsletter.audience.schemas import (
    ListSubscriberCreate,
    SubscriberFields,
    SubscriberPut,
    SubscriberUpdate,
)
from newsletter.audience.transitions import Cause, action_of, after, needs_consent
from newsletter.audience.upsert import Entry, Result, Target
from newsletter.events.vocabulary import EventType
from newsletter.kit import address, clock
from newsletter.kit.crypto import Vault
from newsletter.kit.errors import NewsletterError, NotFound, ValidationFailed
from newsletter.settings import LimitSettings
from newsletter.suppressions import queries as suppressed
from newsletter.suppressions import service as suppressions
from newsletter.suppressions.models import Reason

_CONSENT_MISSING = "is required to bring this contact back: {source, ip?, at?, text?}"


@dataclass(frozen=True, slots=True)
class Asked:
    """One address that one call adds or updates."""

    entry: Entry
    new_names: Sequence[str]
    """Custom fields that it gives a value."""


def asked(
    target: Target, body: ListSubscriberCreate, limits: LimitSettings, status: Status = Status.active
) -> Asked:
    """Raises `ValidationFailed` for what needs no database to be refused."""
    if len(body.tags or ()) > limits.tags:
        raise ValidationFailed.of("tags", _too_many_tags(limits))
    consent = upsert.evidence_of(body, target.key_id)
    entry = Entry(address.parse(body.email), upsert.sent_fields(body), consent, status)
    return Asked(entry, _named(body))


async def subscribe_all(
    session: AsyncSession, vault: Vault, target: Target, calls: Sequence[Asked], limits: LimitSettings
) -> list[Result | NewsletterError]:
    """Carries out each call by itself, in this order, in statements for all of them. The errors
    are `SubscriberLimitReached` when the plan has no room, and `ValidationFailed`; nothing of
    such a call is written. Raises `ValidationFailed` for a foreign list.
    """
    taken = await quota.lock(session, target.project)
    over = await fields.register_each(
        session, target.project, [call.new_names for call in calls], limits.custom_fields
    )
    fitting = [call.entry for call, names in zip(calls, over, strict=True) if not names]
    written = iter(await upsert.apply(session, vault, target, fitting, taken))
    results: list[Result | NewsletterError] = [
        _too_many_fields(names, limits) if names else next(written) or quota.SubscriberLimitReached()
        for names in over
    ]
    new = [result.row for result in results if isinstance(result, Result) and result.is_new]
    await announce(session, target.project, EventType.subscriber_created, new)
    return results


async def subscribe(
    session: AsyncSession, vault: Vault, target: Target, body: ListSubscriberCreate, limits: LimitSettings
) -> Result:
    """Adds the address to the list, or updates what is known of it and brings it back.

    Raises `SubscriberLimitReached` when the plan has no room, `ValidationFailed`.
    """
    return await _only(session, vault, target, asked(target, body, limits), limits)


async def put(
    session: AsyncSession, vault: Vault, target: Target, body: SubscriberPut, limits: LimitSettings
) -> Result:
    """Like `subscribe`, for a body that says a status.

    Raises `ValidationFailed` for a status that the contact cannot come to.
    """
    status = Status(body.status)
    target = replace(target, reactivates=status is Status.active)
    result = await _only(session, vault, target, asked(target, body, limits, status), limits)
    row = await _leave(session, target.project, result.row, status, target.key_id)
    if row.status is not status:
        raise _refusal(row.status, status)
    return replace(result, row=row)


async def change(
    session: AsyncSession,
    vault: Vault,
    project: Project,
    subscriber_id: UUID,
    body: SubscriberUpdate,
    *,
    limit: int | None,
    key_id: UUID | None,
    limits: LimitSettings,
) -> Row:
    """Changes what is sent. Raises `NotFound`, `ValidationFailed`, `SubscriberLimitReached`."""
    values = upsert.sent_fields(body)
    await _check_limits(session, project, body, limits)
    if body.sent("status"):
        await quota.lock(session, project)
    found = await rows.locked(session, project, Subscriber.id == subscriber_id)
    if not found:
        raise NotFound()
    row = found[0]
    if upsert.fill(row, values):
        row.updated_at = clock.now()
        await rows.save(session, [row])
    if not body.sent("status"):
        return row
    status = Status(body.status)
    if status is Status.active:
        await _bring_back(session, vault, project, row, upsert.evidence_of(body, key_id), limit, key_id)
    else:
        row = await _leave(session, project, row, status, key_id)
    if row.status is not status:
        raise _refusal(row.status, status)
    return row


async def _only(
    session: AsyncSession, vault: Vault, target: Target, call: Asked, limits: LimitSettings
) -> Result:
    [result] = await subscribe_all(session, vault, target, [call], limits)
    if isinstance(result, NewsletterError):
        raise result
    return result


async def _check_limits(
    session: AsyncSession, project: Project, body: SubscriberFields, limits: LimitSettings
) -> None:
    errors = {}
    if len(body.tags or ()) > limits.tags:
        errors["tags"] = [_too_many_tags(limits)]
    names = _named(body)
    known = await fields.register(session, project, names, limits.custom_fields)
    if over := [name for name in names if name not in known]:
        errors |= _too_many_fields(over, limits).errors or {}
    if errors:
        raise ValidationFailed(errors=errors)


def _named(body: SubscriberFields) -> list[str]:
    return [name for name, value in (body.custom_fields or {}).items() if value is not None]


def _too_many_tags(limits: LimitSettings) -> str:
    return f"must have at most {limits.tags} entries"


def _too_many_fields(names: Sequence[str], limits: LimitSettings) -> ValidationFailed:
    text = f"is one too many: a project has at most {limits.custom_fields} custom fields"
    return ValidationFailed(errors={f"custom_fields.{name}": [text] for name in names})


async def _leave(
    session: AsyncSession, project: Project, row: Row, status: Status, key_id: UUID | None
) -> Row:
    """Carries out a status that ends a subscription; any other leaves the row as it is."""
    match status:
        case Status.unsubscribed:
            await leaving.unsubscribe(session, project, source="api", key_id=key_id, subscriber_id=row.id)
        case Status.bounced:
            await leaving.mark_bounced(session, project, row.address_key, source="api", key_id=key_id)
        case Status.complained:
            await leaving.mark_complained(session, project, row.address_key, source="api", key_id=key_id)
        case _:
            return row
    [row] = await rows.locked(session, project, Subscriber.id == row.id)
    return row


async def _bring_back(
    session: AsyncSession,
    vault: Vault,
    project: Project,
    row: Row,
    evidence: Evidence | None,
    limit: int | None,
    key_id: UUID | None,
) -> None:
    """Makes the subscriber active, and lifts what kept the address from being mailed."""
    before = row.status
    if after(Cause.correct, before) is before:
        return
    policy = (await accounts.profile(session, project)).resubscribe
    if evidence is None and needs_consent(before, policy):
        raise ValidationFailed.of("consent", _CONSENT_MISSING)
    await quota.take_one(session, project, limit)
    now = clock.now()
    upsert.reactivate(row, now)
    row.updated_at = now
    await rows.save(session, [row])
    if evidence is not None:
        await upsert.lift_tombstones(session, vault, project, [row.address_key])
    why = evidence or Evidence("api", key_id=key_id)
    await consents.record(session, [Change(row, action_of(row.status), why)])
    for scope, reasons in (
        (suppressed.list_scope(row.list_id), [Reason.unsubscribe]),
        (suppressed.project_scope(project.id), _KEPT_BY[before]),
    ):
        await suppressions.lift(
            session,
            project_id=project.id,
            scope=scope,
            address_keys=[row.address_key],
            reasons=reasons,
        )


_KEPT_BY: dict[Status, list[Reason]] = {
    Status.unsubscribed: [Reason.unsubscribe],
    Status.bounced: [Reason.hard_bounce],
    Status.complained: [Reason.hard_bounce, Reason.complaint],
}
"""What a project holds against an address with this status."""


def _refusal(status: Status, wanted: Status) -> ValidationFailed:
    if wanted is Status.active and status is Status.unsubscribed:
        return ValidationFailed.of("consent", _CONSENT_MISSING)
    return ValidationFailed.of("status", f"cannot be '{wanted}': the contact is '{status}'")
