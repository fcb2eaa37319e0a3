"""The broker that wakes workers: in this process (``memory://``) or Redis.

A message carries a job's id and nothing else. Dramatiq's retries, time limits and results
are left out: the job row keeps all of that.
"""

import logging
import threading
import time
from collections.abc import Iterable, Sequence
from queue import SimpleQueue
from typing import TypeAlias

import dramatiq
import dramatiq.common
import redis
import structlog
from dramatiq.brokers.redis import RedisBroker
from dramatiq.brokers.stub import StubBroker

from newsletter.kit.jobs import Ring

log = structlog.get_logger(__name__)

Broker: TypeAlias = dramatiq.Broker

PAUSE_AFTER_FAILURE = 2.0
"""Seconds without a try after the broker could not be reached; the sweeper makes up for it."""


SAY_EVERY = 60.0
"""Seconds between two log lines about a broker that is away."""


class _Seldom(logging.Filter):
    """One line a minute, of all the threads that miss the broker every three seconds."""

    def __init__(self) -> None:
        super().__init__()
        self._said_at: float | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        now = time.monotonic()
        if self._said_at is not None and now - self._said_at < SAY_EVERY:
            return False
        self._said_at = now
        return True


def quieten(queues: Iterable[str]) -> None:
    """Keeps Dramatiq's loggers to what an operator needs: that the broker is away, now and then."""
    seldom = _Seldom()
    for queue in queues:
        for name in (queue, dramatiq.common.dq_name(queue)):
            logger = logging.getLogger(f"dramatiq.worker.ConsumerThread({name})")
            logger.setLevel(logging.WARNING)
            logger.filters = [seldom]
    for noisy in ("dramatiq.worker.Worker", "dramatiq.broker.RedisBroker", "dramatiq.broker.StubBroker"):
        # It warns of a second worker in one process; each of ours has queues of its own.
        logging.getLogger(noisy).setLevel(logging.ERROR)


def make_broker(url: str) -> Broker:
    """A broker without any middleware. Connects on first use, not here."""
    if url == "memory://":
        return StubBroker(middleware=[])
    client = redis.Redis.from_url(url, socket_connect_timeout=2, socket_timeout=5, socket_keepalive=True)
    return RedisBroker(client=client, middleware=[], namespace="newsletter")  # type: ignore[no-untyped-call]


class BrokerBell:
    """Rings in a thread of its own, so that neither a request nor a commit waits for the broker.

    The thread ends with the process, whatever the broker does.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._rings: SimpleQueue[Sequence[Ring] | None] = SimpleQueue()
        self._quiet_until = 0.0
        self._thread = threading.Thread(target=self._work, name="bell", daemon=True)
        self._thread.start()

    def __call__(self, rings: Sequence[Ring]) -> None:
        if rings and time.monotonic() >= self._quiet_until:
            self._rings.put(list(rings))

    def _work(self) -> None:
        while (rings := self._rings.get()) is not None:
            self._ring(rings)

    def _ring(self, rings: Sequence[Ring]) -> None:
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
        """Lets what was rung get through, for a second at most. The broker is closed by whoever
        made it: bells may share one."""
        self._rings.put(None)
        self._thread.join(1)
