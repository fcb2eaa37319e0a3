"""``/subscribers``, and the subscribers of one list."""

from dataclasses import asdict, replace
from typing import Any
from urllib.parse import unquote
from uuid import UUID

from litestar import Controller, Request, Response, delete, get, patch, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts.project import Principal
from newsletter.audience import queries, service
from newsletter.audience.access import (
    allow,
    allow_everywhere,
    chosen_lists,
    list_of_path,
    list_of_query,
    search_text,
)
from newsletter.audience.intake import Intake
from newsletter.audience.models import Status, Subscriber
from newsletter.audience.queries import Filters
from newsletter.audience.rows import Row
from newsletter.audience.schemas import (
    BatchAnswer,
    BatchIn,
    BatchMeta,
    BatchOut,
    ConsentOut,
    Erased,
    ListSubscriberCreate,
    SubscriberCreate,
    SubscriberOut,
    SubscriberPage,
    SubscriberPageMeta,
    SubscriberPut,
    SubscriberUpdate,
)
from newsletter.audience.service import Target
from newsletter.audience.upsert import Result
from newsletter.kit import address, ids, paging
from newsletter.kit.crypto import Vault
from newsletter.kit.db import Database
from newsletter.kit.errors import NotFound, ValidationFailed
from newsletter.kit.idempotency import Once
from newsletter.kit.schema import CursorMeta, Data, Page
from newsletter.plans.catalogue import CallClass, Resource
from newsletter.settings import LimitSettings, Settings

_READ = {"scope": "subscribers:read"}
_WRITE = {"scope": "subscribers:write"}


class ListSubscriberController(Controller):
    path = "/lists/{list_id:str}/subscribers"
    tags = ("Lists",)

    @post(
        operation_id="add_subscriber_to_list",
        summary="Add or update a subscriber of the list",
        description="As `POST /subscribers`. Many at once: `POST /subscribers/batch`.",
        opt=_WRITE,
    )
    async def subscribe(
        self,
        db: NamedDependency[Database],
        vault: NamedDependency[Vault],
        intake: NamedDependency[Intake],
        settings: NamedDependency[Settings],
        principal: NamedDependency[Principal],
        once: NamedDependency[Once],
        list_id: FromPath[str],
        data: JSONBody[ListSubscriberCreate],
    ) -> Response[Data[SubscriberOut]]:
        wanted = list_of_path(principal, list_id)
        async with db.read() as session:
            await service.get_list(session, principal.project, wanted)
        return await _subscribe(db, vault, intake, settings.limits, _target(principal, wanted), once, data)

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
        list_id: FromQuery[str | None] = None,
        status: FromQuery[Status | None] = None,
        tag: FromQuery[str | None] = None,
        search: FromQuery[str | None] = None,
        page: FromQuery[int | None] = None,
        per_page: FromQuery[int] = 50,
        cursor: FromQuery[str | None] = None,
    ) -> SubscriberPage:
        number = 1 if page is None else page
        paging.check(number, per_page)
        if page is not None and cursor is not None:
            raise ValidationFailed.of("cursor", "cannot be sent together with page")
        wanted = list_of_query(principal, list_id)
        filters = Filters(
            list_ids=chosen_lists(principal, wanted),
            status=status,
            tag=search_text("tag", tag),
            search=search_text("search", search),
        )
        after = paging.read_cursor(cursor)
        async with db.read() as session:
            if wanted is not None:
                await service.named_list(session, principal.project, wanted)
            chosen = queries.subscribers(session, principal.project, filters)
            if after is not None:
                chosen = chosen.where(Subscriber.id < after).limit(per_page)
                found = (await session.scalars(chosen)).all()
                meta = None
            else:
                found, meta = await paging.numbered(session, chosen, number, per_page)
        following = paging.next_cursor([row.id for row in found], per_page)
        rows = [SubscriberOut.model_validate(row) for row in found]
        if meta is None:
            return SubscriberPage(data=rows, meta=CursorMeta(per_page=per_page, next_cursor=following))
        return SubscriberPage(data=rows, meta=SubscriberPageMeta(**dict(meta), next_cursor=following))

    @post(
        operation_id="create_subscriber",
        summary="Add a subscriber to a list",
        description="201 for a new subscriber, 200 for a known one, which is updated; who had unsubscribed "
        "is brought back. Who bounced or complained is not.",
        opt=_WRITE,
    )
    async def create(
        self,
        db: NamedDependency[Database],
        vault: NamedDependency[Vault],
        intake: NamedDependency[Intake],
        settings: NamedDependency[Settings],
        principal: NamedDependency[Principal],
        once: NamedDependency[Once],
        data: JSONBody[SubscriberCreate],
    ) -> Response[Data[SubscriberOut]]:
        target = _target(principal, data.list_id)
        return await _subscribe(db, vault, intake, settings.limits, target, once, data)

    @put(
        operation_id="upsert_subscriber",
        summary="Add a subscriber, or update a known one without a change of status",
        description="201 for a new subscriber, 200 for a known one. A status changes only where it is sent.",
        status_code=201,
        opt=_WRITE,
    )
    async def upsert(
        self,
        db: NamedDependency[Database],
        vault: NamedDependency[Vault],
        intake: NamedDependency[Intake],
        settings: NamedDependency[Settings],
        principal: NamedDependency[Principal],
        data: JSONBody[SubscriberPut],
    ) -> Response[Data[SubscriberOut]]:
        target = _target(principal, data.list_id)
        _allow_status(principal, data)
        if data.sent("status"):
            async with db.unit_of_work() as session:
                made = await service.put(session, vault, target, data, settings.limits)
        else:
            target = replace(target, reactivates=False)
            made = await intake.subscribe(target, service.asked(target, data, settings.limits))
        return _answered(made)

    @post(
        "/batch",
        operation_id="batch_subscribers",
        summary="Add or update up to 1,000 subscribers of one list",
        description="Each row follows the rules of `POST /subscribers`; a bad row is skipped and counted. "
        "The same address twice is one subscriber. No events are sent.",
        status_code=200,
        opt={**_WRITE, "calls": CallClass.batches},
    )
    async def batch(
        self,
        db: NamedDependency[Database],
        vault: NamedDependency[Vault],
        settings: NamedDependency[Settings],
        principal: NamedDependency[Principal],
        once: NamedDependency[Once],
        data: JSONBody[BatchIn],
    ) -> BatchAnswer:
        target = _target(principal, data.list_id)
        async with db.unit_of_work() as session:
            done = await service.import_batch(session, vault, target, data.subscribers, settings.limits)
            numbers = BatchOut.model_validate({"list_id": data.list_id, **asdict(done)})
            meta = BatchMeta(received=done.received, processed=done.created + done.updated)
            out = BatchAnswer(data=numbers, meta=meta)
            await once.keep(session, 200, out)
        return out

    # OpenAPI knows one name for one place in a path: an id here, an address where it says so.
    @get("/{subscriber:str}", operation_id="get_subscriber", summary="Read a subscriber", opt=_READ)
    async def read(
        self, db: NamedDependency[Database], principal: NamedDependency[Principal], subscriber: FromPath[str]
    ) -> Data[SubscriberOut]:
        async with db.read() as session:
            return _shown(await _named(session, principal, subscriber))

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
        _allow_status(principal, data)
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
            return _shown(row)

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
        allow_everywhere(principal)
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


