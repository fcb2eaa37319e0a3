"""The broker that wakes workers: in this process (``memory://``), Redis or RabbitMQ.

A message carries a job's id and nothing else. Dramatiq's retries, time limits and results
are left out: the job row keeps all of that.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Iterable, Sequence
from queue import Empty, PriorityQueue, SimpleQueue
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import dramatiq
import dramatiq.common
import pika
import redis
import redis.asyncio
import structlog
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.brokers.redis import RedisBroker, _RedisConsumer
from dramatiq.brokers.stub import StubBroker

from newsletter.kit.jobs import Bell, Ring

log = structlog.get_logger(__name__)

Broker: TypeAlias = dramatiq.Broker

PAUSE_AFTER_FAILURE = 2.0
"""Seconds without a try after the broker could not be reached; the sweeper makes up for it."""
CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 5.0
"""What the broker gets to answer one call; then it counts as away."""
SAY_EVERY = 60.0
"""Seconds between two log lines about a broker that is away."""
FETCH_AFTER = 10
"""Waits of a consumer in vain after which it asks Redis all the same, in at most ten seconds: Dramatiq tells
it by each call that this process lives, and is believed for sixty."""


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
    if is_rabbitmq(url):
        # Confirmed, so that queues which a server lost with its disk are found missing and made again.
        broker = RabbitmqBroker(url=url, confirm_delivery=True, middleware=[])
        broker.parameters = _parameters(url, ANSWER_SECONDS)
        return broker
    client = redis.Redis.from_url(
        url, socket_connect_timeout=CONNECT_SECONDS, socket_timeout=ANSWER_SECONDS, socket_keepalive=True
    )
    return _Redis(client=client, middleware=[], namespace="newsletter")  # type: ignore[no-untyped-call]


def is_rabbitmq(url: str) -> bool:
    return urlsplit(url).scheme in {"amqp", "amqps"}


async def ping(url: str, seconds: float) -> None:
    """Asks a Redis or RabbitMQ whether it is there and lets us in. Raises whatever its client
    raises, or `TimeoutError`; the texts hold no password."""
    async with asyncio.timeout(seconds):
        if is_rabbitmq(url):
            await asyncio.to_thread(lambda: pika.BlockingConnection(_parameters(url, seconds)).close())
            return
        client = redis.asyncio.Redis.from_url(url, socket_connect_timeout=seconds, socket_timeout=seconds)
        async with contextlib.aclosing(client):
            await client.ping()


def _parameters(url: str, seconds: float) -> pika.URLParameters:
    """``amqp://user:password@host:5672/virtual-host``, with an end to every wait."""
    parameters = pika.URLParameters(url)
    parameters.socket_timeout = min(seconds, CONNECT_SECONDS)
    parameters.stack_timeout = seconds
    parameters.blocked_connection_timeout = seconds
    return parameters


class _Rings(PriorityQueue[Any]):
    """What was fetched. A thread waits for it until there is some or the listener ends.

    Dramatiq's look at the end several times a second, each: 26 threads of an idle worker.
    """

    def __init__(self) -> None:
        super().__init__()
        self._is_over = False

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        with self.not_empty:
            while block and not self._is_over and not self._qsize():
                self.not_empty.wait()
            if not self._qsize():
                raise Empty
            return self._get()

    def end(self) -> None:
        with self.not_empty:
            self._is_over = True
            self.not_empty.notify_all()


class Listener(dramatiq.Worker):
    """Threads that wait for rings, and nothing that rings do not need.

    Nothing listens for delayed messages, of which there are none: what comes later is a row of ours.
    Dramatiq asks Redis for them as often as for those of now, which was nearly half of the 8 % of a
    processor that an idle worker took.

    Nothing is fetched that no thread is free for. Dramatiq fetches twice as much, and of a campaign of
    ten batches one worker had eight, while others had nothing to do.
    """

    def __init__(self, broker: Broker, *, queues: set[str], threads: int, poll_milliseconds: int) -> None:
        super().__init__(broker, queues=queues, worker_threads=threads, worker_timeout=poll_milliseconds)
        self.queue_prefetch = threads
        self._rings = self.work_queue = _Rings()

    def stop(self, timeout: int = 600_000) -> None:
        for thread in self.workers:
            thread.stop()
        self._rings.end()
        super().stop(timeout)

    def _add_consumer(self, queue_name: str, *, delay: bool = False) -> None:
        # The broker in memory names them among the others.
        if not delay and dramatiq.common.q_name(queue_name) == queue_name:
            super()._add_consumer(queue_name)


