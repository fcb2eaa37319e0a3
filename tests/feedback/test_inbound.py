"""What providers report of mails, from the call with its signature to what it changes."""

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import httpx
import pytest
from sqlalchemy import func, select, update

from newsletter.delivery import queries as delivery
from newsletter.delivery.models import Feedback, Message, Outcome
from newsletter.events.models import Event
from newsletter.feedback import inbound
from newsletter.feedback.models import ProviderReport
from newsletter.kit import clock
from newsletter.kit.http import Answer, EgressFailed
from newsletter.privacy import retention
from newsletter.providers.events import EventKind, ProviderEvent
from newsletter.providers.registry import ServerType
from newsletter.providers.sns import Certificates
from newsletter.runtime import Runtime
from newsletter.tallies.models import Metric, Tally
from tests.client import Client
from tests.conftest import MakeClient, MakeProject
from tests.feedback.providers import SOFT, Call, config, report
from tests.jobs import run_due
from tests.mailbox import send_campaign, subscribed_list
from tests.providers.sns import SNS

REPORTING = [kind for kind in ServerType if kind is not ServerType.sandbox]


PEOPLE = ("Ada", "Grace", "Joan", "Ken")


@dataclass
class World:
    """A project whose campaign reached four readers, and its sending servers."""

    runtime: Runtime
    client: Client
    ids: dict[str, str]
    """Of each reader's message."""

    async def server(self, kind: ServerType) -> dict[str, Any]:
        body = {"name": kind.value, "type": kind.value, "config": config(kind)}
        made: dict[str, Any] = await self.client.data("POST", "/sending-servers", 201, json=body)
        return made

    async def call(self, server: dict[str, Any], call: Call, path: str | None = None) -> httpx.Response:
        """As a provider calls: without a key of ours."""
        url = "http://news.test" + (path or urlsplit(server["reports_url"]).path)
        headers = {"Authorization": "", "Content-Type": "text/plain; charset=UTF-8", **call.headers}
        return await self.client.post(url, content=call.raw, headers=headers)

    async def take(self, server: dict[str, Any], call: Call) -> None:
        response = await self.call(server, call)
        assert (response.status_code, response.json()) == (202, {"data": {"status": "accepted"}})
        await run_due(self.runtime)

    async def message(self, person: str = "Ada") -> Message:
        async with self.runtime.db.read() as session:
            found = await delivery.by_public_id(session, self.ids[person])
            assert found is not None
            row = await session.get(Message, (found.mailing_id, found.seq))
            assert row is not None
            return row

    async def standing(self, person: str = "Ada") -> tuple[str, list[str]]:
        """The subscriber's status, and why the address is suppressed."""
        name = person.lower()
        found = await self.client.data("GET", "/subscribers", params={"search": name})
        held = await self.client.data("GET", "/suppressions", params={"email": f"{name}@example.com"})
        return str(found[0]["status"]), [each["reason"] for each in held]

    async def stored(self) -> int:
        async with self.runtime.db.read() as session:
            return int((await session.execute(select(func.count()).select_from(ProviderReport))).scalar_one())


@pytest.fixture
def certificates(runtime: Runtime) -> Certificates:
    """What Amazon SNS signs with comes from a stand-in, never over the network."""
    runtime.__dict__["certificates"] = made = Certificates(SNS(at=clock.now()).fetch)
    return made


@pytest.fixture
async def world(certificates: Certificates, client: Client, runtime: Runtime) -> World:
    # The application takes its parts from the runtime when it is made: the certificates go first.
    await send_campaign(client, runtime, await subscribed_list(client, *PEOPLE))
    mails = await client.data("GET", "/sandbox/messages")
    found = {mail["to_email"]: mail["message_id"] for mail in mails}
    return World(runtime, client, {person: found[f"{person.lower()}@example.com"] for person in PEOPLE})


