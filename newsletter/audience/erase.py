"""Erases a person (GDPR Art. 17): what is left cannot tell who it was.

A keyed hash of the address stays among the suppressions and in the history of consent, so
that the same address is not mailed again by an import of old data, and so that the books
still say that somebody agreed and left.
"""

from uuid import UUID

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts.project import Project
from newsletter.audience import consents, person, quota, rows
from newsletter.audience.announce import PERSONAL
from newsletter.audience.consents import Change, Evidence
from newsletter.audience.models import Consent, ConsentAction, Subscriber
from newsletter.audience.transitions import COUNTED
from newsletter.events import service as events
from newsletter.kit import ids, jobs
from newsletter.kit.crypto import Vault
from newsletter.suppressions import queries as suppressed
from newsletter.suppressions import service as suppressions
from newsletter.suppressions.models import Reason


async def erase(
    session: AsyncSession, vault: Vault, project: Project, subscriber_id: UUID, *, key_id: UUID | None
) -> int:
    """Erases the subscriber's address from every list of the project; announces nothing.

    Returns how many subscribers went: 0 for one who was erased before. Raises `NotFound`
    for one who never was. What was sent to them and told of them is erased by a job.
    """
    await quota.lock(session, project)
    address_key = await person.address_of(session, project, subscriber_id)
    if "@" not in address_key:
        # Only its tombstone is left.
        return 0
    stone = suppressed.tombstones(vault, project.id, address_key)[0]
    found = await rows.locked(session, project, Subscriber.address_key == address_key)
    await session.execute(delete(Subscriber).where(Subscriber.id.in_([row.id for row in found])))
    await quota.give_back(session, project, sum(row.status in COUNTED for row in found))
    known_as = await _blank_history(session, project, address_key, stone)
    for row in found:
        row.address_key = stone
    evidence = Evidence("api", key_id=key_id)
    await consents.record(session, [Change(row, ConsentAction.erased, evidence) for row in found])
    await suppressions.forget_address(session, project.id, address_key)
    await suppressions.suppress(
        session,
        project_id=project.id,
        scope=suppressed.project_scope(project.id),
        address_keys=[stone],
        reason=Reason.erased,
        source="api",
    )
    public_ids = [ids.public("sub", known_id) for known_id in known_as]
    await events.blank(session, project.id, "subscriber", public_ids, PERSONAL)
    payload = {
        "project_id": str(project.id),
        "address_key": address_key,
        "replacement": stone,
        "subscriber_ids": public_ids,
    }
    await jobs.enqueue(session, "delivery.forget", payload)
    return len(found)


async def _blank_history(session: AsyncSession, project: Project, address_key: str, stone: str) -> list[UUID]:
    """Returns the ids that the person ever had, those on deleted lists included."""
    theirs = (Consent.project_id == project.id) & (Consent.address_key == address_key)
    known_as = await session.scalars(select(Consent.subscriber_id).where(theirs).distinct())
    found = list(known_as.all())
    await session.execute(update(Consent).where(theirs).values(address_key=stone, ip=None, text=None))
    return found
