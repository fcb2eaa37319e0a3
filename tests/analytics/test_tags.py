"""Single mails are counted by each of their tags."""

from typing import Any

import pytest

from newsletter.delivery import queries as delivery
from newsletter.runtime import Runtime
from newsletter.tallies import service as tallies
from tests.client import Client
from tests.feedback.test_engagement import READER
from tests.jobs import run_due


@pytest.mark.parametrize("is_folded", [False, True])
async def test_each_tag_has_what_became_of_its_mails(
    client: Client, runtime: Runtime, is_folded: bool
) -> None:
    await client.data("PATCH", "/project", json={"track_opens": True})
    await client.data("POST", "/suppressions", 201, json={"email": "gone@example.com"})
    for address, tags in (
        ("ada@example.com", ["login", "eu"]),
        ("bounce@sandbox.test", ["login"]),
        ("gone@example.com", ["login"]),
        ("ken@example.com", []),
    ):
        body = {"from": "news@acme.example.com", "to": [address], "subject": "Your code"}
        await client.data("POST", "/send", 202, json=body | {"html": "<p>1234</p>", "tags": tags})
    await run_due(runtime)
    await open_mail(client, runtime, "ada@example.com")
    if is_folded:
        await tallies.fold(runtime.db, delivery.abouts)

    found = await client.data("GET", "/analytics/summary", params={"group_by": "tag"})

    names = ("sent", "suppressed", "bounced", "opens", "unique_opens")
    assert {row["key"]: [row[name] for name in names] for row in found["rows"]} == {
        "login": [2, 1, 1, 1, 1],
        "eu": [1, 0, 0, 1, 1],
    }
    assert [found["total"][name] for name in names] == [3, 1, 1, 1, 1]
    of_tag = await client.data("GET", "/analytics/summary", params={"tag": "eu"})
    assert of_tag["total"]["sent"] == 1


async def open_mail(client: Client, runtime: Runtime, address: str) -> None:
    [found] = await client.data("GET", "/sandbox/messages", params={"to": address})
    mail: dict[str, Any] = await client.data("GET", f"/sandbox/messages/{found['id']}")
    url = mail["html"].partition('src="')[2].partition('"')[0]
    headers = {"Authorization": "", "User-Agent": READER.user_agent or ""}
    assert (await client.request("GET", url, headers=headers)).status_code == 200
    await runtime.sightings.flush()
