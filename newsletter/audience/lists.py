"""Writes lists."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts.project import Project
from newsletter.audience import queries, quota
from newsletter.audience.models import MailingList, Subscriber
from newsletter.audience.schemas import ListCreate, ListUpdate
from newsletter.audience.segments import queries as segments
from newsletter.audience.transitions import COUNTED
from newsletter.kit import clock, ids
from newsletter.kit.errors import Conflict, NotFound, ValidationFailed
from newsletter.suppressions import queries as suppressed
from newsletter.suppressions import service as suppressions

ASKERS_NAMED: Final = 10
"""Segments and automations that a refusal names."""


@dataclass(frozen=True, slots=True)
class ListUse:
    """Whether something above this slice still needs a list.

    Campaigns and automations stand above and cannot be asked from here: whoever wires the routes
    passes their queries.
    """

    is_in_use: Callable[[AsyncSession, Project, UUID], Awaitable[bool]]
    """Whether a campaign that is not over goes to it."""
    asked_for_by: Callable[[AsyncSession, Project, UUID], Awaitable[Sequence[str]]]
    """The automations of other lists whose conditions ask for it."""


class ListInUse(Conflict):
    code, status = "list_in_use", 409
    summary = (
        "A campaign that is not over uses this list, or conditions of other lists ask for it. "
        "Delete or cancel the campaign, or change the conditions, first."
    )


async def create_list(session: AsyncSession, project: Project, body: ListCreate) -> MailingList:
    now = clock.now()
    row = MailingList(
        id=ids.uuid7(),
        project_id=project.id,
        name=body.name,
        description=body.description,
        created_at=now,
        updated_at=now,
    )
    session.add(row)
    await session.flush()
    return row


async def update_list(
    session: AsyncSession, project: Project, list_id: UUID, changes: ListUpdate
) -> MailingList:
    row = await get_list(session, project, list_id)
    if changes.sent("name"):
        row.name = changes.name
    if changes.sent("description"):
        row.description = changes.description
    row.updated_at = clock.now()
    await session.flush()
    return row


async def delete_list(session: AsyncSession, project: Project, list_id: UUID, use: ListUse) -> None:
    """Deletes the list with its subscribers; the history of their consent stays.

    Raises `NotFound` or `ListInUse`. The list's row is locked while ``use`` looks, so
    a campaign that locks it too cannot begin in between. Conditions of other lists hold it as well: where
    they leave out who is on it, nobody would be left out any more.
    """
    await quota.lock(session, project)
    locked = select(MailingList).where(MailingList.project_id == project.id, MailingList.id == list_id)
    row = (await session.scalars(locked.with_for_update())).one_or_none()
    if row is None:
        raise NotFound()
    if await use.is_in_use(session, project, list_id):
        raise ListInUse("A campaign that is not over uses this list. Delete or cancel the campaign first.")
    askers = [
        *await segments.asking_for(session, project, list_id),
        *await use.asked_for_by(session, project, list_id),
    ]
    if askers:
        raise ListInUse(
            f"Conditions ask for this list: those of {', '.join(askers[:ASKERS_NAMED])}. "
            "Change these, or delete them, first."
        )
    counted = select(func.count()).where(Subscriber.list_id == list_id, Subscriber.status.in_(COUNTED))
    freed = (await session.execute(counted)).scalar_one()
    # Subscribers go by the foreign key's ON DELETE CASCADE.
    await session.execute(delete(MailingList).where(MailingList.id == list_id))
    await suppressions.forget_scope(session, project.id, suppressed.list_scope(list_id))
    await quota.give_back(session, project, freed)


async def get_list(session: AsyncSession, project: Project, list_id: UUID) -> MailingList:
    """The list named in a path. Raises `NotFound`."""
    row = await queries.find_list(session, project, list_id)
    if row is None:
        raise NotFound()
    return row


async def named_list(session: AsyncSession, project: Project, list_id: UUID) -> MailingList:
    """The list named in a body or query. Raises `ValidationFailed` on ``list_id``."""
    row = await queries.find_list(session, project, list_id)
    if row is None:
        raise _foreign()
    return row


async def check_list(session: AsyncSession, project: Project, list_id: UUID) -> None:
    """As `named_list`, for who needs nothing of the list but that it is there."""
    if not await queries.has_list(session, project, list_id):
        raise _foreign()


def _foreign() -> ValidationFailed:
    return ValidationFailed.of("list_id", "must be one of your lists")
