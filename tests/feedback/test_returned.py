"""Mails that come back, from the address they were sent to, to what they change."""

import json
from dataclasses import dataclass

import httpx
import pytest
from sqlalchemy import func, select

from newsletter.delivery import queries as delivery
from newsletter.delivery.models import Feedback, Message
from newsletter.feedback import returned
from newsletter.feedback.models import ReturnedMail
from newsletter.feedback.reports import MAX_BYTES
from newsletter.runtime import Runtime
from newsletter.settings import BounceSettings, ReturnPathSettings, Settings
from tests.client import Client
from tests.conftest import MakeClient, MakeProject
from tests.feedback.reports.samples import dsn, mail
from tests.jobs import run_due
from tests.mailbox import mail_to, send_campaign, subscribed_list

DOMAIN = "bounces.example.com"
FULL = dsn(status="4.2.2", diagnostic="smtp; 452 4.2.2 mailbox full", action="failed")


@pytest.fixture
def settings(settings: Settings) -> Settings:
    returning = {
        "return_path": ReturnPathSettings(domain=DOMAIN),
        "bounces": BounceSettings(soft_limit=3),
    }
    return settings.model_copy(update=returning)


@dataclass
class World:
    """A project whose campaign reached Ada and Grace."""

    runtime: Runtime
    client: Client
    list_id: str
    paths: dict[str, str]
    """The return path of each reader's mail."""

    async def hand_in(self, raw: bytes, **query: str) -> httpx.Response:
        headers = {"Content-Type": "message/rfc822"}
        return await self.client.post("/inbound/mail", content=raw, headers=headers, params=query)

    async def pipe(self, raw: bytes, address: str) -> httpx.Response:
        """As a mail server does it: without a key of ours."""
        headers = {"Authorization": "", "Content-Type": "message/rfc822"}
        url = f"http://news.test/inbound/mail/{address}"
        return await self.client.post(url, content=raw, headers=headers)

    async def take(self, raw: bytes, address: str) -> list[str]:
        response = await self.pipe(raw, address)
        assert (response.status_code, response.json()) == (202, {"data": {"status": "accepted"}})
        return await run_due(self.runtime)

    async def feedback(self, path: str) -> Feedback | None:
        message_id = self.runtime.return_paths.message_in(path)
        assert message_id is not None
        async with self.runtime.db.read() as session:
            found = await delivery.by_public_id(session, message_id)
            assert found is not None
            row = await session.get(Message, (found.mailing_id, found.seq))
            assert row is not None
            return row.feedback

    async def standing(self, person: str) -> tuple[str, list[tuple[str, str]]]:
        """The subscriber's status, and why the address is suppressed."""
        name = person.lower()
        found = await self.client.data("GET", "/subscribers", params={"search": name})
        held = await self.client.data("GET", "/suppressions", params={"email": f"{name}@example.com"})
        return str(found[0]["status"]), [(each["reason"], each["source"]) for each in held]

    async def stored(self) -> int:
        async with self.runtime.db.read() as session:
            return int((await session.execute(select(func.count()).select_from(ReturnedMail))).scalar_one())

    async def send_again(self) -> dict[str, str]:
        await send_campaign(self.client, self.runtime, self.list_id)
        return await _paths(self.client, self.runtime)


async def _paths(client: Client, runtime: Runtime) -> dict[str, str]:
    """Of the newest mail to each reader."""
    names = runtime.return_paths.of("news@acme.example.com")
    found: dict[str, str] = {}
    for each in await client.data("GET", "/sandbox/messages"):
        person = each["to_email"].partition("@")[0].capitalize()
        found.setdefault(person, names(each["message_id"]).return_path)
    return found


@pytest.fixture
async def world(client: Client, runtime: Runtime) -> World:
    list_id = await subscribed_list(client, "Ada", "Grace")
    await send_campaign(client, runtime, list_id)
    return World(runtime, client, list_id, await _paths(client, runtime))


async def test_a_bounce_at_the_return_path_suppresses_its_reader_and_nobody_else(world: World) -> None:
    assert "feedback.read_mail" in await world.take(dsn(), world.paths["Ada"])
    assert await world.feedback(world.paths["Ada"]) is Feedback.bounced
    assert await world.standing("Ada") == ("bounced", [("hard_bounce", "returned mail")])
    assert await world.feedback(world.paths["Grace"]) is None
    assert await world.standing("Grace") == ("active", [])


