"""``/segments``: conditions on the subscribers of a list, and who meets them."""

from typing import Annotated
from uuid import UUID

from litestar import Controller, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, HeaderParameter, JSONBody
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts.project import Principal
from newsletter.audience import queries as audience
from newsletter.audience.access import allow, list_of_query, search_text
from newsletter.audience.conditions import Condition
from newsletter.audience.lists import check_list
from newsletter.audience.models import Segment, Status
from newsletter.audience.queries import Filters
from newsletter.audience.routes.subscribers import PageWanted, paged
from newsletter.audience.schemas import SubscriberOut, SubscriberPage
from newsletter.audience.segments import queries, service
from newsletter.audience.segments.schemas import (
    SegmentCount,
    SegmentCreate,
    SegmentOut,
    SegmentPreview,
    SegmentTry,
    SegmentUpdate,
)
from newsletter.audience.segments.service import SegmentUse
from newsletter.kit import ids, paging, versions
from newsletter.kit.db import Database
from newsletter.kit.idempotency import Once
from newsletter.kit.schema import Data, Page
from newsletter.settings import Settings

_READ = {"scope": "subscribers:read"}
_WRITE = {"scope": "subscribers:write"}
_SHOWN = 10
"""Subscribers in a preview."""
IfMatch = Annotated[str | None, HeaderParameter(name="If-Match")]


