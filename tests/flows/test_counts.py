"""A campaign with opens, clicks, a hard bounce, a complaint and an unsubscribe is counted the same in
its report, the sums, the raw log, each message and at the customer's endpoint; also when what its provider
says comes twice and in any order."""

import html
import json
import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import pytest

from newsletter.delivery import queries as delivery
from newsletter.feedback import classing
from newsletter.providers.registry import ServerType
from newsletter.runtime import Runtime
from newsletter.settings import Settings, WebhookSettings
from newsletter.tallies import service as tallies
from tests.client import Client
from tests.feedback.providers import Call, config, report
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
    "message.accepted": 5,
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

    async def get(self, url: str, agent: str, **more: str) -> Any:
        headers = {"Authorization": "", "User-Agent": agent, **more}
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
    url = await reports_url(client)
    for number, (what, name) in enumerate(
        [("delivered", "ada"), ("bounced", "joan"), ("complained", "grace"), ("complained", "grace")]
    ):
        await tell(client, url, report(ServerType.smtp, what, people[name].mail["message_id"], number=number))
    await run_due(runtime)

    report_ = await agreed(client, runtime, receiver, campaign["id"])
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
    by_type = Counter(json.loads(call.body)["type"] for call in receiver.calls)
    assert {kind: by_type[kind] for kind in EXPECTED} == EXPECTED


@pytest.mark.parametrize("seed", range(2))
async def test_counts_agree_whatever_comes_twice_late_and_in_any_order(
    client: Client,
    runtime: Runtime,
    receiver: Receiver,
    seed: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(classing, "AT_ONCE_SECONDS", 3_600.0)  # However busy the machine is.
    dice = random.Random(seed)
    await client.data("PATCH", "/project", json={"track_opens": True, "track_clicks": True})
    await client.data("POST", "/webhooks", 201, json={"url": receiver.url})
    names = ("ada", "grace", "joan", "ken", "linus")
    list_id = await subscribed_list(client, *names)
    tea = '<p><a href="https://shop.example.org/tea">Tea</a></p>'
    campaign = await send_campaign(client, runtime, list_id, html=COPY + tea)
    people = {name: Reader(client, await mail_to(client, f"{name}@example.com")) for name in names}
    url = await reports_url(client)

    said = [*[("delivered", name) for name in names], ("bounced", "joan"), ("bounced", "joan")]
    said += [("complained", "grace"), ("complained", "grace"), ("unsubscribed", "ken")]
    calls = [
        report(ServerType.smtp, what, people[name].mail["message_id"], number=number)
        for number, (what, name) in enumerate(said)
    ]
    # Each of them is repeated as it was.
    steps: list[Callable[[], Awaitable[object]]] = [
        partial(tell, client, url, call) for call in calls for _ in range(2)
    ]
    # Machines of four kinds: privacy proxies, prefetching, what asks for heads alone, and scanners.
    steps += [partial(people["ada"].open, agent) for agent in (BROWSER, BROWSER, "Mozilla/5.0", SCANNER)]
    steps += [partial(people["ada"].get, people["ada"].pixel, BROWSER, **{"Sec-Purpose": "prefetch"})]
    steps += [partial(client.head, people["ken"].links[0], headers={"Authorization": ""})]
    steps += [partial(people[name].click, 0) for name in ("ada", "grace", "grace", "joan")]
    steps += [partial(people["ken"].unsubscribe)] * 2 + [partial(people["grace"].unsubscribe)]
    steps += [partial(run_due, runtime), partial(runtime.sightings.flush)] * 4
    dice.shuffle(steps)
    for step in steps:
        await step()
    await runtime.sightings.flush()
    for number in range(3):  # All links at once, which no person follows.
        await people["linus"].click(number)
    await runtime.sightings.flush()
    await run_due(runtime)

    found = await agreed(client, runtime, receiver, campaign["id"])
    assert (found["opens"], found["unique_opens"], found["machine_opens"]) == (2, 1, 3)
    assert (found["clicks"], found["unique_clicks"], found["machine_clicks"]) == (4, 3, 4)
    assert (found["sent"], found["bounced"], found["complained"]) == (5, 1, 1)
    # A delivery that is told of after the bounce or the complaint is none; ken left, and grace did unless she
    # had complained.
    assert 3 <= found["delivered"] <= 5
    assert 1 <= found["unsubscribed"] <= 2


async def reports_url(client: Client) -> str:
    """Where a provider tells of this project's mail."""
    body = {"name": "Relay", "type": "smtp", "config": config(ServerType.smtp)}
    server = await client.data("POST", "/sending-servers", 201, json=body)
    return f"http://news.test{urlsplit(server['reports_url']).path}"


async def tell(client: Client, url: str, call: Call) -> None:
    answer = await client.post(url, content=call.raw, headers={"Authorization": "", **call.headers})
    assert answer.status_code in (200, 202), answer.text


async def agreed(client: Client, runtime: Runtime, receiver: Receiver, campaign_id: str) -> dict[str, Any]:
    """The report of the campaign, which is all that its project sent, once every place says the same; before
    the sums are folded and after."""
    before = await told(client, campaign_id)
    assert await tallies.fold(runtime.db, delivery.abouts) > 0
    assert await told(client, campaign_id) == before
    shown: dict[str, Any] = before.pop("report")
    for name, other in before.items():
        assert other == {key: shown[key] for key in other}, name

    logged = {each["id"]: each for kind in EXPECTED for each in await log(client, kind)}
    received = [json.loads(call.body) for call in receiver.calls]
    heard = {each["id"]: each for each in received if each["type"] in EXPECTED}
    assert len({each["id"] for each in received}) == len(received), "each event comes once"
    assert heard.keys() == logged.keys()
    for name, event in heard.items():
        assert (event["type"], event["data"]) == (logged[name]["type"], logged[name]["data"])
    return shown


async def log(client: Client, kind: str) -> list[dict[str, Any]]:
    params = {"type": kind, "per_page": "100"}
    events: list[dict[str, Any]] = await client.data("GET", "/analytics/events", params=params)
    assert len(events) < 100
    return events


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
    found["log"] = counted([each for kind in EXPECTED for each in await log(client, kind)])
    messages = await client.data("GET", "/messages", params={"campaign_id": campaign_id, "per_page": "100"})
    listed = await client.data("GET", f"/campaigns/{campaign_id}/recipients", params={"per_page": "100"})
    for place, rows in (("messages", messages), ("recipients", listed)):
        found[place] = {
            name: sum(row[name] for row in rows)
            for name in ("opens", "machine_opens", "clicks", "machine_clicks")
        }
        found[place] |= {f"unique_{name}": sum(row[name] > 0 for row in rows) for name in ("opens", "clicks")}
        found[place] |= {"sent": len(rows)}
    return found


def counted(events: Sequence[dict[str, Any]]) -> dict[str, int]:
    """What the log comes to, in the words of a report."""
    kinds = Counter(each["type"] for each in events)
    found = {
        "sent": kinds["message.accepted"],
        "delivered": kinds["message.delivered"],
        "bounced": kinds["message.bounced"],
        "complained": kinds["message.complained"],
        "unsubscribed": kinds["subscriber.unsubscribed"],
    }
    for kind, what, name in (
        ("message.opened", "open", "opens"),
        ("message.clicked", "click", "clicks"),
    ):
        seen = [each["data"] for each in events if each["type"] == kind]
        people = [each["message"]["id"] for each in seen if each[what]["by"] == "human"]
        found |= {name: len(people), f"unique_{name}": len(set(people))}
        found[f"machine_{name}"] = len(seen) - len(people)
    return found