async def test_a_mail_that_comes_twice_is_read_once(world: World) -> None:
    raw = dsn().replace(b"Subject:", b"Message-ID: <1@mx.example.net>\r\nSubject:", 1)
    await world.take(raw, world.paths["Ada"])
    again = b"Received: from mx by us; Mon, 2 Nov 2026 09:00:00 +0000\r\n" + raw
    assert "feedback.read_mail" not in await world.take(again, world.paths["Ada"])
    assert await world.stored() == 1
    # The same server may well return another message with the same id of its own.
    await world.take(raw, world.paths["Grace"])
    assert await world.stored() == 2


async def test_the_second_run_of_the_job_changes_nothing(world: World) -> None:
    assert (await world.pipe(FULL, world.paths["Ada"])).status_code == 202
    async with world.runtime.db.read() as session:
        mail_id = (await session.scalars(select(ReturnedMail.id))).one()
    for _ in range(3):
        await returned.read_mail(world.runtime.db, world.runtime.settings.bounces, mail_id)
    await run_due(world.runtime)
    assert await world.standing("Ada") == ("active", [])
    async with world.runtime.db.read() as session:
        assert (await session.scalars(select(ReturnedMail.raw))).one() is None


async def test_letters_of_an_address_may_lose_their_case(world: World) -> None:
    await world.take(dsn(), world.paths["Ada"].upper())
    assert await world.feedback(world.paths["Ada"]) is Feedback.bounced


async def test_a_forged_address_is_refused_at_every_letter(world: World) -> None:
    local, _, domain = world.paths["Ada"].partition("@")
    for place in range(2, len(local)):
        other = "0" if local[place] != "0" else "1"
        response = await world.pipe(dsn(), f"{local[:place]}{other}{local[place + 1 :]}@{domain}")
        assert (response.status_code, response.json()["error"]["code"]) == (401, "bad_signature")
    for address in (f"{local}@elsewhere.example.com", f"{local}x@{domain}", local, "x", "a@b@c"):
        assert (await world.pipe(dsn(), address)).status_code == 401
    assert await world.stored() == 0


async def test_a_mailbox_without_return_paths_is_read_by_the_message_id(world: World) -> None:
    original = await mail_to(world.client, "ada@example.com")
    message_id = next(str(each["value"]) for each in original["headers"] if each["name"] == "Message-ID")
    raw = dsn().replace(b"<msg_1@example.com>", message_id.encode())
    response = await world.hand_in(raw)
    assert (response.status_code, response.json()) == (202, {"data": {"status": "accepted"}})
    await run_due(world.runtime)
    assert await world.standing("Ada") == ("bounced", [("hard_bounce", "returned mail")])


async def test_a_bounce_that_only_knows_the_id_is_believed_by_nobody(world: World) -> None:
    """The id of a message can be guessed from that of a neighbour."""
    message_id = world.runtime.return_paths.message_in(world.paths["Ada"])
    raw = dsn().replace(b"msg_1@", f"{message_id}@".encode())
    assert (await world.hand_in(raw)).json() == {"data": {"status": "ignored"}}
    sealed = f"{message_id}.{'0' * 26}@".encode()
    assert (await world.hand_in(dsn().replace(b"msg_1@", sealed))).json() == {"data": {"status": "ignored"}}
    assert await world.stored() == 0
    assert await world.standing("Ada") == ("active", [])


async def test_a_key_of_another_project_hands_in_nothing_of_ours(
    world: World, make_project: MakeProject, make_client: MakeClient
) -> None:
    stranger = await make_client(await make_project(name="Stranger"))
    headers = {"Content-Type": "message/rfc822"}
    query = {"recipient": world.paths["Ada"]}
    response = await stranger.post("/inbound/mail", content=dsn(), headers=headers, params=query)
    assert response.json() == {"data": {"status": "ignored"}}
    assert await world.stored() == 0


async def test_what_is_no_bounce_ends_nothing(world: World) -> None:
    away = mail(
        "From: Ada <ada@example.com>\nSubject: Out of office\nAuto-Submitted: auto-replied", "Until Monday."
    )
    await world.take(away, world.paths["Ada"])
    assert await world.feedback(world.paths["Ada"]) is Feedback.delivered
    ordinary = mail("From: Grace <grace@example.com>\nSubject: Hello", "Is the mailbox full? User unknown!")
    await world.take(ordinary, world.paths["Grace"])
    later = dsn(action="delayed", status="4.4.1", diagnostic="smtp; connection timed out")
    await world.take(later, world.paths["Grace"])
    assert await world.feedback(world.paths["Grace"]) is None
    for person in ("Ada", "Grace"):
        assert await world.standing(person) == ("active", [])


