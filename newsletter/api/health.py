"""``/healthz``, ``/readyz`` and ``/metrics``: what the machines around this process ask it.

They answer without a key and tell no secrets, no addresses and no host names; an operator
keeps them inside the own network all the same.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import structlog
from litestar import HttpMethod, Response, get, route
from litestar.di import NamedDependency
from prometheus_client import CONTENT_TYPE_LATEST
from sqlalchemy import select

from newsletter import migrations
from newsletter.api.metrics import Metrics
from newsletter.kit import broker, heartbeat
from newsletter.kit.db import Database
from newsletter.settings import Settings

log = structlog.get_logger(__name__)

_ASKED: Final = (HttpMethod.GET, HttpMethod.HEAD)
"""Many balancers and monitors ask for the status alone."""
CHECK_SECONDS: Final = 3.0
"""After this time a part counts as away; balancers wait about as long."""
SWEEPER: Final = "sweeper"
SWEEPER_SECONDS: Final = 30.0
OPTIONAL: Final = frozenset({"broker"})
"""Without the broker calls are still taken and kept: work is late, nothing is lost. Taking every
process out of the balancer would turn that delay into an outage."""


class NotReady(Exception):
    """A part answers, and what it says is no good; the text may be shown to anyone."""


@route("/healthz", http_method=_ASKED, include_in_schema=False)
async def healthz() -> Mapping[str, str]:
    """The process runs. It asks no one else: a restart would not mend the database."""
    return {"status": "ok"}


@route("/readyz", http_method=_ASKED, include_in_schema=False)
async def readyz(
    db: NamedDependency[Database], settings: NamedDependency[Settings]
) -> Response[dict[str, object]]:
    """Whether calls that come now will be served: 200 ``ready`` or ``degraded``, else 503."""
    checks: dict[str, Callable[[], Awaitable[None]]] = {
        "database": lambda: _database(db),
        "schema": lambda: _schema(db),
        "broker": lambda: _broker(settings),
        "sweeper": lambda: _sweeper(db),
    }
    found = await asyncio.gather(*(_checked(name, check) for name, check in checks.items()))
    problems = dict(zip(checks, found, strict=True))
    failed = {name for name, problem in problems.items() if problem}
    status = "unavailable" if failed - OPTIONAL else "degraded" if failed else "ready"
    body: dict[str, object] = {
        "status": status,
        "checks": {name: problem or "ok" for name, problem in problems.items()},
    }
    return Response(body, status_code=503 if status == "unavailable" else 200)


@get("/metrics", include_in_schema=False)
async def expose(db: NamedDependency[Database], metrics: NamedDependency[Metrics]) -> Response[bytes]:
    # The framework adds the character set to any text.
    media_type = CONTENT_TYPE_LATEST.removesuffix("; charset=utf-8")
    return Response(await metrics.exposition(db), media_type=media_type)


async def _checked(name: str, check: Callable[[], Awaitable[None]]) -> str | None:
    """What is wrong, in words that hold no address and no password."""
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await check()
    except NotReady as problem:
        return str(problem)
    except TimeoutError:
        return f"no answer within {CHECK_SECONDS:g} s"
    except Exception as error:
        log.warning("a part is not ready", part=name, error=repr(error))
        return f"away ({type(error).__name__})"
    return None


async def _database(db: Database) -> None:
    async with db.read() as session:
        await session.execute(select(1))


async def _schema(db: Database) -> None:
    if await migrations.current(db.engine) != migrations.head():
        raise NotReady("not at the newest revision: run 'newsletter db upgrade'")


async def _broker(settings: Settings) -> None:
    """``memory://`` lives in this process, so there is nobody to ask."""
    if settings.is_distributed:
        await broker.ping(settings.broker_url, CHECK_SECONDS)


async def _sweeper(db: Database) -> None:
    async with db.read() as session:
        age = (await heartbeat.ages(session)).get(SWEEPER)
    if age is None:
        raise NotReady("never seen: no worker has run on this database")
    if age > SWEEPER_SECONDS:
        raise NotReady(f"last seen {age:.0f} s ago: no worker runs")