class _Consumer(_RedisConsumer):
    """Waits for a queue instead of asking again and again whether there is something.

    Eight queues that are each asked seven times a second took an idle worker 4 % of a processor, and a
    ring was heard 75 ms late. This one hears it at once. Redis 6.2 or later.

    After a wait in vain it waits again without asking, as nothing has come: that was half of the calls.
    """

    def __init__(self, broker: "_Redis", queue_name: str, prefetch: int, timeout: int) -> None:
        # Without a pause of its own.
        super().__init__(broker, queue_name, prefetch, timeout=0)  # type: ignore[no-untyped-call]
        self._queue = f"{broker.namespace}:{queue_name}"
        self._seconds = timeout / 1000
        self._has_room = threading.Event()
        self._in_vain = 0

    def __next__(self) -> Any:
        self._has_room.clear()
        if not self._in_vain % FETCH_AFTER:
            message = super().__next__()  # type: ignore[no-untyped-call]
            if message is not None:
                return message
        self._in_vain = 0 if self._wait() else self._in_vain + 1
        return None

    def _wait(self) -> bool:
        """False when nothing came in that time."""
        if self.outstanding_message_count >= self.prefetch:
            self._has_room.wait(self._seconds)
            return True
        try:
            # Moves the last message to where it is: the only command that waits for a list and takes
            # nothing from it.
            found = self.broker.client.blmove(self._queue, self._queue, self._seconds, "RIGHT", "RIGHT")
            return found is not None
        except redis.ConnectionError as error:
            raise dramatiq.ConnectionClosed(error) from None  # type: ignore[no-untyped-call]

    def ack(self, message: Any) -> None:
        try:
            super().ack(message)  # type: ignore[no-untyped-call]
        finally:
            self._has_room.set()

    def nack(self, message: Any) -> None:
        try:
            super().nack(message)  # type: ignore[no-untyped-call]
        finally:
            self._has_room.set()


class _Redis(RedisBroker):
    @property
    def consumer_class(self) -> type[_Consumer]:
        return _Consumer


class BrokerBell:
    """Rings in a thread of its own, so that neither a request nor a commit waits for the broker.

    What the broker does not take goes to ``instead``: a worker process rings for itself then,
    so that mail goes out without any broker. An API has nobody to ring; a sweeper will.
    The thread ends with the process, whatever the broker does.
    """

    def __init__(self, broker: Broker, instead: Bell | None = None) -> None:
        self._broker = broker
        self._instead = instead
        self._rings: SimpleQueue[Sequence[Ring] | None] = SimpleQueue()
        self._quiet_until = 0.0
        self._said_at: float | None = None
        self._thread = threading.Thread(target=self._work, name="bell", daemon=True)
        self._thread.start()

    def __call__(self, rings: Sequence[Ring]) -> None:
        if not rings:
            return
        if time.monotonic() >= self._quiet_until:
            self._rings.put(list(rings))
        else:
            self._ring_instead(rings)

    def _work(self) -> None:
        while (rings := self._rings.get()) is not None:
            self._ring(rings)

    def _ring(self, rings: Sequence[Ring]) -> None:
        for number, ring in enumerate(rings):
            if time.monotonic() < self._quiet_until:
                self._ring_instead(rings[number:])
                return
            message: dramatiq.Message[None] = dramatiq.Message(
                queue_name=ring.queue, actor_name=ring.name, args=(str(ring.job_id),), kwargs={}, options={}
            )
            try:
                self._broker.declare_queue(ring.queue)
                self._broker.enqueue(message)
            except Exception as error:
                self._quiet_until = time.monotonic() + PAUSE_AFTER_FAILURE
                self._say_that_it_is_away(error)
                self._ring_instead(rings[number:])
                return

    def _ring_instead(self, rings: Sequence[Ring]) -> None:
        if self._instead is not None:
            self._instead(rings)

    def _say_that_it_is_away(self, error: Exception) -> None:
        now = time.monotonic()
        if self._said_at is None or now - self._said_at >= SAY_EVERY:
            self._said_at = now
            log.warning("the broker cannot be reached; work goes on without it", error=repr(error))

    def close(self) -> None:
        """Lets what was rung get through, for a second at most. The broker is closed by whoever
        made it: bells may share one."""
        self._rings.put(None)
        self._thread.join(1)