def _target(principal: Principal, list_id: UUID) -> Target:
    allow(principal, list_id)
    return Target(
        project=principal.project,
        list_id=list_id,
        limit=principal.plan.limits[Resource.subscribers],
        key_id=principal.key_id,
        policy=principal.resubscribe,
    )


async def _subscribe(
    db: Database,
    vault: Vault,
    intake: Intake,
    limits: LimitSettings,
    target: Target,
    once: Once,
    body: ListSubscriberCreate,
) -> Response[Data[SubscriberOut]]:
    if not once.is_wanted:
        return _answered(await intake.subscribe(target, service.asked(target, body, limits)))
    # The answer is kept in the transaction of the effect, which is therefore the call's own.
    async with db.unit_of_work() as session:
        made = await service.subscribe(session, vault, target, body, limits)
        answer = _answered(made)
        await once.keep(session, answer.status_code or 200, answer.content)
    return answer


def _answered(made: Result) -> Response[Data[SubscriberOut]]:
    return Response(_shown(made.row), status_code=201 if made.is_new else 200)


def _allow_status(principal: Principal, body: SubscriberPut | SubscriberUpdate) -> None:
    if body.status in (Status.bounced, Status.complained):
        allow_everywhere(principal)


async def _named(session: AsyncSession, principal: Principal, text: str) -> Subscriber:
    """The subscriber that a path names. Raises `NotFound`, or `Forbidden` for a list outside the key's."""
    row = await queries.find_subscriber(session, principal.project, ids.in_path("sub", text))
    if row is None:
        raise NotFound()
    allow(principal, row.list_id)
    return row


def _shown(row: Subscriber | Row) -> Data[SubscriberOut]:
    return Data(data=SubscriberOut.model_validate(row))
