"""The service as a process: the API on a socket, workers beside it or alone, and how both end."""

import asyncio
import contextlib
import fcntl
import os
import signal
import socket
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import structlog
import uvicorn
import uvloop
from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server

from newsletter import migrations
from newsletter.accounts.keys import KeyRing
from newsletter.kit import idempotency, memory
from newsletter.kit.broker import Broker, BrokerBell, make_broker
from newsletter.kit.idempotency import Claims
from newsletter.runtime import Runtime
from newsletter.settings import Settings
from newsletter.smtpd.counts import Counts
from newsletter.smtpd.listener import MailListener, SubmissionListener
from newsletter.smtpd.mailroom import Mailroom
from newsletter.smtpd.room import Room
from newsletter.smtpd.submissions import Submissions
from workers.main import Workers

T = TypeVar("T")
log = structlog.get_logger(__name__)

GRACE_SECONDS = 3
"""What open requests get to finish when the server is asked to end."""
LOCK = "process.lock"


class CannotStart(Exception):
    """Why a process did not start, as one sentence for whoever started it."""


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves signals to `ending`. Uvicorn would raise them again after a clean stop, which
        looks like a crash to whoever reads the exit status."""
        yield


def run(work: Coroutine[Any, Any, T]) -> T:
    """Runs the process's main coroutine on the fast event loop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 is any free one. Raises `CannotStart`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, UnicodeError) as error:
        raise CannotStart(f"Cannot listen on {host}, port {port}: {_reason(error)}.") from error


def _reason(error: OSError | UnicodeError) -> str:
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)  # Its own text repeats the address.
    return str(getattr(error, "strerror", None) or error)


def url_of(listener: socket.socket) -> str:
    """Where this machine reaches the socket."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound.
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@asynccontextmanager
async def ending() -> AsyncIterator[asyncio.Event]:
    """An event that SIGTERM and SIGINT set, for the length of the block."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    signals = (signal.SIGTERM, signal.SIGINT)
    for number in signals:
        loop.add_signal_handler(number, ended.set)
    try:
        yield ended
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


async def prepare(settings: Settings, *, is_alone: bool = False) -> None:
    """SQLite is migrated on the spot; a shared database only by the one who says so. A process that
    ``is_alone`` carries out all calls, so whoever repeats one that ended with the process before is heard."""
    runtime = Runtime(settings, lambda rings: None)
    try:
        if settings.is_sqlite:
            settings.data_dir.mkdir(parents=True, exist_ok=True)
            await migrations.upgrade(runtime.db.engine)
        elif await migrations.current(runtime.db.engine) != migrations.head():
            raise CannotStart("The database is not at the newest schema: run 'newsletter db upgrade'.")
        if is_alone:
            await idempotency.free_all(runtime.db)
    finally:
        await runtime.aclose()


