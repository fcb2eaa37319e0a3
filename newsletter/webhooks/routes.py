"""``/webhooks``: endpoints, their deliveries, test calls and replays."""

from typing import Any

from litestar import Controller, Request, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody

from newsletter.accounts.project import Principal
from newsletter.events.vocabulary import EventType
from newsletter.kit import ids, paging
from newsletter.kit.crypto import Vault
from newsletter.kit.db import Database
from newsletter.kit.http import GuardedClient
from newsletter.kit.idempotency import Once
from newsletter.kit.schema import CursorMeta, CursorPage, Data, Page, instant
from newsletter.settings import Settings
from newsletter.webhooks import calls, queries, replaying, service, showing
from newsletter.webhooks.models import DeliveryStatus
from newsletter.webhooks.queries import Filters
from newsletter.webhooks.schemas import (
    DeliveryOut,
    DeliverySummary,
    EndpointCreate,
    EndpointCreated,
    EndpointOut,
    EndpointUpdate,
    ReplayingOut,
    ReplayMany,
    RotateSecret,
    TestCall,
    TestCallOut,
)


class WebhookController(Controller):
    path = "/webhooks"
    tags = ("Webhooks",)

    @post(operation_id="create_webhook", summary="Register an endpoint", opt={"scope": "webhooks:write"})
    async def create(
        self,
        db: NamedDependency[Database],
        egress: NamedDependency[GuardedClient],
        vault: NamedDependency[Vault],
        settings: NamedDependency[Settings],
        principal: NamedDependency[Principal],
        once: NamedDependency[Once],
        data: JSONBody[EndpointCreate],
    ) -> Data[EndpointCreated]:
        """The answer holds the secret that signs the calls; it is shown this once."""
        service.check_url(egress, data.url)
        async with db.unit_of_work() as session:
            made = await service.create(
                session, vault, principal.project, data, limit=settings.limits.webhook_endpoints
            )
            shown = EndpointOut.model_validate(made.row)
            out = Data[EndpointCreated](data=EndpointCreated(**dict(shown), secret=made.secret))
            await once.keep(session, 201, out)
        return out

    @get(operation_id="list_webhooks", summary="List the endpoints", opt={"scope": "webhooks:read"})
    async def index(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        page: FromQuery[int] = 1,
        per_page: FromQuery[int] = 20,
    ) -> Page[EndpointOut]:
        async with db.read() as session:
            rows, meta = await paging.numbered(session, queries.endpoints(principal.project), page, per_page)
            return Page(data=[EndpointOut.model_validate(row) for row in rows], meta=meta)

    @get("/{id:str}", operation_id="get_webhook", summary="Read an endpoint", opt={"scope": "webhooks:read"})
    async def read(
        self, db: NamedDependency[Database], principal: NamedDependency[Principal], id: FromPath[str]
    ) -> Data[EndpointOut]:
        async with db.read() as session:
            row = await queries.endpoint(session, principal.project, ids.in_path("whe", id))
            return Data(data=EndpointOut.model_validate(row))

    @patch(
        "/{id:str}",
        operation_id="update_webhook",
        summary="Change an endpoint",
        opt={"scope": "webhooks:write"},
    )
    async def update(
        self,
        db: NamedDependency[Database],
        egress: NamedDependency[GuardedClient],
        principal: NamedDependency[Principal],
        id: FromPath[str],
        data: JSONBody[EndpointUpdate],
    ) -> Data[EndpointOut]:
        if data.sent("url"):
            service.check_url(egress, data.url)
        async with db.unit_of_work() as session:
            row = await service.update(session, principal.project, ids.in_path("whe", id), data)
            return Data(data=EndpointOut.model_validate(row))

    @delete(
        "/{id:str}",
        operation_id="delete_webhook",
        summary="Delete an endpoint and its deliveries",
        opt={"scope": "webhooks:write"},
    )
    async def remove(
        self, db: NamedDependency[Database], principal: NamedDependency[Principal], id: FromPath[str]
    ) -> None:
        async with db.unit_of_work() as session:
            await service.remove(session, principal.project, ids.in_path("whe", id))

    @post(
        "/{id:str}/test",
        operation_id="test_webhook",
        summary="Call the endpoint now with a made-up event",
        status_code=200,
        opt={"scope": "webhooks:write"},
    )
    async def test(
        self,
        db: NamedDependency[Database],
        egress: NamedDependency[GuardedClient],
        vault: NamedDependency[Vault],
        settings: NamedDependency[Settings],
        principal: NamedDependency[Principal],
        once: NamedDependency[Once],
        id: FromPath[str],
        data: JSONBody[TestCall],
    ) -> Data[TestCallOut]:
        """Signed like a real call and made at once, also where the endpoint is not active.
        It is neither recorded nor retried, and does not count as a failure."""
        made = await calls.test(
            db,
            egress,
            vault,
            principal.project,
            ids.in_path("whe", id),
            data.event_type,
            settings.webhooks.kept_answer_bytes,
        )
        out = Data[TestCallOut](
            data=TestCallOut(
                event_id=made.event_id,
                event_type=made.event_type,
                status_code=made.call.status_code,
                error=made.call.error,
                answer=made.call.answer,
                elapsed_ms=made.call.elapsed_ms,
                at=made.call.at,
            )
        )
        async with db.unit_of_work() as session:
            await once.keep(session, 200, out)
        return out

    @post(
        "/{id:str}/rotate-secret",
        operation_id="rotate_webhook_secret",
        summary="Give the endpoint a new secret",
        status_code=200,
        opt={"scope": "webhooks:write"},
    )
    async def rotate_secret(
        self,
        request: Request[Any, Any, Any],
        db: NamedDependency[Database],
        vault: NamedDependency[Vault],
        settings: NamedDependency[Settings],
        principal: NamedDependency[Principal],
        once: NamedDependency[Once],
        id: FromPath[str],
        data: JSONBody[RotateSecret | None] = None,
    ) -> Data[EndpointCreated]:
        """The answer shows the new secret this once. Until ``previous_secret_until`` both sign each
        call, so that receivers can change at any moment before."""
        hours = (data or RotateSecret()).overlap_hours
        if hours is None:
            hours = settings.webhooks.secret_overlap_hours
        ip = request.client.host if request.client else None
        async with db.unit_of_work() as session:
            made = await service.rotate(
                session, vault, principal, ids.in_path("whe", id), overlap_hours=hours, ip=ip
            )
            shown = EndpointOut.model_validate(made.row)
            out = Data[EndpointCreated](data=EndpointCreated(**dict(shown), secret=made.secret))
            await once.keep(session, 200, out)
        return out

    @post(
        "/{id:str}/replay",
        operation_id="replay_webhook_deliveries",
        summary="Deliver once more all of a time, a status or a type",
        status_code=202,
        opt={"scope": "webhooks:write"},
    )
    async def replay_many(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        once: NamedDependency[Once],
        id: FromPath[str],
        data: JSONBody[ReplayMany],
    ) -> Data[ReplayingOut]:
        """Each with its event id, and with a new retry schedule. ``{"status": "exhausted"}`` is the
        dead letters; deliveries that still wait for a call are left out."""
        filters = Filters(data.status, data.event_type, data.since, data.until)
        async with db.unit_of_work() as session:
            found = await replaying.replay_many(session, principal.project, ids.in_path("whe", id), filters)
            out = Data[ReplayingOut](data=ReplayingOut(deliveries=found))
            await once.keep(session, 202, out)
        return out

    @get(
        "/{id:str}/deliveries",
        operation_id="list_webhook_deliveries",
        summary="List deliveries, newest first",
        opt={"scope": "webhooks:read"},
    )
    async def deliveries(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        id: FromPath[str],
        status: FromQuery[DeliveryStatus | None] = None,
        event_type: FromQuery[EventType | None] = None,
        since: FromQuery[str | None] = None,
        until: FromQuery[str | None] = None,
        cursor: FromQuery[str | None] = None,
        per_page: FromQuery[int] = 20,
    ) -> CursorPage[DeliverySummary]:
        paging.check(1, per_page)
        before = paging.read_cursor(cursor)
        async with db.read() as session:
            endpoint = await queries.endpoint(session, principal.project, ids.in_path("whe", id))
            filters = Filters(status, event_type, instant("since", since), instant("until", until))
            rows = await queries.deliveries(session, endpoint.id, filters, before=before, limit=per_page)
            meta = CursorMeta(
                per_page=per_page, next_cursor=paging.next_cursor([row.id for row in rows], per_page)
            )
            return CursorPage(data=[DeliverySummary.model_validate(row) for row in rows], meta=meta)

    @get(
        "/{id:str}/deliveries/{delivery_id:str}",
        operation_id="get_webhook_delivery",
        summary="Read a delivery with each of its calls",
        opt={"scope": "webhooks:read"},
    )
    async def delivery(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        id: FromPath[str],
        delivery_id: FromPath[str],
    ) -> Data[DeliveryOut]:
        async with db.read() as session:
            shown = await showing.delivery(
                session, principal.project, ids.in_path("whe", id), ids.in_path("whd", delivery_id)
            )
            return Data(data=shown)

    @post(
        "/{id:str}/deliveries/{delivery_id:str}/replay",
        operation_id="replay_webhook_delivery",
        summary="Deliver once more, with the same event id",
        status_code=202,
        opt={"scope": "webhooks:write"},
    )
    async def replay(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        once: NamedDependency[Once],
        id: FromPath[str],
        delivery_id: FromPath[str],
    ) -> Data[DeliverySummary]:
        """A delivery that is over starts its retry schedule again; one that waits for a retry
        is tried now and keeps its place in the schedule."""
        async with db.unit_of_work() as session:
            row = await replaying.replay(
                session, principal.project, ids.in_path("whe", id), ids.in_path("whd", delivery_id)
            )
            out = Data[DeliverySummary](data=DeliverySummary.model_validate(row))
            await once.keep(session, 202, out)
        return out
