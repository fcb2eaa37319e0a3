"""Events that come in groups and signed, and what was sent by day."""

import json
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from standardwebhooks import Webhook

from newsletter.kit import clock
from newsletter.runtime import Runtime
from tests.client import Client
from tests.jobs import make_due, run_due
from tests.mailbox import send_campaign
from tests.receiver import Receiver, Reply


async def test_interactions_come_grouped_signed_and_again_when_they_fail(
    client: Client, runtime: Runtime, receiver: Receiver, list_id: str
) -> None:
    body = {
        "url": receiver.url,
        "group_size": 100,
        "events": ["message.opened", "message.bounced", "subscriber.unsubscribed"],
    }
    endpoint = await client.data("POST", "/webhooks", 201, json=body)
    receiver.replies.append(Reply(500))
    await client.data("POST", "/subscribers", 201, json={"list_id": list_id, "email": "bounce@sandbox.test"})
    await send_campaign(client, runtime, list_id)
    await client.delete("/subscribers/grace@example.com")
    for _ in range(3):
        await run_due(runtime)
        await make_due(runtime)
    first, *rest = receiver.calls
    assert any(call.body == first.body for call in rest)
    told: list[Any] = []
    for call in rest:
        Webhook(endpoint["secret"]).verify(call.body, dict(call.headers))
        told += json.loads(call.body)["events"]
    assert {"message.bounced", "subscriber.unsubscribed"} <= {each["type"] for each in told}


async def test_delivery_stats_say_what_was_sent_each_day(
    client: Client, runtime: Runtime, list_id: str
) -> None:
    before = clock.now()
    await send_campaign(client, runtime, list_id)
    zone = ZoneInfo((await client.data("GET", "/project"))["time_zone"])
    days = {_day(at, zone) for at in (before, clock.now())}
    stats = (await client.data("GET", "/analytics/delivery-stats"))["delivery_stats"]
    assert sum(row["sent"] for row in stats if row["day"] in days) == 2


def _day(at: datetime, zone: ZoneInfo) -> str:
    return at.astimezone(zone).date().isoformat()
