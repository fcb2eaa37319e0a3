"""What ``/metrics`` counts, in the text format of Prometheus.

Requests are counted as they pass. What lives in the database is read when somebody asks,
so every process tells the same of it; all of it is cheap to read on a large installation.
"""

import time
from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate
from typing import Final
from uuid import UUID

import structlog
from prometheus_client import (
    CollectorRegistry,
    Gauge,
    GCCollector,
    Info,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import select
from sqlalchemy.pool import QueuePool

from newsletter import __version__
from newsletter.delivery import queries as delivery
from newsletter.kit import heartbeat, ids, jobs
from newsletter.kit.db import Database, db_now, is_outage
from newsletter.routing import breaker, meter, throttle
from newsletter.routing.choice import DEFAULT_SERVER

log = structlog.get_logger(__name__)

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 150.0)
"""Seconds. The last one is the deadline of a generation."""


class Requests(Collector):
    """Requests and how long they took, as numbers of the one event loop that counts and tells them. Those
    of the library lock: with them a request took 1.9 µs to count, a tenth of the answer to a click, and 1.1
    with these."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str, int], int] = {}
        self._times: dict[tuple[str, str], list[int]] = {}
        """How many stayed within each of `BUCKETS` and no lower one; the last, within none."""
        self._sums: dict[tuple[str, str], float] = {}

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Counts one request. ``route`` is a pattern, never a path: paths would be without number."""
        if method not in _METHODS:  # Of others there may be any number.
            method = "other"
        counted, timed = (method, route, status), (method, route)
        self._counts[counted] = self._counts.get(counted, 0) + 1
        times = self._times.get(timed)
        if times is None:
            times = self._times[timed] = [0] * (len(BUCKETS) + 1)
        times[bisect_left(BUCKETS, seconds)] += 1
        self._sums[timed] = self._sums.get(timed, 0.0) + seconds

    def collect(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "newsletter_http_requests",
            "Requests by the pattern of their route",
            labels=["method", "route", "status"],
        )
        for (method, route, status), count in self._counts.items():
            requests.add_metric([method, route, str(status)], count)
        yield requests
        seconds = HistogramMetricFamily(
            "newsletter_http_request_seconds", "Time to the end of the answer", labels=["method", "route"]
        )
        for timed, times in self._times.items():
            # Prometheus wants those within a bound or any before it.
            within = zip((*map(str, BUCKETS), "+Inf"), accumulate(times), strict=True)
            seconds.add_metric(timed, [(bound, float(count)) for bound, count in within], self._sums[timed])
        yield seconds


class Metrics:
    """The numbers of one process. A registry of its own, so that two applications can live in one."""

    def __init__(self, beside: CollectorRegistry) -> None:
        """``beside``: what other parts of this process count, which is told as well."""
        self._beside, self._registry = beside, CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)
        Info("newsletter_build", "The program", registry=self._registry).info({"version": __version__})
        requests = Requests()
        self._registry.register(requests)
        self.observe = requests.observe
        """Counts one request."""
        self._up = self._gauge("newsletter_database_up", "1 when the database answered just now")
        self._read = self._gauge("newsletter_database_read_seconds", "How long these numbers took to read")
        self._pool = self._gauge("newsletter_database_connections", "Connections of this process", "state")
        self._jobs = self._gauge("newsletter_jobs", "Jobs by status", "status")
        self._mailings = self._gauge("newsletter_mailings", "Mailings that are not over", "status")
        self._batches = self._gauge("newsletter_batches", "Batches of those mailings", "status")
        self._servers = self._gauge(
            "newsletter_sending_server_mails", "What went through each sending server", "server", "outcome"
        )
        self._breakers = self._gauge(
            "newsletter_sending_server_breaker", "1 for servers that are left alone", "server", "state"
        )
        self._limited = self._gauge(
            "newsletter_sending_server_limited_domains", "Domains that take less than we would send", "server"
        )
        self._ages = self._gauge("newsletter_heartbeat_age_seconds", "Since a loop was last seen", "loop")

    async def exposition(self, db: Database) -> bytes:
        """All numbers. While the database is away, those of the process alone."""
        self._note_pool(db)
        for gauge in (
            *(self._jobs, self._mailings, self._batches, self._ages),
            *(self._servers, self._breakers, self._limited),
        ):
            gauge.clear()
        started = time.perf_counter()
        try:
            await self._note_work(db)
        except Exception as error:
            if not is_outage(error):
                raise
            log.warning(
                "the database is away; metrics tell of this process alone", error=type(error).__name__
            )
            self._up.set(0)
        else:
            self._up.set(1)
        self._read.set(time.perf_counter() - started)
        return generate_latest(self._registry) + generate_latest(self._beside)

    async def _note_work(self, db: Database) -> None:
        async with db.read() as session:
            by_status = await jobs.counts(session)
            mailings, batches = await delivery.unfinished(session)
            ages = await heartbeat.ages(session)
            totals = await meter.totals(session)
            breakers = await breaker.open_all(session)
            limited = await throttle.counts(session)
            now = (await session.execute(select(db_now()))).scalar_one()
        for row in totals:
            for outcome in ("sent", "deferred", "failed"):
                self._servers.labels(_server(row.server_id), outcome).set(getattr(row, outcome))
        for server_id, state in breakers.items():
            self._breakers.labels(_server(server_id), state.state(now).value).set(1)
        for server_id, count in limited.items():
            self._limited.labels(_server(server_id)).set(count)
        for status in jobs.JobStatus:
            self._jobs.labels(status.value).set(by_status.get(status.value, 0))
        for gauge, numbers in ((self._mailings, mailings), (self._batches, batches), (self._ages, ages)):
            for name, number in numbers.items():
                gauge.labels(name).set(number)

    def _note_pool(self, db: Database) -> None:
        pool = db.engine.pool
        if isinstance(pool, QueuePool):
            self._pool.labels("open").set(pool.checkedin() + pool.checkedout())
            self._pool.labels("in_use").set(pool.checkedout())
            self._pool.labels("limit").set(pool.size())

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, registry=self._registry)


def _server(server_id: UUID) -> str:
    return "default" if server_id == DEFAULT_SERVER else ids.public("srv", server_id)
