"""A campaign with opens, clicks, a hard bounce, a complaint and an unsubscribe is counted the same in
its report, the sums, the raw log and at the customer's endpoint."""

import html
import json
import re
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from newsletter.delivery import queries as delivery
from newsletter.providers.registry import ServerType
from newsletter.runtime import Runtime
from newsletter.settings import Settings, WebhookSettings
from newsletter.tallies import service as tallies
from tests.client import Client
from tests.feedback.providers import config, report
from tests.jobs import run_due
from tests.mailbox import mail_to, send_campaign, subscribed_list
from tests.receiver import Receiver

BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
SCANNER = "Mozilla/5.0 (compatible; Barracuda Sentinel (EE))"
COPY = (
    '<p>Hello {{ first_name }}</p><p><a href="https://shop.example.org/beans">Beans</a> '
    '<a href="https://shop.example.org/cups?a=1&amp;b=2">Cups</a></p>'
)
EXPECTED = {
    "message.opened": 4,
    "message.clicked": 5,
    "message.bounced": 1,
    "message.complained": 1,
    "message.delivered": 1,
    "subscriber.unsubscribed": 1,
    "subscriber.bounced": 1,
    "subscriber.complained": 1,
    "campaign.sent": 1,
}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(
        update={"webhooks": WebhookSettings(allowed_ranges=("127.0.0.0/8",), timeout=5)}
    )


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as made:
        yield made


class Reader:
    """Somebody with a mail, and no key of ours."""

    def __init__(self, client: Client, mail: dict[str, Any]) -> None:
        self.client, self.mail = client, mail
        found = [html.unescape(url) for url in re.findall(r'(?:href|src)="([^"]+)"', mail["html"])]
        self.links = [url for url in found if "/c/" in url]
        [self.pixel] = [url for url in found if "/o/" in url]

    async def get(self, url: str, agent: str) -> Any:
        headers = {"Authorization": "", "User-Agent": agent}
        return await self.client.request("GET", url, headers=headers, follow_redirects=False)

    async def open(self, agent: str = BROWSER) -> None:
        assert (await self.get(self.pixel, agent)).status_code == 200

    async def click(self, number: int, agent: str = BROWSER) -> str:
        answer = await self.get(self.links[number], agent)
        assert answer.status_code == 302
        return str(answer.headers["location"])

    async def unsubscribe(self) -> None:
        one_click = {"List-Unsubscribe": "One-Click"}
        url = self.mail["list_unsubscribe"]
        answer = await self.client.request("POST", url, data=one_click, headers={"Authorization": ""})
        assert answer.status_code == 200


async def test_counts_agree_to_the_unit_everywhere(
    client: Client, runtime: Runtime, receiver: Receiver
) -> None:
    await client.data("PATCH", "/project", json={"track_opens": True, "track_clicks": True})
    await client.data("POST", "/webhooks", 201, json={"url": receiver.url})
    list_id = await subscribed_list(client, "Ada", "Grace", "Joan", "Ken", "Linus")
    campaign = await send_campaign(client, runtime, list_id, html=COPY)
    people = {
        name: Reader(client, await mail_to(client, f"{name}@example.com"))
        for name in ("ada", "grace", "joan", "ken")
    }
    ada, grace = people["ada"], people["grace"]

    await ada.open()
    await ada.open()
    assert await ada.click(0) == "https://shop.example.org/beans"
    assert await ada.click(1) == "https://shop.example.org/cups?a=1&b=2"
    await grace.click(0, SCANNER)
    await grace.click(1, SCANNER)
    await grace.open(SCANNER)
    await grace.open()
    await people["ken"].click(1)
    await runtime.sightings.flush()
    await people["ken"].unsubscribe()
    body = {"name": "Relay", "type": "smtp", "config": config(ServerType.smtp)}
    server = await client.data("POST", "/sending-servers", 201, json=body)
    for number, (what, name) in enumerate(
        [("delivered", "ada"), ("bounced", "joan"), ("complained", "grace"), ("complained", "grace")]
    ):
        call = report(ServerType.smtp, what, people[name].mail["message_id"], number=number)
        url = "http://news.test" + urlsplit(server["reports_url"]).path
        headers = {"Authorization": "", **call.headers}
        assert (await client.post(url, content=call.raw, headers=headers)).status_code == 202
    await run_due(runtime)

    before = await told(client, campaign["id"])
    assert await tallies.fold(runtime.db, delivery.abouts) > 0
    assert await told(client, campaign["id"]) == before

    report_ = before["report"]
    assert {name: report_[name] for name in ("opens", "unique_opens", "machine_opens")} == {
        "opens": 3,
        "unique_opens": 2,
        "machine_opens": 1,
    }
    assert {name: report_[name] for name in ("clicks", "unique_clicks", "machine_clicks")} == {
        "clicks": 3,
        "unique_clicks": 2,
        "machine_clicks": 2,
    }
    assert [report_[name] for name in ("sent", "delivered", "bounced", "complained", "unsubscribed")] == [
        *(5, 1, 1, 1, 1),
    ]
    for name, other in before.items():
        if name not in ("report", "log"):
            assert other == {key: report_[key] for key in other}, name
    assert before["log"] == EXPECTED
    received = [json.loads(call.body) for call in receiver.calls]
    assert len({each["id"] for each in received}) == len(received)
    by_type = Counter(each["type"] for each in received)
    assert {kind: by_type[kind] for kind in EXPECTED} == EXPECTED
    opened = [each["data"]["open"]["by"] for each in received if each["type"] == "message.opened"]
    clicked = [each["data"]["click"]["by"] for each in received if each["type"] == "message.clicked"]
    assert Counter(opened) == {"human": report_["opens"], "machine": report_["machine_opens"]}
    assert Counter(clicked) == {"human": report_["clicks"], "machine": report_["machine_clicks"]}


async def told(client: Client, campaign_id: str) -> dict[str, Any]:
    """What each place says of the campaign, which is all that its project sent."""
    shown = await client.data("GET", f"/campaigns/{campaign_id}/report")
    names = [*("sent", "delivered", "bounced", "complained", "unsubscribed", "opens", "unique_opens")]
    names += ["machine_opens", "clicks", "unique_clicks", "machine_clicks"]
    found: dict[str, Any] = {"report": shown}
    by_day = await client.data("GET", "/analytics/summary", params={"group_by": "day"})
    found["total"] = {name: by_day["total"][name] for name in names}
    found["days"] = {name: sum(row[name] for row in by_day["rows"]) for name in names}
    found["report days"] = {name: sum(day[name] for day in shown["days"]) for name in names}
    for group_by in ("campaign", "domain"):
        [row] = (await client.data("GET", "/analytics/summary", params={"group_by": group_by}))["rows"]
        found[group_by] = {name: row[name] for name in names}
    rows = (await client.data("GET", "/analytics/delivery-stats"))["delivery_stats"]
    found["delivery stats"] = {
        name: sum(row[name] for row in rows) for name in ("sent", "delivered", "bounced", "complained")
    }
    found["log"] = Counter()
    for kind in EXPECTED:
        events = await client.data("GET", "/analytics/events", params={"type": kind, "per_page": "100"})
        found["log"][kind] = len(events)
    return found
