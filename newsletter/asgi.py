"""``create_app()`` for any ASGI server."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from litestar import Litestar, Router
from litestar.di import Provide
from litestar.plugins.pydantic import PydanticPlugin
from litestar.types import Receive, Scope, Send

from newsletter.accounts.keys import KeyRing
from newsletter.accounts.project import Principal
from newsletter.api import errors, openapi, query, routers
from newsletter.api.arrival import Arrival
from newsletter.api.behind import Behind, layer, part
from newsletter.api.context import RequestContext
from newsletter.api.door import Door
from newsletter.api.errors import AnyRequest
from newsletter.api.gate import Gate
from newsletter.api.metrics import Metrics
from newsletter.api.once import Idempotency, provide_once
from newsletter.api.short import ShortWays
from newsletter.api.tracking import Tracking
from newsletter.audience import queries as audience
from newsletter.audience.lists import ListUse
from newsletter.audience.routes.subscribing import PlainCreate
from newsletter.audience.segments.service import SegmentUse
from newsletter.automations import service as automations
from newsletter.campaigns import acting
from newsletter.campaigns import queries as campaigns
from newsletter.campaigns.routes.campaigns import PlainCampaign
from newsletter.dashboard.inbox import InboxController
from newsletter.plans.catalogue import Catalogue
from newsletter.runtime import Runtime
from newsletter.settings import LimitSettings
from newsletter.templates.service import CustomFields
from newsletter.transactional.routes import PlainMessage, PlainSend

PARTS: Final = (
    *("db", "vault", "signer", "settings", "plans", "intake", "studio", "office", "postbox", "shelf"),
    *("egress", "certificates", "reporting", "workshop", "links", "return_paths", "resolver", "limiter"),
    "calls",
)
"""What a handler may ask its runtime for, by name."""
FIXED: Final[Mapping[str, object]] = {
    "list_use": ListUse(campaigns.uses_list, automations.asking_for),
    "segment_use": SegmentUse(campaigns.uses_segment, acting.acted, campaigns.list_ids),
    "field_names": CustomFields(audience.custom_field_names),
}
"""What is the same for every runtime."""


@dataclass(frozen=True, slots=True)
class Application:
    """Answers by ASGI alone. A server that can do more asks its parts first (`newsletter.protocol`)."""

    tracking: Tracking
    door: Door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.tracking(scope, receive, send)


def create_app(runtime: Runtime, routes: Litestar | None = None) -> Application:
    """The API on this runtime, which stays its maker's to close.

    ``routes`` are made where none are given. Who serves several runtimes may make them once for all
    whose limits, public URL and plans are the same.
    """
    limits = runtime.settings.limits
    metrics = Metrics(runtime.meters)
    keys = KeyRing(runtime.db, runtime.vault, runtime.plans)
    gate = Gate(keys, runtime.plans, runtime.limiter, runtime.settings.callers)
    routes = routes or make_routes(limits, runtime.settings.public_url, runtime.plans)
    short_ways = ShortWays(
        runtime.vault,
        {
            "create_subscriber": PlainCreate(runtime.intake, limits),
            "send_mail": PlainSend(runtime.postbox),
            "get_message": PlainMessage(runtime.db),
            "get_campaign": PlainCampaign(runtime.db),
        },
    )
    behind = Behind(
        routes,
        {name: getattr(runtime, name) for name in PARTS} | {"metrics": metrics},
        {
            Gate: gate,
            Idempotency: Idempotency(runtime.db, runtime.vault),
            ShortWays: short_ways,
        },
    )
    arriving = Arrival(gate.around(behind), limits.body_bytes, limits.arrival_seconds)
    described = RequestContext(arriving, metrics, runtime.calls)
    return Application(
        Tracking(described, runtime.links, runtime.sightings, metrics),
        Door(routes, described, gate, short_ways),
    )


def make_routes(limits: LimitSettings, public_url: str, plans: Catalogue) -> Litestar:
    """Every route with its description, for any runtime with these settings."""
    v1 = Router(
        "/api/v1",
        route_handlers=[
            *routers.V1,
            Router(
                "/", route_handlers=list(routers.WITH_FILES), request_max_body_size=limits.mail_body_bytes
            ),
        ],
        middleware=[layer(Gate), layer(Idempotency), layer(ShortWays)],
        dependencies={"principal": Provide(_principal, sync_to_thread=False), "once": Provide(provide_once)},
        security=[{"bearer": []}, {"header": []}],
    )
    routers.check(v1)
    handed = {name: part(name) for name in (*PARTS, "metrics")}
    handed |= {name: _constant(value) for name, value in FIXED.items()}
    routes = Litestar(
        route_handlers=[v1, *routers.PUBLIC, InboxController],
        dependencies={name: Provide(give, sync_to_thread=False) for name, give in handed.items()},
        exception_handlers=errors.HANDLERS,
        openapi_config=openapi.configured(public_url, plans),
        request_max_body_size=limits.body_bytes,
        # Else it writes ``from_`` where the description of the API says ``from``.
        plugins=[PydanticPlugin(prefer_alias=True)],
        logging_config=None,
    )
    _resolve_in_turn(routes)
    query.declare(routes)
    return routes


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