def report_on(path: str, feedback_type: str) -> bytes:
    """ARF, with the mail that has this return path."""
    head = 'From: fbl@example.net\nMIME-Version: 1.0\nContent-Type: multipart/report; boundary="b"'
    told = f"Feedback-Type: {feedback_type}\nUser-Agent: x/1\nVersion: 1\n"
    ours = f"Return-Path: <{path}>\nSubject: Hello\n\nHi\n"
    parts = (("message/feedback-report", told), ("message/rfc822", ours))
    return mail(head, "".join(f"--b\nContent-Type: {kind}\n\n{text}\n" for kind, text in parts) + "--b--")


@pytest.mark.parametrize("feedback_type", ["abuse", "fraud", "virus"])
async def test_a_complaint_is_applied_by_the_name_that_it_returns(world: World, feedback_type: str) -> None:
    raw = report_on(world.paths["Grace"], feedback_type)
    assert (await world.hand_in(raw)).json() == {"data": {"status": "accepted"}}
    await run_due(world.runtime)
    assert await world.standing("Grace") == ("complained", [("complaint", "returned mail")])


async def test_an_opt_out_by_the_mailbox_is_an_unsubscribe_and_no_complaint(world: World) -> None:
    for _ in range(2):
        await world.hand_in(report_on(world.paths["Grace"], "opt-out"))
        await run_due(world.runtime)
    assert await world.standing("Grace") == ("unsubscribed", [("unsubscribe", "returned mail")])
    assert await world.feedback(world.paths["Grace"]) is None
    assert await world.standing("Ada") == ("active", [])


@pytest.mark.parametrize("feedback_type", ["auth-failure", "not-spam"])
async def test_a_report_that_no_reader_made_ends_nothing(world: World, feedback_type: str) -> None:
    await world.hand_in(report_on(world.paths["Grace"], feedback_type))
    await run_due(world.runtime)
    assert await world.standing("Grace") == ("active", [])
    assert await world.feedback(world.paths["Grace"]) is None


async def test_soft_bounces_in_a_row_end_mail_to_the_address(world: World) -> None:
    paths = world.paths
    for count in range(1, 4):
        await world.take(FULL, paths["Ada"])
        assert await world.feedback(paths["Ada"]) is Feedback.bounced
        if count < 3:
            assert await world.standing("Ada") == ("active", [])
            paths = await world.send_again()
    assert await world.standing("Ada") == ("bounced", [("hard_bounce", "repeated soft bounces")])
    assert await world.standing("Grace") == ("active", [])


async def test_a_mail_that_arrives_ends_the_row_of_soft_bounces(world: World) -> None:
    away = mail(
        "From: Ada <ada@example.com>\nSubject: Out of office\nAuto-Submitted: auto-replied", "Monday."
    )
    paths = world.paths
    for raw in (FULL, FULL, away, FULL, FULL):
        await world.take(raw, paths["Ada"])
        paths = await world.send_again()
    assert await world.standing("Ada") == ("active", [])


async def test_a_repeated_soft_bounce_of_one_message_counts_once(world: World) -> None:
    for number in range(4):
        raw = FULL.replace(b"Subject:", f"Message-ID: <{number}@mx.example.net>\r\nSubject:".encode(), 1)
        await world.take(raw, world.paths["Ada"])
    assert await world.standing("Ada") == ("active", [])


async def test_a_mail_of_five_megabytes_is_read_as_far_as_it_says_something(world: World) -> None:
    raw = dsn() + b"x" * (4_900_000)
    await world.take(raw, world.paths["Ada"])
    assert await world.standing("Ada") == ("bounced", [("hard_bounce", "returned mail")])
    assert (await world.hand_in(b"x" * 5_000_001)).status_code == 413
    assert MAX_BYTES < 5_000_000


async def test_the_route_takes_a_mail_and_nothing_else(world: World) -> None:
    response = await world.client.post("/inbound/mail", json={"mail": "hello"})
    assert response.status_code == 415
    assert "message/rfc822" in json.dumps(response.json())
