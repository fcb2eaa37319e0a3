"""``/subscribers``, and the subscribers of one list."""

from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import unquote
from uuid import UUID

from litestar import Controller, Request, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody
from sqlalchemy import Select
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts.project import Principal
from newsletter.audience import queries, service
from newsletter.audience.access import (
    allow,
    allow_status,
    chosen_lists,
    list_of_path,
    list_of_query,
    search_text,
)
from newsletter.audience.models import Status, Subscriber
from newsletter.audience.queries import Filters
from newsletter.audience.schemas import (
    ConsentOut,
    Erased,
    SubscriberOut,
    SubscriberPage,
    SubscriberPageMeta,
    SubscriberUpdate,
    shown,
)
from newsletter.audience.segments import queries as segments
from newsletter.audience.segments.service import SegmentUse
from newsletter.kit import address, ids, paging
from newsletter.kit.crypto import Vault
from newsletter.kit.db import Database
from newsletter.kit.errors import NotFound, ValidationFailed
from newsletter.kit.idempotency import Once
from newsletter.kit.schema import CursorMeta, Data, Page
from newsletter.plans.catalogue import Resource
from newsletter.settings import Settings


@dataclass(frozen=True, slots=True)
class PageWanted:
    """A page of subscribers, who are paged by number or by cursor."""

    number: int
    per_page: int
    after: UUID | None

    @classmethod
    def of(cls, page: int | None, per_page: int, cursor: str | None) -> Self:
        """Raises `ValidationFailed` for what is out of range, and for both at once."""
        number = 1 if page is None else page
        paging.check(number, per_page)
        if page is not None and cursor is not None:
            raise ValidationFailed.of("cursor", "cannot be sent together with page")
        return cls(number, per_page, paging.read_cursor(cursor))


async def paged(session: AsyncSession, chosen: Select[Subscriber], wanted: PageWanted) -> SubscriberPage:
    """The wanted page of the chosen, who are in order of their ids, the newest first."""
    meta, per_page = None, wanted.per_page
    if wanted.after is not None:
        chosen = chosen.where(Subscriber.id < wanted.after).limit(per_page)
        found = (await session.scalars(chosen)).all()
    else:
        found, meta = await paging.numbered(session, chosen, wanted.number, per_page)
    following = paging.next_cursor([row.id for row in found], per_page)
    rows = [SubscriberOut.model_validate(row) for row in found]
    if meta is None:
        return SubscriberPage(data=rows, meta=CursorMeta(per_page=per_page, next_cursor=following))
    return SubscriberPage(data=rows, meta=SubscriberPageMeta(**dict(meta), next_cursor=following))


_READ = {"scope": "subscribers:read"}
_WRITE = {"scope": "subscribers:write"}


class ListSubscriberController(Controller):
    path = "/lists/{list_id:str}/subscribers"
    tags = ("Lists",)

    @delete(
        "/{subscriber_id:str}",
        operation_id="remove_subscriber_from_list",
        summary="Unsubscribe a subscriber of the list",
        opt=_WRITE,
    )
    async def unsubscribe(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        list_id: FromPath[str],
        subscriber_id: FromPath[str],
    ) -> None:
        """Unsubscribes, and is done at once for one who has left already. The record stays."""
        wanted = list_of_path(principal, list_id)
        async with db.unit_of_work() as session:
            row = await _named(session, principal, subscriber_id)
            if row.list_id != wanted:
                raise NotFound()
            await service.unsubscribe(
                session, principal.project, source="api", key_id=principal.key_id, subscriber_id=row.id
            )