class SegmentController(Controller):
    path = "/segments"
    tags = ("Segments",)

    @get(operation_id="list_segments", summary="List segments, the newest first", opt=_READ)
    async def index(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        list_id: FromQuery[str | None] = None,
        search: FromQuery[str | None] = None,
        page: FromQuery[int] = 1,
        per_page: FromQuery[int] = 20,
    ) -> Page[SegmentOut]:
        """``search`` looks into their names."""
        wanted = list_of_query(principal, list_id)
        chosen = queries.listed(principal, wanted, search_text("search", search))
        async with db.read() as session:
            if wanted is not None:
                await check_list(session, principal.project, wanted)
            rows, meta = await paging.numbered(session, chosen, page, per_page)
        return Page(data=[SegmentOut.model_validate(row) for row in rows], meta=meta)

    @post(operation_id="create_segment", summary="Create a segment", opt=_WRITE)
    async def create(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        settings: NamedDependency[Settings],
        segment_use: NamedDependency[SegmentUse],
        once: NamedDependency[Once],
        data: JSONBody[SegmentCreate],
    ) -> Data[SegmentOut]:
        """Nobody is copied into it: who meets its conditions is asked whenever it is used."""
        allow(principal, data.list_id)
        async with db.unit_of_work() as session:
            row = await service.create(session, principal, data, settings.limits, segment_use)
            out = _shown(row)
            await once.keep(session, 201, out)
        return out

    @post(
        "/preview",
        operation_id="preview_segment",
        summary="Count who meets conditions, and show the newest",
        status_code=200,
        opt=_READ,
    )
    async def preview(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        settings: NamedDependency[Settings],
        segment_use: NamedDependency[SegmentUse],
        once: NamedDependency[Once],
        data: JSONBody[SegmentTry],
    ) -> Data[SegmentPreview]:
        """Nothing is kept; for an editor in which somebody tries them."""
        allow(principal, data.list_id)
        async with queries.reading(db, principal.project, settings) as session:
            await check_list(session, principal.project, data.list_id)
            await service.check(session, principal, data.conditions, settings.limits, segment_use)
            numbers = await _counted(session, principal, data.list_id, data.conditions, segment_use)
            everybody = audience.subscribers(session, principal.project, Filters(list_ids=[data.list_id]))
            chosen = await queries.within(
                session, principal.project, everybody, data.conditions, segment_use.acted
            )
            people = await session.scalars(chosen.limit(_SHOWN))
            shown = [SubscriberOut.model_validate(row) for row in people]
        out = Data[SegmentPreview](data=SegmentPreview(**dict(numbers), subscribers=shown))
        if once.is_wanted:
            async with db.unit_of_work() as session:
                await once.keep(session, 200, out)
        return out

    @get("/{segment_id:str}", operation_id="get_segment", summary="Read a segment", opt=_READ)
    async def read(
        self, db: NamedDependency[Database], principal: NamedDependency[Principal], segment_id: FromPath[str]
    ) -> Data[SegmentOut]:
        async with db.read() as session:
            return _shown(await _of_path(session, principal, segment_id))

    @patch("/{segment_id:str}", operation_id="update_segment", summary="Change a segment", opt=_WRITE)
    async def update(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        settings: NamedDependency[Settings],
        segment_use: NamedDependency[SegmentUse],
        segment_id: FromPath[str],
        data: JSONBody[SegmentUpdate],
        if_match: IfMatch = None,
    ) -> Data[SegmentOut]:
        """Campaigns that are still to be launched go to whom it then says; launched ones stay as they are."""
        version = versions.read(if_match)
        async with db.unit_of_work() as session:
            row = await _of_path(session, principal, segment_id, lock=True)
            await service.update(session, principal, row, data, settings.limits, segment_use, version=version)
            return _shown(row)

    @delete(
        "/{segment_id:str}",
        operation_id="delete_segment",
        summary="Delete a segment",
        description="Its subscribers stay on the list. 409 `segment_in_use` while a draft or a scheduled "
        "campaign goes to it.",
        opt=_WRITE,
    )
    async def remove(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        segment_use: NamedDependency[SegmentUse],
        segment_id: FromPath[str],
    ) -> None:
        async with db.unit_of_work() as session:
            row = await _of_path(session, principal, segment_id, lock=True)
            await service.remove(session, principal.project, row, segment_use)

    @get(
        "/{segment_id:str}/count",
        operation_id="count_segment",
        summary="Count the subscribers of a segment",
        opt=_READ,
    )
    async def count(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        settings: NamedDependency[Settings],
        segment_use: NamedDependency[SegmentUse],
        segment_id: FromPath[str],
    ) -> Data[SegmentCount]:
        """Counted anew with each call, which looks at each subscriber of the list."""
        async with queries.reading(db, principal.project, settings) as session:
            row = await _of_path(session, principal, segment_id)
            condition = queries.condition_of(row)
            return Data(data=await _counted(session, principal, row.list_id, condition, segment_use))

    @get(
        "/{segment_id:str}/subscribers",
        operation_id="list_segment_subscribers",
        summary="List the subscribers of a segment, the newest first",
        description="As `GET /subscribers` with `segment_id`.",
        opt=_READ,
    )
    async def subscribers(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        settings: NamedDependency[Settings],
        segment_use: NamedDependency[SegmentUse],
        segment_id: FromPath[str],
        status: FromQuery[Status | None] = None,
        page: FromQuery[int | None] = None,
        per_page: FromQuery[int] = 50,
        cursor: FromQuery[str | None] = None,
    ) -> SubscriberPage:
        wanted = PageWanted.of(page, per_page, cursor)
        async with queries.reading(db, principal.project, settings) as session:
            row = await _of_path(session, principal, segment_id)
            filters = Filters(list_ids=[row.list_id], status=status)
            everybody = audience.subscribers(session, principal.project, filters)
            chosen = await queries.within(
                session, principal.project, everybody, queries.condition_of(row), segment_use.acted
            )
            return await paged(session, chosen, wanted)


async def _counted(
    session: AsyncSession, principal: Principal, list_id: UUID, condition: Condition, use: SegmentUse
) -> SegmentCount:
    found = await queries.counted(session, principal.project, list_id, condition, use.acted)
    return SegmentCount.model_validate(found)


async def _of_path(session: AsyncSession, principal: Principal, text: str, *, lock: bool = False) -> Segment:
    """Raises `NotFound`, or `Forbidden` for a list outside the key's."""
    row = await service.one(session, principal.project, ids.in_path("seg", text), lock=lock)
    allow(principal, row.list_id)
    return row


def _shown(row: Segment) -> Data[SegmentOut]:
    return Data(data=SegmentOut.model_validate(row))
