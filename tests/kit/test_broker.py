"""The bell when its broker is away: what it was rung for is neither lost nor waited for."""

import threading
import time
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any

import dramatiq
import pytest
import redis as redis_client
from dramatiq.brokers.stub import StubBroker
from dramatiq.worker import WorkerThread

from newsletter.kit import ids
from newsletter.kit.broker import FETCH_AFTER, BrokerBell, Listener, make_broker
from newsletter.kit.jobs import Ring
from tests.services import Redis


class Away(StubBroker):
    """Takes the first so many messages, and then none."""

    def __init__(self, takes: int) -> None:
        super().__init__(middleware=[])
        self.takes = takes

    def enqueue(self, message: dramatiq.Message[Any], *, delay: int | None = None) -> dramatiq.Message[Any]:
        if self.takes == 0:
            raise ConnectionRefusedError
        self.takes -= 1
        return super().enqueue(message, delay=delay)


class Instead(list[Ring]):
    def __init__(self, until: int) -> None:
        self.is_full = threading.Event()
        self._until = until

    def __call__(self, rings: Sequence[Ring]) -> None:
        self.extend(rings)
        if len(self) >= self._until:
            self.is_full.set()


def test_what_the_broker_does_not_take_is_rung_another_way() -> None:
    rings = [Ring(ids.uuid7(), "tests.work") for _ in range(5)]
    instead = Instead(until=4)
    bell = BrokerBell(Away(takes=1), instead)
    bell(rings[:3])
    bell(rings[3:])
    assert instead.is_full.wait(10)
    assert {ring.job_id for ring in instead} == {ring.job_id for ring in rings[1:]}
    late = Ring(ids.uuid7(), "tests.work", is_due=True)
    bell([late])  # For a while the broker is not even asked.
    assert instead[-1] == late
    bell.close()


def test_an_api_has_no_other_way_and_carries_on() -> None:
    broker = Away(takes=0)
    bell = BrokerBell(broker)
    bell([Ring(ids.uuid7(), "tests.work")])
    bell.close()
    assert not bell._thread.is_alive()


def test_a_listener_asks_for_rings_that_it_has_threads_for_and_for_nothing_that_is_delayed() -> None:
    broker = StubBroker(middleware=[])
    for queue in ("delivery", "webhooks"):
        broker.declare_queue(queue)
    listener = Listener(broker, queues={"delivery"}, threads=3, poll_milliseconds=10)
    listener.start()
    try:
        assert set(listener.consumers) == {"delivery"}
        # What it has no thread for stays where another process finds it.
        assert listener.consumers["delivery"].prefetch == 3
    finally:
        listener.stop()


def test_a_worker_without_work_leaves_redis_alone_and_hears_each_ring_at_once(redis: Redis) -> None:
    broker = make_broker(redis.url)
    client = redis_client.Redis.from_url(redis.url)
    heard: SimpleQueue[str] = SimpleQueue()
    dramatiq.actor(actor_name="tests.work", queue_name="tests", broker=broker)(heard.put)
    listener = Listener(broker, queues={"tests"}, threads=1, poll_milliseconds=3000)
    listener.start()
    bell = BrokerBell(broker)
    try:
        _until(lambda: client.info("clients")["blocked_clients"] == 1)
        # One thread, and no ring is fetched that it is not free for: the second is heard when the first is
        # done. Were that only looked at now and then, two would take a time-out each.
        rings = [Ring(ids.uuid7(), "tests.work") for _ in range(3)]
        began = time.monotonic()
        bell(rings)
        assert [heard.get(timeout=20) for _ in rings] == [str(ring.job_id) for ring in rings]
        assert time.monotonic() - began < 3
    finally:
        bell.close()
        listener.stop()
        client.close()


def test_threads_without_work_sleep_until_the_end_and_go_then(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = list[float | None]()
    wait = threading.Condition.wait

    def noted(self: threading.Condition, timeout: float | None = None) -> bool:
        if isinstance(threading.current_thread(), WorkerThread):
            waits.append(timeout)
        return wait(self, timeout)

    monkeypatch.setattr(threading.Condition, "wait", noted)
    broker = StubBroker(middleware=[])
    broker.declare_queue("tests")
    heard: SimpleQueue[str] = SimpleQueue()
    dramatiq.actor(actor_name="tests.work", queue_name="tests", broker=broker)(heard.put)
    listener = Listener(broker, queues={"tests"}, threads=2, poll_milliseconds=10)
    listener.start()
    bell = BrokerBell(broker)
    try:
        _until(lambda: len(waits) >= 2)
        ring = Ring(ids.uuid7(), "tests.work")
        bell([ring])
        assert heard.get(timeout=20) == str(ring.job_id)
    finally:
        bell.close()
        listener.stop()
    assert not any(thread.is_alive() for thread in listener.workers)
    # Each waits without an end, and nobody looks whether there is one.
    assert set(waits) == {None}


def test_a_queue_that_was_waited_for_in_vain_is_not_asked_at_once(redis: Redis) -> None:
    broker = make_broker(redis.url)
    client = redis_client.Redis.from_url(redis.url)
    # As the first fetch loads the script, and tells of this process.
    consumer = broker.consume("tests", prefetch=1, timeout=10)
    asked = list[int]()
    for _ in range(2 * FETCH_AFTER):
        assert next(consumer) is None
        asked.append(client.info("commandstats")["cmdstat_evalsha"]["calls"])
    client.close()
    broker.close()
    # Once for every ten waits, by which Redis knows that somebody listens.
    assert asked[-1] - asked[0] == 1
    assert asked.index(asked[-1]) == FETCH_AFTER


def _until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)