@pytest.mark.parametrize("kind", REPORTING)
async def test_each_provider_is_understood_from_delivery_to_complaint(world: World, kind: ServerType) -> None:
    server = await world.server(kind)
    await world.take(server, report(kind, "delivered", world.ids["Ada"], number=1))
    assert (await world.message()).feedback is Feedback.delivered
    assert await world.standing() == ("active", [])

    hard = report(kind, "bounced", world.ids["Ada"], number=2)
    for _ in range(3):
        assert (await world.call(server, hard)).status_code == 202
    # It was repeated, and is read once.
    assert await run_due(world.runtime) == ["feedback.read_report"]
    message = await world.message()
    assert (message.feedback, message.outcome) == (Feedback.bounced, Outcome.sent)
    assert await world.standing() == ("bounced", ["hard_bounce"])

    # Every provider here calls it permanent; the status knows better.
    await world.take(server, report(kind, "bounced", world.ids["Grace"], number=3, text=SOFT))
    assert (await world.message("Grace")).feedback is Feedback.bounced
    assert await world.standing("Grace") == ("active", [])

    await world.take(server, report(kind, "complained", world.ids["Joan"], number=4))
    assert (await world.message("Joan")).feedback is Feedback.complained
    assert await world.standing("Joan") == ("complained", ["complaint"])
    assert await world.stored() == 4

    if kind is not ServerType.resend:  # It reports none.
        await world.take(server, report(kind, "unsubscribed", world.ids["Ken"], number=5))
        assert await world.standing("Ken") == ("unsubscribed", ["unsubscribe"])
        found = await world.client.data("GET", "/unsubscribes", params={"email": "ken@example.com"})
        assert [each["source"] for each in found] == [kind.value]


async def test_late_and_reordered_reports_change_nothing(world: World) -> None:
    server = await world.server(ServerType.postmark)
    for number, what in enumerate(["complained", "bounced", "delivered"]):
        await world.take(server, report(ServerType.postmark, what, world.ids["Ada"], number=number))
    assert (await world.message()).feedback is Feedback.complained
    assert await world.standing() == ("complained", ["complaint"])


async def test_a_delivery_proves_that_a_mail_of_unknown_outcome_was_sent(world: World) -> None:
    async with world.runtime.db.unit_of_work() as session:
        await session.execute(update(Message).values(outcome=Outcome.unknown))
    server = await world.server(ServerType.mailgun)
    await world.take(server, report(ServerType.mailgun, "delivered", world.ids["Ada"]))
    message = await world.message()
    assert (message.outcome, message.feedback) == (Outcome.sent, Feedback.delivered)


async def test_a_forged_report_is_refused_and_leaves_no_trace(world: World) -> None:
    for kind in REPORTING:
        server = await world.server(kind)
        for forged in _forged(kind, report(kind, "bounced", world.ids["Ada"])):
            response = await world.call(server, forged)
            assert response.status_code == 401
            assert response.json()["error"]["code"] == "bad_signature"
    assert await run_due(world.runtime) == []
    assert (await world.stored(), await world.standing()) == (0, ("active", []))


def _forged(kind: ServerType, call: Call) -> list[Call]:
    if kind is ServerType.postmark:
        return [Call(call.raw, {"Authorization": "Basic cG9zdG1hcms6d3Jvbmc="}), Call(call.raw, {})]
    if kind is ServerType.mailgun:
        # Its signature does not cover the report: see the next test.
        return [Call(call.raw.replace(b"token-1", b"token-2"), {}), Call(b"{}", {})]
    return [Call(call.raw.replace(b"5.1.1", b"5.1.2"), call.headers), Call(b"{}", {})]


async def test_a_signature_of_mailgun_is_good_for_one_report(world: World) -> None:
    server = await world.server(ServerType.mailgun)
    seen = report(ServerType.mailgun, "delivered", world.ids["Ada"])
    await world.take(server, seen)
    forged = json.loads(seen.raw)
    forged["event-data"] |= {"event": "complained", "id": "another"}
    await world.take(server, Call(json.dumps(forged).encode(), {}))
    assert (await world.stored(), await world.standing()) == (1, ("active", []))


async def test_an_address_that_is_not_a_servers_is_not_found(world: World) -> None:
    server = await world.server(ServerType.postmark)
    call = report(ServerType.postmark, "bounced", world.ids["Ada"])
    token = server["reports_url"].rpartition("/")[2]
    for path in (
        f"/inbound/mailgun/{token}",
        f"/inbound/nothing/{token}",
        f"/inbound/postmark/{token[:-2]}xx",
        "/inbound/postmark/x",
        f"/inbound/postmark/{server['id']}",
    ):
        response = await world.call(server, call, path)
        assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")
    await world.client.delete(f"/sending-servers/{server['id']}")
    assert (await world.call(server, call)).status_code == 404


