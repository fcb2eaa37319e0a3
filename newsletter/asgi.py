"""``create_app()`` for any ASGI server."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from litestar import Litestar, Router
from litestar.di import Provide
from litestar.plugins.pydantic import PydanticPlugin
from litestar.types import ASGIApp

from newsletter.accounts.keys import KeyRing
from newsletter.accounts.project import Principal
from newsletter.api import errors, openapi, routers
from newsletter.api.arrival import Arrival
from newsletter.api.context import RequestContext
from newsletter.api.errors import AnyRequest
from newsletter.api.gate import Gate
from newsletter.api.metrics import Metrics
from newsletter.api.once import Idempotency, provide_once
from newsletter.api.short import ShortWay, ShortWays
from newsletter.api.tracking import Tracking
from newsletter.audience import queries as audience
from newsletter.audience.lists import ListUse
from newsletter.audience.routes.subscribing import PlainCreate
from newsletter.campaigns import queries as campaigns
from newsletter.dashboard.inbox import InboxController
from newsletter.runtime import Runtime
from newsletter.templates.service import CustomFields


def create_app(runtime: Runtime) -> ASGIApp:
    """The API on this runtime, which it closes when the server ends."""
    gate = Gate(KeyRing(runtime.db, runtime.vault, runtime.plans), runtime.plans, runtime.limiter)
    short: dict[str, ShortWay] = {"create_subscriber": PlainCreate(runtime.intake, runtime.settings.limits)}
    v1 = Router(
        "/api/v1",
        route_handlers=[
            *routers.V1,
            Router(
                "/",
                route_handlers=list(routers.WITH_FILES),
                request_max_body_size=runtime.settings.limits.mail_body_bytes,
            ),
        ],
        middleware=[gate, Idempotency(runtime.db, runtime.vault), ShortWays(short)],
        dependencies={"principal": Provide(_principal, sync_to_thread=False), "once": Provide(provide_once)},
        security=[{"bearer": []}, {"header": []}],
    )
    routers.check(v1)
    metrics = Metrics()

    @asynccontextmanager
    async def closing(app: Litestar) -> AsyncIterator[None]:
        runtime.sightings.start()
        try:
            yield
        finally:
            await runtime.aclose()

    app = Litestar(
        route_handlers=[v1, *routers.PUBLIC, InboxController],
        dependencies={
            name: Provide(_constant(value), sync_to_thread=False)
            for name, value in {
                "db": runtime.db,
                "vault": runtime.vault,
                "signer": runtime.signer,
                "settings": runtime.settings,
                "plans": runtime.plans,
                "intake": runtime.intake,
                "list_use": ListUse(campaigns.uses_list),
                "studio": runtime.studio,
                "office": runtime.office,
                "postbox": runtime.postbox,
                "shelf": runtime.shelf,
                "field_names": CustomFields(audience.custom_field_names),
                "egress": runtime.egress,
                "certificates": runtime.certificates,
                "reporting": runtime.reporting,
                "workshop": runtime.workshop,
                "links": runtime.links,
                "return_paths": runtime.return_paths,
                "metrics": metrics,
            }.items()
        },
        exception_handlers=errors.HANDLERS,
        openapi_config=openapi.configured(runtime.settings, runtime.plans),
        request_max_body_size=runtime.settings.limits.body_bytes,
        lifespan=[closing],
        # Else it writes ``from_`` where the description of the API says ``from``.
        plugins=[PydanticPlugin(prefer_alias=True)],
        logging_config=None,
    )
    _resolve_in_turn(app)
    limits = runtime.settings.limits
    arriving = Arrival(gate.around(app), limits.body_bytes, limits.arrival_seconds)
    described = RequestContext(arriving, metrics)
    return Tracking(described, runtime.links, runtime.sightings, metrics)


def _principal(request: AnyRequest) -> Principal:
    principal: Principal = request.scope["user"]
    return principal


def _constant(value: object) -> Callable[[], object]:
    return lambda: value


def _resolve_in_turn(app: Litestar) -> None:
    """Has the parts of a call handed over one after the other.

    Litestar starts a task for each of them, which pays where they wait for something. Ours are at
    hand: the tasks took a fifth of the time of a small call.
    """
    for route in app.routes:
        for _, parts in getattr(route, "route_handler_map", {}).values():
            parts.dependency_batches = [{part} for batch in parts.dependency_batches for part in batch]
