"""The worker process: threads that take rings from the broker, and the sweeper beside them.

Each slice's jobs have threads of their own, so that slow webhook endpoints never hold up
mail. The threads only wait; all coroutines share one event loop, and a job that goes on only to wait
leaves its thread to others. (Dramatiq's own asyncio middleware makes a loop per worker, and an async engine
belongs to one loop.)
"""

import asyncio
import threading
import time
from collections.abc import Coroutine, Sequence
from concurrent.futures import Future, wait
from typing import Any, TypeVar
from uuid import UUID

import dramatiq
import structlog

from newsletter.delivery import batches, urgency
from newsletter.kit import jobs
from newsletter.kit.broker import BrokerBell, Listener, quieten
from newsletter.kit.eventloop import EventLoop
from newsletter.kit.jobs import Ring, queues_of
from newsletter.runtime import Runtime
from newsletter.settings import Settings
from workers import registry
from workers.sweeper import Sweeper

T = TypeVar("T")
log = structlog.get_logger(__name__)

STOP_SECONDS = 5.0
"""What work in flight gets to finish when the process is asked to end; in all it takes under 10."""
CLOSE_SECONDS = 0.8
"""What each part gets to close then, whatever it waits for: a database or broker may be away."""
POLL_MILLISECONDS = 600
"""How long a queue is waited for before its thread looks whether the process ends, less than
`CLOSE_SECONDS`. A ring wakes it at once."""
OTHER_THREADS = 2
"""Threads for all jobs that are neither mail nor webhooks."""


