"""Writes segments: what can be refused of one is refused before it is kept."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts import queries as accounts
from newsletter.accounts.project import Principal, Project
from newsletter.audience import keeping
from newsletter.audience.conditions import Acts, Condition, ListsOfCampaigns, activities, strangers
from newsletter.audience.lists import check_list
from newsletter.audience.models import Segment
from newsletter.audience.segments import queries
from newsletter.audience.segments.schemas import SegmentCreate, SegmentUpdate
from newsletter.kit import clock, ids, versions
from newsletter.kit.errors import Conflict, NotFound, ValidationFailed
from newsletter.settings import LimitSettings


@dataclass(frozen=True, slots=True)
class SegmentUse:
    """What segments ask of campaigns, which stand above this slice and are handed over by whoever wires
    the routes, as `lists.ListUse`."""

    is_in_use: Callable[[AsyncSession, Project, UUID, UUID], Awaitable[bool]]
    """Whether a campaign that is still to be launched names this segment of this list."""
    acted: Acts
    lists_of: ListsOfCampaigns


class SegmentInUse(Conflict):
    code, status = "segment_in_use", 409
    summary = (
        "A draft or a scheduled campaign goes to this segment. "
        "Give that campaign another with PATCH, or delete or cancel it, first."
    )


class SegmentLimitReached(Conflict):
    code, status = "segment_limit_reached", 409
    summary = "The project has as many segments as it may have. Delete one first."


async def check(
    session: AsyncSession,
    principal: Principal,
    condition: Condition,
    limits: LimitSettings,
    use: SegmentUse,
) -> None:
    """Raises `ValidationFailed` with each place in the conditions that is wrong."""
    root = "conditions"
    excess = keeping.excess(root, condition, depth=limits.segment_depth, parts=limits.segment_conditions)
    if excess:
        raise ValidationFailed(errors=excess)
    errors = await strangers(session, principal, [(root, condition)], use.lists_of, {})
    for place, activity in activities(condition):
        if activity.step is not None:
            errors[f"{root}{place}.step"] = ["is for automations; name a campaign with 'campaign_id'"]
    errors |= keeping.addresses(root, condition)
    if errors:
        raise ValidationFailed(errors=errors)


async def create(
    session: AsyncSession, principal: Principal, body: SegmentCreate, limits: LimitSettings, use: SegmentUse
) -> Segment:
    """Raises `ValidationFailed` or `SegmentLimitReached`."""
    project = principal.project
    await check_list(session, project, body.list_id)
    await check(session, principal, body.conditions, limits, use)
    await accounts.lock_project(session, project)
    if await queries.count(session, project) >= limits.segments:
        raise SegmentLimitReached(f"A project may have {limits.segments} segments. Delete one first.")
    await keeping.hold_lists(session, project, body.list_id, [body.conditions])
    now = clock.now()
    row = Segment(
        id=ids.uuid7(),
        project_id=project.id,
        list_id=body.list_id,
        name=body.name,
        description=body.description,
        conditions=body.conditions.model_dump(mode="json"),
        version=1,
        created_at=now,
        updated_at=now,
    )
    session.add(row)
    await session.flush()
    return row


async def one(session: AsyncSession, project: Project, segment_id: UUID, *, lock: bool = False) -> Segment:
    """Raises `NotFound` for a segment that is not of this project."""
    row = await queries.find(session, project, segment_id, lock=lock)
    if row is None:
        raise NotFound()
    return row


async def update(
    session: AsyncSession,
    principal: Principal,
    row: Segment,
    changes: SegmentUpdate,
    limits: LimitSettings,
    use: SegmentUse,
    *,
    version: int | None,
) -> None:
    """Changes a segment whose row is locked. Campaigns that are still to be launched go to whom it then
    says; launched ones keep what it said. Raises `VersionConflict` when it is not of ``version`` any more."""
    versions.check(row.version, version)
    if changes.sent("conditions"):
        if changes.conditions is None:
            raise ValidationFailed.of("conditions", "must not be null")
        await check(session, principal, changes.conditions, limits, use)
        await keeping.hold_lists(session, principal.project, row.list_id, [changes.conditions])
        row.conditions = changes.conditions.model_dump(mode="json")
    if changes.sent("name"):
        row.name = changes.name
    if changes.sent("description"):
        row.description = changes.description
    row.version += 1
    row.updated_at = clock.now()
    await session.flush()


async def remove(session: AsyncSession, project: Project, row: Segment, use: SegmentUse) -> None:
    """Deletes a segment whose row is locked, so that no campaign takes it meanwhile.

    Raises `SegmentInUse`."""
    if await use.is_in_use(session, project, row.list_id, row.id):
        raise SegmentInUse()
    await session.delete(row)
