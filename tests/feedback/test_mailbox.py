"""Returned mail that is read out of a mailbox, from a real socket to what it changes."""

import asyncio
import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest
from pydantic import SecretStr, ValidationError
from sqlalchemy import select, update

from newsletter.feedback import mailbox
from newsletter.feedback.models import Mailbox, ReturnedMail
from newsletter.kit import clock
from newsletter.kit.db import Database
from newsletter.kit.jobs import Job
from newsletter.runtime import Runtime
from newsletter.settings import IMAPSettings
from tests.client import Client
from tests.feedback.imap_server import Box, serving
from tests.feedback.reports.samples import dsn, mail
from tests.jobs import run_due
from tests.mailbox import send_campaign, subscribed_list
from workers.sweeper import Sweeper

PERSONAL = mail("From: boss@example.com\nSubject: lunch?", "User unknown to me, mailbox full.")


@pytest.fixture
def box() -> Iterator[Box]:
    with serving(Box()) as made:
        yield made


def settings_for(box: Box, move_to: str | None = None) -> IMAPSettings:
    url = SecretStr(f"imap://news%40example.com:s3cret@127.0.0.1:{box.port}/Returned%20mail")
    return IMAPSettings(url=url, timeout=5, move_to=move_to)


async def look(runtime: Runtime, settings: IMAPSettings) -> int:
    async with runtime.db.unit_of_work() as session:
        await mailbox.claim(session, settings)
    return await mailbox.look(runtime.db, runtime.return_paths, settings)


@pytest.fixture
async def bounce(client: Client, runtime: Runtime) -> bytes:
    """Of a mail to Ada."""
    await send_campaign(client, runtime, await subscribed_list(client, "Ada"))
    (sent,) = await client.data("GET", "/sandbox/messages")
    names = runtime.return_paths.of("news@example.com")(sent["message_id"])
    return dsn().replace(b"msg_1@", f"{names.sealed}@".encode())


async def test_a_bounce_is_taken_in_and_a_persons_mail_is_left_alone(
    client: Client, runtime: Runtime, box: Box, bounce: bytes
) -> None:
    box.put(PERSONAL, bounce, PERSONAL)
    settings = settings_for(box)
    assert await look(runtime, settings) == 1
    await run_due(runtime)
    (ada,) = await client.data("GET", "/subscribers")
    assert ada["status"] == "bounced"
    assert box.flags == {2: {"\\Seen"}}
    assert box.moved == {}
    # The second look fetches nothing again; what is new, it does.
    assert await look(runtime, settings) == 0
    box.put(bounce)
    assert await look(runtime, settings) == 1
    assert box.fetched == [1, 2, 3, 4]
    async with runtime.db.read() as session:
        assert len((await session.scalars(select(ReturnedMail.id))).all()) == 1


async def test_an_answer_to_one_of_our_mails_stays_unread_where_it_is(
    client: Client, runtime: Runtime, box: Box, bounce: bytes
) -> None:
    (sent,) = await client.data("GET", "/sandbox/messages")
    sealed = runtime.return_paths.of("news@example.com")(sent["message_id"]).sealed
    reply = PERSONAL.replace(b"\r\n\r\n", f"\r\nIn-Reply-To: <{sealed}@example.com>\r\n\r\n".encode(), 1)
    assert sealed.encode() in reply
    box.put(reply, bounce)
    assert await look(runtime, settings_for(box)) == 1
    assert box.flags == {2: {"\\Seen"}}


@pytest.mark.parametrize("can_move", [True, False])
async def test_what_was_taken_in_is_moved_where_that_is_wanted(
    runtime: Runtime, box: Box, bounce: bytes, can_move: bool
) -> None:
    box.can_move = can_move
    box.put(bounce, PERSONAL)
    assert await look(runtime, settings_for(box, move_to="Taken in")) == 1
    assert box.moved == {"Taken in": [1]}
    assert box.flags == {1: {"\\Seen"} if can_move else {"\\Seen", "\\Deleted"}}


async def test_a_mailbox_that_was_made_anew_is_read_anew(runtime: Runtime, box: Box, bounce: bytes) -> None:
    box.put(PERSONAL, PERSONAL)
    await look(runtime, settings_for(box))
    box.validity, box.mails = 2, {1: bounce}
    assert await look(runtime, settings_for(box)) == 1


async def test_trouble_with_the_server_is_no_error_and_forgets_nothing(
    runtime: Runtime, box: Box, bounce: bytes
) -> None:
    box.put(bounce)
    box.hangs = True
    box.goes_on.set()
    assert await look(runtime, settings_for(box)) == 0
    box.hangs, box.password = False, "another"
    assert await look(runtime, settings_for(box)) == 0
    box.password = "s3cret"
    assert await look(runtime, settings_for(box)) == 1
    port, box.port = box.port, 1
    assert await look(runtime, settings_for(box)) == 0
    box.port = port


async def test_a_server_that_hangs_holds_up_no_process_that_ends(runtime: Runtime, box: Box) -> None:
    box.put(PERSONAL)
    box.hangs = True
    looking = asyncio.create_task(look(runtime, settings_for(box)))
    (thread,) = await _named(mailbox.THREAD)
    looking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await looking
    assert thread.daemon
    box.goes_on.set()
    thread.join()


async def _named(name: str) -> list[threading.Thread]:
    while not (found := [each for each in threading.enumerate() if each.name == name]):
        await asyncio.sleep(0.01)
    return found


async def test_one_of_several_processes_looks_at_a_time(db: Database, box: Box) -> None:
    settings = settings_for(box)
    async with db.unit_of_work() as session:
        assert await mailbox.claim(session, settings)
    async with db.unit_of_work() as session:
        assert not await mailbox.claim(session, settings)
        earlier = clock.now() - timedelta(seconds=settings.poll_seconds)
        await session.execute(update(Mailbox).values(looked_at=earlier))
        assert await mailbox.claim(session, settings)


async def test_the_sweeper_has_it_looked_at(runtime: Runtime, box: Box) -> None:
    runtime.settings.__dict__["imap"] = settings_for(box)
    sweeper = Sweeper(runtime)
    for _ in range(2):
        await sweeper._look()
    async with runtime.db.read() as session:
        assert list(await session.scalars(select(Job.name))) == ["feedback.read_mailbox"]
    assert await run_due(runtime) == ["feedback.read_mailbox"]


def test_an_address_is_taken_apart_and_its_password_never_shown() -> None:
    settings = IMAPSettings(url=SecretStr("imaps://a%40example.com:p%2Fw@mail.example.com"))
    assert settings.address == ("mail.example.com", 993)
    assert settings.credentials == ("a@example.com", "p/w")
    assert settings.name == "a@example.com@mail.example.com:993/INBOX"
    assert "p/w" not in repr(settings)
    for wrong in ("https://a:b@c", "imaps://mail.example.com", "imaps://a@mail.example.com"):
        with pytest.raises(ValidationError, match="must look like imaps://"):
            IMAPSettings(url=SecretStr(wrong))
