"""Its interaction stream and its telemetry: events in groups and signed, and what was sent by day."""

import csv
import json
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from standardwebhooks import Webhook

from newsletter.kit import clock
from newsletter.runtime import Runtime
from tests.client import Client
from tests.jobs import make_due, run_due
from tests.mailbox import send_campaign
from tests.newcomer import Told, read_mail
from tests.receiver import Received, Receiver, Reply

LISTENED = [
    *("message.opened", "message.clicked", "message.bounced", "message.complained"),
    "subscriber.unsubscribed",
]


@pytest.fixture
async def endpoint(client: Client, receiver: Receiver) -> Any:
    body = {"url": receiver.url, "group_size": 100, "events": LISTENED}
    return await client.data("POST", "/webhooks", 201, json=body)


@pytest.fixture
def told(runtime: Runtime, receiver: Receiver, endpoint: Any) -> Told:
    def is_genuine(call: Received) -> bool:
        return bool(Webhook(endpoint["secret"]).verify(call.body, dict(call.headers)))

    return Told(runtime, receiver, is_genuine)


async def interact(client: Client, runtime: Runtime, list_id: str) -> None:
    """Of everything that the stream has something: an open, a click, a bounce, a complaint, a leave."""
    for persona in ("bounce", "complaint"):
        body = {"list_id": list_id, "email": f"{persona}@sandbox.test"}
        await client.data("POST", "/subscribers", 201, json=body)
    await send_campaign(client, runtime, list_id, track_opens=True, track_clicks=True)
    await read_mail(client, runtime, "ada@example.com", opens=1, clicks=1)
    await client.delete("/subscribers/grace@example.com")


async def test_email_opened_and_email_bounced_and_list_unsub_and_clicks_and_complaints(
    client: Client, told: Told, list_id: str
) -> None:
    await interact(client, told.runtime, list_id)
    await told.all()
    await make_due(told.runtime)
    assert {event["type"] for event in await told.all()} == set(LISTENED)


async def test_sha_256_signing_retries(client: Client, told: Told, receiver: Receiver, list_id: str) -> None:
    receiver.replies.append(Reply(500))
    await client.delete("/subscribers/grace@example.com")
    for _ in range(3):
        await told.all()
        await make_due(told.runtime)
    first, again = receiver.calls
    assert (first.body, first.headers["webhook-id"]) == (again.body, again.headers["webhook-id"])
    forged = Received(again.method, again.path, again.headers, again.body.replace(b"grace", b"grade"))
    with pytest.raises(Exception, match="signature"):
        told.is_genuine(forged)


async def test_grouping_of_events(client: Client, told: Told, receiver: Receiver, list_id: str) -> None:
    for name in ("ada", "grace"):
        await client.delete(f"/subscribers/{name}@example.com")
    await run_due(told.runtime)
    await make_due(told.runtime)
    assert [event["data"]["subscriber"]["email"] for event in await told.all()] == [
        "ada@example.com",
        "grace@example.com",
    ]
    assert len(receiver.calls) == 1


async def test_delivery_stats_per_day(client: Client, runtime: Runtime, list_id: str) -> None:
    before = clock.now()
    await send_campaign(client, runtime, list_id)
    zone = ZoneInfo((await client.data("GET", "/project"))["time_zone"])
    days = {_day(at, zone) for at in (before, clock.now())}
    stats = (await client.data("GET", "/analytics/delivery-stats"))["delivery_stats"]
    assert sum(row["sent"] for row in stats if row["day"] in days) == 2


async def test_engagement_metrics_raw_data(client: Client, runtime: Runtime, list_id: str) -> None:
    await interact(client, runtime, list_id)
    await run_due(runtime)
    total = (await client.data("GET", "/analytics/summary"))["total"]
    counted = ("sent", "unique_opens", "unique_clicks", "bounced", "complained")
    assert [total[name] for name in counted] == [4, 1, 1, 1, 1]
    lines = (await client.get("/analytics/events.jsonl")).text.splitlines()
    rows = csv.DictReader((await client.get("/analytics/events.csv")).text.splitlines())
    kinds = [json.loads(line)["type"] for line in lines]
    assert [row["type"] for row in rows] == kinds
    assert set(kinds) >= set(LISTENED)


def _day(at: datetime, zone: ZoneInfo) -> str:
    return at.astimezone(zone).date().isoformat()