async def test_a_report_changes_no_message_of_another_project(
    world: World, make_project: MakeProject, make_client: MakeClient
) -> None:
    theirs = World(world.runtime, await make_client(await make_project(name="Other")), world.ids)
    server = await theirs.server(ServerType.postmark)
    await theirs.take(server, report(ServerType.postmark, "bounced", world.ids["Ada"]))
    assert (await world.message()).feedback is None
    assert await world.standing() == ("active", [])


async def test_a_report_about_no_mail_of_ours_is_taken_and_changes_nothing(world: World) -> None:
    server = await world.server(ServerType.postmark)
    for number, message_id in enumerate(["msg_0", "someone-elses", "msg_" + "z" * 32, ""]):
        await world.take(server, report(ServerType.postmark, "bounced", message_id, number=number))
    assert await world.standing() == ("active", [])


async def test_who_wrote_a_report_hears_what_is_wrong_with_it(world: World) -> None:
    server = await world.server(ServerType.smtp)
    call = report(ServerType.smtp, "exploded", world.ids["Ada"])
    response = await world.call(server, call)
    assert response.status_code == 422
    assert response.json()["error"]["errors"] == {"body": ["not valid: events.0.type"]}
    assert await world.stored() == 0


async def test_a_server_that_is_gone_when_its_report_is_read_changes_nothing(world: World) -> None:
    server = await world.server(ServerType.postmark)
    assert (await world.call(server, report(ServerType.postmark, "bounced", world.ids["Ada"]))).is_success
    await world.client.delete(f"/sending-servers/{server['id']}")
    assert await run_due(world.runtime) == ["feedback.read_report"]
    assert await world.standing() == ("active", [])


async def test_an_applied_report_keeps_no_personal_data_and_old_ones_go(world: World) -> None:
    server = await world.server(ServerType.postmark)
    await world.take(server, report(ServerType.postmark, "delivered", world.ids["Ada"], number=1))
    async with world.runtime.db.read() as session:
        (row,) = (await session.scalars(select(ProviderReport))).all()
    assert row.raw is None
    async with world.runtime.db.unit_of_work() as session:
        long_ago = clock.now() - timedelta(days=world.runtime.settings.retention.report_days, hours=1)
        await session.execute(update(ProviderReport).values(received_at=long_ago))
    await world.take(server, report(ServerType.postmark, "bounced", world.ids["Ada"], number=2))
    await retention.prune(world.runtime.db, world.runtime.settings)
    assert await world.stored() == 1


async def test_many_events_of_one_report_change_what_they_would_one_by_one(world: World) -> None:
    at = clock.now()
    told = [
        ("Ada", EventKind.delivered),
        ("Grace", EventKind.bounced),
        ("Grace", EventKind.delivered),
        ("Joan", EventKind.delivered),
        ("Joan", EventKind.complained),
        ("Ken", EventKind.delivered),
        ("Ken", EventKind.delivered),
    ]
    events = [
        ProviderEvent(
            kind=kind, event_id=str(number), at=at, message_id=world.ids[name], status="5.1.1", reason="no"
        )
        for number, (name, kind) in enumerate(told)
    ]
    async with world.runtime.db.unit_of_work() as session:
        in_doubt = Message.address_key == "ken@example.com"
        await session.execute(update(Message).where(in_doubt).values(outcome=Outcome.unknown))
    project_id = await _project_of(world)
    bounces = world.runtime.settings.bounces
    for _ in range(2):
        async with world.runtime.db.unit_of_work() as session:
            await inbound.apply_all(session, bounces, project_id, events, source="test")
            await inbound.apply_all(session, bounces, UUID(int=1), events, source="test")
    rows = {name: await world.message(name) for name in PEOPLE}
    assert {name: row.feedback for name, row in rows.items()} == {
        "Ada": Feedback.delivered,
        "Grace": Feedback.bounced,
        "Joan": Feedback.complained,
        "Ken": Feedback.delivered,
    }
    assert {row.outcome for row in rows.values()} == {Outcome.sent}
    async with world.runtime.db.read() as session:
        kinds = select(Event.type, func.count()).where(Event.type.startswith("message.")).group_by(Event.type)
        counted = {row[0]: row[1] for row in await session.execute(kinds)}
        delivered = select(func.sum(Tally.number)).where(Tally.metric == Metric.delivered)
        assert (await session.execute(delivered)).scalar_one() == 3
    assert counted == {"message.delivered": 3, "message.bounced": 1, "message.complained": 1}


