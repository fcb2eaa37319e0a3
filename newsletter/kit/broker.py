"""The broker that wakes workers: in this process (``memory://``) or Redis.

A message carries a job's id and nothing else. Dramatiq's retries, time limits and results
are left out: the job row keeps all of that.
"""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

import dramatiq
import structlog
from dramatiq.brokers.redis import RedisBroker
from dramatiq.brokers.stub import StubBroker

from newsletter.kit.jobs import Ring

log = structlog.get_logger(__name__)

Broker: TypeAlias = dramatiq.Broker

PAUSE_AFTER_FAILURE = 2.0
"""Seconds without a try after the broker could not be reached; the sweeper makes up for it."""


def make_broker(url: str) -> Broker:
    """A broker without any middleware. Connects on first use, not here."""
    if url == "memory://":
        return StubBroker(middleware=[])
    return RedisBroker(  # type: ignore[no-untyped-call]
        url=url,
        middleware=[],
        namespace="newsletter",
        socket_connect_timeout=2,
        socket_timeout=30,
        socket_keepalive=True,
    )


class BrokerBell:
    """Rings in a thread of its own, so that neither a request nor a commit waits for the broker."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="bell")
        self._quiet_until = 0.0

    def __call__(self, rings: Sequence[Ring]) -> None:
        if rings and time.monotonic() >= self._quiet_until:
            self._thread.submit(self._ring, list(rings))

    def _ring(self, rings: list[Ring]) -> None:
        for ring in rings:
            if time.monotonic() < self._quiet_until:
                return
            message: dramatiq.Message[None] = dramatiq.Message(
                queue_name=ring.queue, actor_name=ring.name, args=(str(ring.job_id),), kwargs={}, options={}
            )
            try:
                self._broker.declare_queue(ring.queue)
                self._broker.enqueue(message)
            except Exception as error:
                self._quiet_until = time.monotonic() + PAUSE_AFTER_FAILURE
                log.warning("the broker cannot be reached; the sweeper will ring", error=repr(error))

    def close(self) -> None:
        """Drops what was not rung yet: the sweeper of the next process rings for it. The broker
        is closed by whoever made it, as bells may share one."""
        self._thread.shutdown(wait=True, cancel_futures=True)
