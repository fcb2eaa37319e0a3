"""Ends subscriptions: unsubscribes, bounces, complaints.

Each function writes status, consent, suppression and event together, in the caller's
transaction, and is idempotent: what is so already is left alone and announced to nobody.
"""

from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts import queries as accounts
from newsletter.accounts.project import Project
from newsletter.audience import consents, quota, rows
from newsletter.audience.announce import announce
from newsletter.audience.consents import Change, Evidence
from newsletter.audience.models import ConsentAction, Status, Subscriber
from newsletter.audience.rows import Row
from newsletter.audience.transitions import COUNTED, Cause, after
from newsletter.events.vocabulary import EventType
from newsletter.kit import clock
from newsletter.kit.bulk import among
from newsletter.suppressions import queries as suppressed
from newsletter.suppressions import service as suppressions
from newsletter.suppressions.models import Reason
from newsletter.suppressions.service import Wanted


async def unsubscribe(
    session: AsyncSession,
    project: Project,
    *,
    source: str,
    ip: str | None = None,
    text: str | None = None,
    key_id: UUID | None = None,
    subscriber_id: UUID | None = None,
    address_key: str | None = None,
    list_ids: Collection[UUID] | None = None,
) -> int:
    """Takes one subscriber off their list, or an address off these lists (None: off all).

    Returns how many subscriptions ended. Who bounced or complained keeps that status, and
    the wish is noted beside it.
    """
    if (subscriber_id is None) == (address_key is None):
        raise ValueError("say whom: either subscriber_id or address_key")
    await quota.lock(session, project)
    whom = Subscriber.id == subscriber_id if subscriber_id else Subscriber.address_key == address_key
    found = await rows.locked(
        session, project, whom, *([] if list_ids is None else [Subscriber.list_id.in_(list_ids)])
    )
    evidence = Evidence(source, ip=ip, text=text, key_id=key_id)
    return await _leave(session, project, [(row, evidence) for row in found])


async def unsubscribe_each(
    session: AsyncSession,
    project: Project,
    sources: Mapping[tuple[UUID | None, str], str],
    *,
    key_id: UUID | None = None,
) -> int:
    """`unsubscribe` for many addresses in a few statements: the source of each wish, by the list (None: all)
    and the address."""
    await quota.lock(session, project)
    address_keys = {address_key for _, address_key in sources}
    leaving = []
    for row in await rows.locked(session, project, among(session, Subscriber.address_key, address_keys)):
        source = sources.get((row.list_id, row.address_key)) or sources.get((None, row.address_key))
        if source is not None:
            leaving.append((row, Evidence(source, key_id=key_id)))
    return await _leave(session, project, leaving)


async def _leave(session: AsyncSession, project: Project, found: Sequence[tuple[Row, Evidence]]) -> int:
    changed = await _change(session, project, Cause.unsubscribe, [row for row, _ in found])
    wanted = [
        Wanted(suppressed.list_scope(row.list_id), row.address_key, Reason.unsubscribe, evidence.source)
        for row, evidence in found
    ]
    added = await suppressions.suppress_each(session, project.id, wanted)
    ended = {row.id for row in changed}
    wishes = [
        Change(row, ConsentAction.unsubscribed, evidence)
        for row, evidence in found
        if row.id in ended or (suppressed.list_scope(row.list_id), row.address_key) in added
    ]
    await consents.record(session, wishes)
    await announce(session, project, EventType.subscriber_unsubscribed, changed)
    return len(changed)


async def unsubscribe_by_id(
    session: AsyncSession, subscriber_id: UUID, *, source: str, ip: str | None = None
) -> int:
    """For the links of a mail, whose signed token names the subscriber and no project."""
    statement = select(Subscriber.project_id).where(Subscriber.id == subscriber_id)
    project_id = (await session.execute(statement)).scalar_one_or_none()
    project = await accounts.project_by_id(session, project_id) if project_id else None
    if project is None:
        return 0
    return await unsubscribe(session, project, source=source, ip=ip, subscriber_id=subscriber_id)


async def mark_bounced(
    session: AsyncSession, project: Project, address_key: str, *, source: str, key_id: UUID | None = None
) -> int:
    """The address does not exist: nothing is sent to it again, from any list of the project.

    Returns how many subscribers changed; the address may have none and is suppressed anyway.
    """
    return await mark_each_bounced(session, project, {address_key: source}, key_id=key_id)


async def mark_complained(
    session: AsyncSession, project: Project, address_key: str, *, source: str, key_id: UUID | None = None
) -> int:
    """The person called a mail spam: as `mark_bounced`, and stronger than it."""
    return await mark_each_complained(session, project, {address_key: source}, key_id=key_id)


async def mark_each_bounced(
    session: AsyncSession, project: Project, sources: Mapping[str, str], *, key_id: UUID | None = None
) -> int:
    """`mark_bounced` for many addresses in a few statements: the source of each."""
    return await _never_again(session, project, Cause.bounce, sources, key_id)


async def mark_each_complained(
    session: AsyncSession, project: Project, sources: Mapping[str, str], *, key_id: UUID | None = None
) -> int:
    """`mark_complained` for many addresses in a few statements: the source of each."""
    return await _never_again(session, project, Cause.complain, sources, key_id)


_REASONS = {Cause.bounce: Reason.hard_bounce, Cause.complain: Reason.complaint}
_ACTIONS = {Cause.bounce: ConsentAction.bounced, Cause.complain: ConsentAction.complained}
_EVENTS = {Cause.bounce: EventType.subscriber_bounced, Cause.complain: EventType.subscriber_complained}


async def _never_again(
    session: AsyncSession, project: Project, cause: Cause, sources: Mapping[str, str], key_id: UUID | None
) -> int:
    await quota.lock(session, project)
    found = await rows.locked(session, project, among(session, Subscriber.address_key, sources.keys()))
    changed = await _change(session, project, cause, found)
    scope = suppressed.project_scope(project.id)
    wanted = [Wanted(scope, address_key, _REASONS[cause], source) for address_key, source in sources.items()]
    await suppressions.suppress_each(session, project.id, wanted)
    changes = [
        Change(row, _ACTIONS[cause], Evidence(sources[row.address_key], key_id=key_id)) for row in changed
    ]
    await consents.record(session, changes)
    await announce(session, project, _EVENTS[cause], changed)
    return len(changed)


async def _change(session: AsyncSession, project: Project, cause: Cause, found: Sequence[Row]) -> list[Row]:
    """Writes the new statuses, gives back their places in the plan, returns the rows that changed."""
    now, freed, changed = clock.now(), 0, []
    for row in found:
        status = after(cause, row.status)
        if status is row.status:
            continue
        freed += row.status in COUNTED
        row.status, row.updated_at = status, now
        if status is Status.unsubscribed:
            row.unsubscribed_at = now
        changed.append(row)
    await rows.save(session, changed)
    await quota.give_back(session, project, freed)
    return changed