async def _project_of(world: World) -> UUID:
    async with world.runtime.db.read() as session:
        found = await delivery.by_public_id(session, world.ids["Ada"])
        assert found is not None
        return found.project_id


async def test_the_second_run_of_the_job_changes_nothing(world: World) -> None:
    server = await world.server(ServerType.postmark)
    await world.call(server, report(ServerType.postmark, "bounced", world.ids["Ada"]))
    async with world.runtime.db.read() as session:
        report_id = (await session.scalars(select(ProviderReport.id))).one()
    for _ in range(2):
        await _read(world.runtime, report_id)
    assert await world.standing() == ("bounced", ["hard_bounce"])


async def _read(runtime: Runtime, report_id: UUID) -> None:
    await inbound.read_report(
        runtime.db, runtime.vault, runtime.certificates, runtime.settings.bounces, report_id
    )


# Amazon SNS


class Egress:
    """The way out, which only remembers where it was asked to go."""

    def __init__(self, status: int) -> None:
        self.status = status
        self.urls: list[str] = []

    async def get(self, url: str) -> Answer:
        self.urls.append(url)
        return Answer(self.status, {}, b"", 1)

    async def aclose(self) -> None:
        return None


async def test_a_subscription_to_a_topic_is_confirmed_once(world: World) -> None:
    server = await world.server(ServerType.ses)
    world.runtime.__dict__["egress"] = egress = Egress(200)
    url = "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&Token=abc"
    raw = SNS(at=clock.now()).signed(Type="SubscriptionConfirmation", SubscribeURL=url, Token="abc")
    for _ in range(2):
        await world.take(server, Call(raw, {}))
    assert egress.urls == [url]


async def test_a_confirmation_that_fails_is_tried_again() -> None:
    with pytest.raises(EgressFailed):
        await inbound.confirm(Egress(403), "https://sns.eu-west-1.amazonaws.com/")  # type: ignore[arg-type]


async def test_amazon_is_asked_to_come_again_when_its_certificate_cannot_be_fetched(
    world: World, certificates: Certificates
) -> None:
    async def fetch(url: str) -> bytes:
        raise EgressFailed("no answer")

    server = await world.server(ServerType.ses)
    kept, certificates._fetch = certificates._fetch, fetch
    response = await world.call(server, report(ServerType.ses, "bounced", world.ids["Ada"]))
    assert response.status_code == 503
    assert response.headers["retry-after"] == "60"
    certificates._fetch = kept
    await world.take(server, report(ServerType.ses, "bounced", world.ids["Ada"]))
    assert await world.standing() == ("bounced", ["hard_bounce"])


# What condemns an address


@pytest.mark.parametrize(
    ("status", "reason", "is_permanent", "is_hard"),
    [
        ("5.1.1", "550 5.1.1 no such user", True, True),
        ("5.1.1", "550 5.1.1 no such user", False, True),
        (None, "550 no such user here", False, True),
        ("5.7.1", "550 5.7.1 blocked by policy", True, False),
        ("5.2.2", "552 5.2.2 over quota", True, False),
        ("4.2.2", "450 4.2.2 over quota", True, False),
        ("4.0.0", "450 no such thing", True, False),
        ("5.0.0", "550 no thanks", True, True),
        ("5.0.0", "550 no thanks", False, False),
        (None, "Bounced Address", True, True),
        (None, "Spam Reporting Address", False, False),
        (None, None, True, True),
        (None, None, False, False),
    ],
)
def test_status_and_words_condemn_an_address_before_the_providers_own_word(
    status: str | None, reason: str | None, is_permanent: bool, is_hard: bool
) -> None:
    event = ProviderEvent(
        kind=EventKind.bounced,
        event_id="1",
        at=clock.now(),
        message_id=None,
        status=status,
        reason=reason,
        is_permanent=is_permanent,
    )
    assert inbound.condemns(event) is is_hard