@contextmanager
def only_process(folder: Path) -> Iterator[None]:
    """Holds the data folder for this process; the system lets go of it however the process ends.

    At its start the embedded mode takes all work for abandoned, so a second process would
    take what the first one is sending. Raises `CannotStart`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotStart(
                f"Another process already works in the folder {folder}. Stop it first, or set "
                "NEWSLETTER_DATA_DIR; several processes need PostgreSQL and Redis."
            ) from None
        yield


@asynccontextmanager
async def serving(settings: Settings, listener: socket.socket, *, with_workers: bool) -> AsyncIterator[None]:
    """The API, and the workers where they belong to this process, for the length of the block.

    At its end both stop at the same time: what is in flight gets `GRACE_SECONDS` there and
    `workers.main.STOP_SECONDS` here, in all under 10.
    """
    # Here, because a worker and the commands need neither the routes nor the web framework.
    from newsletter.asgi import create_app
    from newsletter.protocol import protocol

    async with contextlib.AsyncExitStack() as stack:
        is_alone = with_workers and not settings.is_distributed
        if is_alone:
            stack.enter_context(only_process(settings.data_dir))
        await prepare(settings, is_alone=is_alone)
        broker = make_broker(settings.broker_url)
        bell = BrokerBell(broker)
        stack.callback(broker.close)
        stack.callback(bell.close)
        runtime = Runtime(settings, bell)
        app = create_app(runtime)
        config = uvicorn.Config(
            app,
            http=protocol(
                settings.limits.arrival_seconds, settings.limits.head_bytes, app.tracking, app.door
            ),
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
            server_header=False,
        )
        server = _Server(config)
        task = asyncio.create_task(_answering(server, listener, runtime))
        workers: list[Workers] = []
        try:
            await _until_started(server, task)
            if with_workers:
                workers.append(await asyncio.to_thread(_start_workers, settings, broker))
            log.info("listening", url=url_of(listener), with_workers=with_workers)
            async with contextlib.AsyncExitStack() as beside:
                if not settings.is_distributed:
                    await beside.enter_async_context(mail_intake(runtime))
                yield
        finally:
            server.should_exit = True
            await asyncio.gather(task, *(asyncio.to_thread(each.stop) for each in workers))


async def _answering(server: _Server, listener: socket.socket, runtime: Runtime) -> None:
    """Until the server ends, and then closes its runtime: no call comes any more."""
    async with contextlib.aclosing(runtime):
        runtime.sightings.start()
        runtime.calls.start()
        await server.serve(sockets=[listener])


async def serve(settings: Settings, listener: socket.socket, *, with_workers: bool) -> None:
    """Serves until SIGTERM or SIGINT."""
    async with ending() as ended, serving(settings, listener, with_workers=with_workers):
        memory.settle_in()
        await ended.wait()


async def work(settings: Settings) -> None:
    """Works, without an API, until SIGTERM or SIGINT."""
    await prepare(settings)
    async with ending() as ended:
        broker = make_broker(settings.broker_url)
        workers = await asyncio.to_thread(_start_workers, settings, broker)
        memory.settle_in()
        try:
            with told(settings.metrics_place, CollectorRegistry()):
                await ended.wait()
        finally:
            await asyncio.to_thread(workers.stop)
            broker.close()


async def take_mail(settings: Settings) -> None:
    """Takes mail in, returned and to send, without API and workers, until SIGTERM or SIGINT."""
    await prepare(settings)
    async with ending() as ended:
        broker = make_broker(settings.broker_url)
        bell = BrokerBell(broker)
        runtime = Runtime(settings, bell)
        try:
            async with mail_intake(runtime):
                with told(settings.metrics_place, runtime.meters):
                    await ended.wait()
        finally:
            await runtime.aclose()
            bell.close()
            broker.close()


@contextmanager
def told(place: tuple[str, int] | None, registry: CollectorRegistry) -> Iterator[None]:
    """Tells Prometheus there, for the length of the block, what this process counts and what it takes of the
    machine; nothing where there is no place. For processes without an API. Raises `CannotStart`."""
    if place is None:
        yield
        return
    ProcessCollector(registry=registry)
    host, port = place
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        raise CannotStart(f"Cannot listen on {host}, port {port}: {_reason(error)}.") from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@asynccontextmanager
async def mail_intake(runtime: Runtime) -> AsyncIterator[None]:
    """The listeners that there are to be, for the length of the block. Raises `CannotStart`."""
    settings = runtime.settings
    async with contextlib.AsyncExitStack() as open_:
        if settings.smtpd.listen:
            mailroom = Mailroom(runtime.db, runtime.return_paths, settings.return_path)
            listening = open_.enter_context(listen(*settings.smtpd.place))
            await open_.enter_async_context(MailListener(listening, mailroom, settings.smtpd))
        if settings.submission.listen:
            listening = open_.enter_context(listen(*settings.submission.place))
            try:
                submissions = SubmissionListener(listening, submissions_of(runtime), settings)
            except OSError as error:
                raise CannotStart(
                    f"Cannot read NEWSLETTER_SUBMISSION_TLS_CERTIFICATE and its key: {_reason(error)}."
                ) from error
            await open_.enter_async_context(submissions)
        yield


def submissions_of(runtime: Runtime) -> Submissions:
    """What takes mail to send, on this runtime."""
    db, vault = runtime.db, runtime.vault
    keys, claims = KeyRing(db, vault, runtime.plans), Claims(db, vault)
    limiter, postbox, calls = runtime.limiter, runtime.postbox, runtime.calls
    room = Room(runtime.settings.submission.held_bytes)
    counts = Counts(lambda: room.held)
    runtime.meters.register(counts)
    return Submissions(db, vault, keys, limiter, postbox, claims, calls, runtime.settings, room, counts)


def _start_workers(settings: Settings, broker: Broker) -> Workers:
    workers = Workers(settings, broker)
    workers.start()
    return workers


async def _until_started(server: _Server, task: asyncio.Task[None]) -> None:
    while not server.started:
        if task.done():
            task.result()
            raise CannotStart("The API did not start; the log says why.")
        await asyncio.sleep(0.01)