class Workers:
    """All background work of one process. Call `start` and `stop` once each, from any thread."""

    def __init__(self, settings: Settings, broker: dramatiq.Broker) -> None:
        self._broker = broker
        self._stopping = threading.Event()
        self._bell = BrokerBell(broker, instead=self._ring_here)
        self._runtime = Runtime(settings, self._bell, self._stopping.is_set, self._leave_place)
        self._sweeper = Sweeper(self._runtime)
        self._loop = EventLoop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="workers", daemon=True)
        self._in_flight: set[Future[None]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._workers: list[Listener] = []
        self._handlers = registry.handlers(self._runtime)
        self._places: dict[str, asyncio.Semaphore] = {}
        self._held: dict[UUID, Future[None]] = {}
        """By the job: what the thread that has its place waits for."""
        self._rung_here: set[UUID] = set()

    def start(self) -> None:
        """Starts the threads; returns when they listen."""
        self._thread.start()
        self._wait_for(self._free_leases())
        quieten(queue for name in self._handlers for queue in queues_of(name))
        for name in self._handlers:
            self._declare(name)
        for queues, threads in self._groups().items():
            self._places |= dict.fromkeys(queues, asyncio.Semaphore(threads))
            for queue in queues:
                self._broker.declare_queue(queue)
            worker = Listener(
                self._broker, queues=set(queues), threads=threads, poll_milliseconds=POLL_MILLISECONDS
            )
            worker.start()
            self._workers.append(worker)
        self._wait_for(self._sweeper.start())
        log.info("workers started", jobs=len(self._handlers))

    def stop(self) -> None:
        """Claims nothing more, lets what is in flight end, and returns within 10 seconds."""
        self._stopping.set()
        self._close(self._sweeper.stop(), "the sweeper")
        _, unfinished = wait(list(self._in_flight), timeout=STOP_SECONDS)
        self._close(self._cancel(), "the work in flight")
        self._stop_threads()
        self._close(self._runtime.aclose(), "the connections")
        self._bell.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        log.info("workers stopped", unfinished=len(unfinished))

    async def _cancel(self) -> None:
        """Ends what did not end by itself; each job gets to write what it knows."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _stop_threads(self) -> None:
        """All at once. A thread that waits for a broker which is away ends with the process."""
        stopping = [threading.Thread(target=self._stop_worker, args=(each,)) for each in self._workers]
        for thread in stopping:
            thread.daemon = True
            thread.start()
        end = time.monotonic() + CLOSE_SECONDS
        for thread in stopping:
            thread.join(max(0.0, end - time.monotonic()))

    def _stop_worker(self, worker: Listener) -> None:
        try:
            worker.stop(timeout=int(CLOSE_SECONDS * 1000))
        except Exception as error:
            # Messages that were fetched cannot be given back; the sweeper rings for their jobs.
            log.warning("the broker is away", error=repr(error))

    def _close(self, work: Coroutine[Any, Any, None], what: str) -> None:
        try:
            asyncio.run_coroutine_threadsafe(work, self._loop).result(CLOSE_SECONDS)
        except TimeoutError:
            log.warning("did not close in time", part=what)

    def _groups(self) -> dict[tuple[str, ...], int]:
        """Queues that share threads, and how many."""
        settings = self._runtime.settings
        mail = [queue for job in urgency.JOBS for queue in queues_of(job)]
        own: dict[tuple[str, ...], int] = {(queue,): settings.delivery.threads for queue in mail}
        own[queues_of("webhooks")] = settings.webhooks.threads
        others = {queue for name in self._handlers for queue in queues_of(name)}.difference(*own)
        return {**own, tuple(sorted(others)): OTHER_THREADS}

    def _declare(self, name: str) -> None:
        """What a thread does with a message: wait for the job, which runs in the loop, or until it leaves
        its place to others."""

        def run(job_id: str) -> None:
            if not self._stopping.is_set():
                self._hold_place(Ring(UUID(job_id), name)).result()

        dramatiq.actor(actor_name=name, queue_name=queues_of(name)[0], broker=self._broker)(run)

    def _ring_here(self, rings: Sequence[Ring]) -> None:
        """The broker is away: this process works for itself. What it was rung for and has no place
        for yet waits here; the sweepers of other processes ring for it, too, and one claims it."""
        if not self._stopping.is_set():
            for ring in rings:
                self._begin(self._run_here(ring))

    def _hold_place(self, ring: Ring) -> Future[None]:
        """Begins the job; what is returned is done when its place is free."""
        place: Future[None] = Future()
        self._held[ring.job_id] = place

        def end(work: Future[None]) -> None:
            # A job may be rung for twice at a time; the second finds nothing to do.
            if self._held.get(ring.job_id) is place:
                self._held.pop(ring.job_id, None)
            _free(place)

        self._begin(self._run(ring)).add_done_callback(end)
        return place

    def _leave_place(self, job_id: UUID) -> None:
        """What a job calls that only waits from now on: it goes on, and its thread takes another. To be
        called in the loop."""
        place = self._held.pop(job_id, None)
        if place is not None:
            _free(place)

    def _begin(self, work: Coroutine[Any, Any, None]) -> Future[None]:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        self._in_flight.add(future)
        future.add_done_callback(self._in_flight.discard)
        return future

    async def _run_here(self, ring: Ring) -> None:
        if ring.job_id in self._rung_here:
            return
        self._rung_here.add(ring.job_id)
        try:
            async with self._places[ring.queue]:
                await asyncio.wrap_future(self._hold_place(ring))
        finally:
            self._rung_here.discard(ring.job_id)

    async def _run(self, ring: Ring) -> None:
        if self._stopping.is_set():
            return  # The row stays queued; whoever starts next takes it.
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        lease = self._runtime.settings.delivery.lease
        try:
            await jobs.run(self._runtime.db, ring.job_id, self._handlers, lease)
        except Exception as error:
            # The job's own errors are in its row; this is the database being away. Its
            # lease runs out, and the sweeper rings again.
            log.error("a job could not be run", job=ring.name, error=repr(error))
        finally:
            self._tasks.discard(task)

    async def _free_leases(self) -> None:
        # One process at work means that every lease is of its previous life.
        if not self._runtime.settings.is_distributed:
            await jobs.free_all(self._runtime.db)
            await batches.free_all(self._runtime.db)

    def _wait_for(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


def _free(place: Future[None]) -> None:
    if not place.done():
        place.set_result(None)