class SubscriberController(Controller):
    path = "/subscribers"
    tags = ("Subscribers",)

    @get(
        operation_id="list_subscribers",
        summary="List subscribers, the newest first",
        description="Filters combine. `search` looks into e-mail addresses and names. Page by number, or "
        "by `cursor` with the `next_cursor` of the page before.",
        opt=_READ,
    )
    async def index(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        settings: NamedDependency[Settings],
        segment_use: NamedDependency[SegmentUse],
        list_id: FromQuery[str | None] = None,
        status: FromQuery[Status | None] = None,
        tag: FromQuery[str | None] = None,
        search: FromQuery[str | None] = None,
        segment_id: FromQuery[str | None] = None,
        page: FromQuery[int | None] = None,
        per_page: FromQuery[int] = 50,
        cursor: FromQuery[str | None] = None,
    ) -> SubscriberPage:
        asked = PageWanted.of(page, per_page, cursor)
        wanted = list_of_query(principal, list_id)
        filters = Filters(
            list_ids=chosen_lists(principal, wanted),
            status=status,
            tag=search_text("tag", tag),
            search=search_text("search", search),
        )
        within = ids.in_query("seg", "segment_id", segment_id)
        reading = db.read() if within is None else segments.reading(db, principal.project, settings)
        async with reading as session:
            if wanted is not None:
                await service.named_list(session, principal.project, wanted)
            chosen = queries.subscribers(session, principal.project, filters)
            if within is not None:
                segment = await segments.find(session, principal.project, within)
                if segment is None:
                    raise ValidationFailed.of("segment_id", "must be one of your segments")
                allow(principal, segment.list_id)
                chosen = chosen.where(Subscriber.list_id == segment.list_id)
                condition = segments.condition_of(segment)
                chosen = await segments.within(
                    session, principal.project, chosen, condition, segment_use.acted
                )
            return await paged(session, chosen, asked)

    # OpenAPI knows one name for one place in a path: an id here, an address where it says so.
    @get("/{subscriber:str}", operation_id="get_subscriber", summary="Read a subscriber", opt=_READ)
    async def read(
        self, db: NamedDependency[Database], principal: NamedDependency[Principal], subscriber: FromPath[str]
    ) -> Data[SubscriberOut]:
        async with db.read() as session:
            return shown(await _named(session, principal, subscriber))

    @patch("/{subscriber:str}", operation_id="update_subscriber", summary="Change a subscriber", opt=_WRITE)
    async def update(
        self,
        db: NamedDependency[Database],
        vault: NamedDependency[Vault],
        settings: NamedDependency[Settings],
        principal: NamedDependency[Principal],
        subscriber: FromPath[str],
        data: JSONBody[SubscriberUpdate],
    ) -> Data[SubscriberOut]:
        allow_status(principal, data.status)
        async with db.unit_of_work() as session:
            found = await _named(session, principal, subscriber)
            row = await service.change(
                session,
                vault,
                principal.project,
                found.id,
                data,
                limit=principal.plan.limits[Resource.subscribers],
                key_id=principal.key_id,
                limits=settings.limits,
            )
            return shown(row)

    @delete(
        "/{subscriber:str}",
        operation_id="unsubscribe",
        summary="Unsubscribe an e-mail address",
        description="The path holds the address, URL-encoded. With `list_id` from that list, without from "
        "all. Also 204 for an address that is on no list.",
        opt=_WRITE,
    )
    async def unsubscribe(
        self,
        request: Request[Any, Any, Any],
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        subscriber: FromPath[str],
        list_id: FromQuery[str | None] = None,
    ) -> None:
        wanted = list_of_query(principal, list_id)
        try:
            email = address.parse(_as_sent(request))
        except ValueError as error:
            raise ValidationFailed.of("email", str(error)) from None
        async with db.unit_of_work() as session:
            if wanted is not None:
                await service.named_list(session, principal.project, wanted)
            await service.unsubscribe(
                session,
                principal.project,
                source="api",
                key_id=principal.key_id,
                address_key=email.key,
                list_ids=chosen_lists(principal, wanted),
            )

    @post(
        "/{subscriber:str}/erase",
        operation_id="erase_subscriber",
        summary="Erase a person from the project",
        description="Removes the address from all lists and blanks it in all records. A keyed hash stays, "
        "so that an import does not bring it back: it comes back unsubscribed unless `consent` is sent.",
        status_code=200,
        opt=_WRITE,
    )
    async def erase(
        self,
        db: NamedDependency[Database],
        vault: NamedDependency[Vault],
        principal: NamedDependency[Principal],
        once: NamedDependency[Once],
        subscriber: FromPath[str],
    ) -> Data[Erased]:
        principal.require_every_list()
        whom = ids.in_path("sub", subscriber)
        async with db.unit_of_work() as session:
            erased = await service.erase(session, vault, principal.project, whom, key_id=principal.key_id)
            out = Data[Erased](data=Erased(erased=erased))
            await once.keep(session, 200, out)
        return out

    @get(
        "/{subscriber:str}/consents",
        operation_id="list_consents",
        summary="List the changes of a subscriber's consent, the newest first",
        opt=_READ,
    )
    async def consents(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        subscriber: FromPath[str],
        page: FromQuery[int] = 1,
        per_page: FromQuery[int] = 20,
    ) -> Page[ConsentOut]:
        async with db.read() as session:
            row = await _named(session, principal, subscriber)
            chosen = queries.consents(principal.project, row.id)
            found, meta = await paging.numbered(session, chosen, page, per_page)
        return Page(data=[ConsentOut.model_validate(each) for each in found], meta=meta)


def _as_sent(request: Request[Any, Any, Any]) -> str:
    """The last segment of the path before it was decoded for routing, which keeps ``%2F`` as it is."""
    last = request.scope["raw_path"].rstrip(b"/").rpartition(b"/")[2]
    return unquote(last.decode("latin-1"))


async def _named(session: AsyncSession, principal: Principal, text: str) -> Subscriber:
    """The subscriber that a path names. Raises `NotFound`, or `Forbidden` for a list outside the key's."""
    row = await queries.find_subscriber(session, principal.project, ids.in_path("sub", text))
    if row is None:
        raise NotFound()
    allow(principal, row.list_id)
    return row
