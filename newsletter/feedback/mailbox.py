"""Reads returned mail out of a mailbox by IMAP (RFC 9051), for installations without a listener.

The mailbox may be somebody's: only reports about a message of ours are marked as read, and moved
where that is wanted. What was looked at is remembered by its number (UID), so that nothing is fetched
twice; and where a crash forgets it, a mail is stored once all the same.
"""

import asyncio
import imaplib
import re
import ssl
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from threading import Thread

import structlog
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.delivery.return_path import ReturnPaths
from newsletter.feedback import returned
from newsletter.feedback.models import Mailbox
from newsletter.feedback.reports import MAX_BYTES
from newsletter.kit import clock
from newsletter.kit.db import Database, insert
from newsletter.settings import IMAPSettings

log = structlog.get_logger(__name__)

AT_ONCE = 200
"""Mails that one job looks at; the next job goes on behind them."""
FIRST_DAYS = 7
"""How far back a mailbox is read that was never read before."""
THREAD = "mailbox"
Take = Callable[[bytes], bool]


@dataclass(frozen=True, slots=True)
class Place:
    """Up to where a mailbox was read; ``validity`` is 0 for one that never was."""

    validity: int
    last_uid: int


async def claim(session: AsyncSession, settings: IMAPSettings) -> bool:
    """Whether it is time to look, and nobody else has begun to: one of several processes is told so."""
    now = clock.now()
    first = {"name": settings.name, "validity": 0, "last_uid": 0, "looked_at": now - timedelta(days=1)}
    await session.execute(insert(session, Mailbox).values(first).on_conflict_do_nothing())
    is_due = Mailbox.looked_at <= now - timedelta(seconds=settings.poll_seconds)
    due = update(Mailbox).where(Mailbox.name == settings.name, is_due).values(looked_at=now)
    return (await session.execute(due.returning(Mailbox.name))).first() is not None


async def look(db: Database, return_paths: ReturnPaths, settings: IMAPSettings) -> int:
    """Takes in what is new; returns how many mails were ours. A mailbox that cannot be reached is
    logged, and looked at again at its next time. Safe to run twice, also at once."""
    async with db.read() as session:
        statement = select(Mailbox.validity, Mailbox.last_uid).where(Mailbox.name == settings.name)
        row = (await session.execute(statement)).one_or_none()
    place = Place(*row) if row else Place(0, 0)
    loop = asyncio.get_running_loop()

    def wait_for(work: Awaitable[bool]) -> bool:
        return asyncio.run_coroutine_threadsafe(_awaited(work), loop).result()

    taken = 0

    def take(raw: bytes) -> bool:
        nonlocal taken
        is_ours = wait_for(returned.receive_report(db, return_paths, raw))
        taken += is_ours
        return is_ours

    try:
        reached = await _beside(lambda: _read(settings, place, take))
    except (imaplib.IMAP4.error, OSError, ssl.SSLError) as error:
        log.warning("the mailbox cannot be read", mailbox=settings.name, error=str(error)[:300])
        return taken
    async with db.unit_of_work() as session:
        await session.execute(
            update(Mailbox)
            .where(Mailbox.name == settings.name)
            .values(validity=reached.validity, last_uid=reached.last_uid)
        )
    if taken:
        log.info("mails came back", mailbox=settings.name, mails=taken)
    return taken


async def _beside(work: Callable[[], Place]) -> Place:
    """In a thread that the process does not wait for when it ends, whatever the server does: what is lost
    then is read again."""
    done: Future[Place] = Future()
    done.set_running_or_notify_cancel()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)

    Thread(target=run, name=THREAD, daemon=True).start()
    return await asyncio.wrap_future(done)


async def _awaited(work: Awaitable[bool]) -> bool:
    return await work


def _read(settings: IMAPSettings, place: Place, take: Take) -> Place:
    """Waits, as the standard library's client does. Raises ``IMAP4.error`` and `OSError`."""
    with _connected(settings) as client:
        validity = _number(client.response("UIDVALIDITY")[1])
        if validity != place.validity:
            place = Place(validity, 0)
        for uid in _new(client, place)[:AT_ONCE]:
            raw = _fetch(client, uid)
            if raw is not None and take(raw):
                _put_away(client, uid, settings.move_to)
            place = Place(validity, uid)
        return place


@contextmanager
def _connected(settings: IMAPSettings) -> Iterator[imaplib.IMAP4]:
    host, port = settings.address
    if settings.is_encrypted:
        context = ssl.create_default_context()
        client: imaplib.IMAP4 = imaplib.IMAP4_SSL(host, port, ssl_context=context, timeout=settings.timeout)
    else:
        client = imaplib.IMAP4(host, port, timeout=settings.timeout)
    try:
        client.login(*settings.credentials)
        answer, told = client.select(_quoted(settings.folder))
        if answer != "OK":
            raise imaplib.IMAP4.error(f"no folder {settings.folder}: {told!r}")
        yield client
        client.logout()
    except BaseException:
        client.shutdown()
        raise


def _new(client: imaplib.IMAP4, place: Place) -> list[int]:
    wanted = ["UID", f"{place.last_uid + 1}:*"]
    if place.last_uid == 0:
        wanted += ["SINCE", f"{clock.now() - timedelta(days=FIRST_DAYS):%d-%b-%Y}"]
    found = _checked(client.uid("SEARCH", *wanted))
    numbers = sorted(int(number) for each in found if isinstance(each, bytes) for number in each.split())
    # "n:*" names the last mail even where it is older than n (RFC 9051 §6.4.4).
    return [number for number in numbers if number > place.last_uid]


def _fetch(client: imaplib.IMAP4, uid: int) -> bytes | None:
    """None for a mail that somebody moved meanwhile. Does not mark it as read."""
    parts = _checked(client.uid("FETCH", str(uid), f"(BODY.PEEK[]<0.{MAX_BYTES}>)"))
    return next((part[1] for part in parts if isinstance(part, tuple)), None)


def _put_away(client: imaplib.IMAP4, uid: int, folder: str | None) -> None:
    _checked(client.uid("STORE", str(uid), "+FLAGS.SILENT", r"(\Seen)"))
    if folder is None:
        return
    if (
        b"MOVE"
        in b" ".join(each for each in _checked(client.capability()) if isinstance(each, bytes)).split()
    ):
        _checked(client.uid("MOVE", str(uid), _quoted(folder)))
        return
    _checked(client.uid("COPY", str(uid), _quoted(folder)))
    # Expunging is left to its owner: it would also take what somebody else has marked.
    _checked(client.uid("STORE", str(uid), "+FLAGS.SILENT", r"(\Deleted)"))


def _checked(answer: tuple[str, list[object]]) -> list[object]:
    if answer[0] != "OK":
        raise imaplib.IMAP4.error(f"the server said {answer!r}"[:300])
    return answer[1]


def _number(values: list[object]) -> int:
    found = re.search(rb"\d+", values[0]) if values and isinstance(values[0], bytes) else None
    return int(found.group()) if found else 0


def _quoted(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
