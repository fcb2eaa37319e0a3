"""Rules over HTTP, and what `POST /routing/explain` says of them."""

from typing import Any

import pytest
from pydantic import SecretStr

from newsletter.settings import Settings, SMTPSettings
from tests.client import Client
from tests.conftest import MakeClient, MakeProject
from tests.routing.conftest import Connect

MAIL = {"from": "news@acme.example.com", "to": "alice@example.org"}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """With a server of the installation, which nobody connects to here."""
    smtp = SMTPSettings(url=SecretStr("smtp://relay.example.com"))
    return settings.model_copy(update={"smtp": smtp})


async def rule(client: Client, server: Any, **fields: Any) -> Any:
    return await client.data("POST", "/routing/rules", 201, json={"server_id": server["id"], **fields})


async def explain(client: Client, **fields: Any) -> Any:
    return await client.data("POST", "/routing/explain", json={**MAIL, **fields})


def verdicts(explained: Any) -> dict[str, str]:
    """By the server's name; of several, the last."""
    return {each["server_name"]: each["verdict"] for each in explained["considered"]}


async def test_a_rule_is_made_read_changed_and_deleted(live_client: Client, connect: Connect) -> None:
    first, second = await connect(name="a"), await connect(name="b")
    made = await rule(live_client, first, purpose="marketing", from_domain="Acme.Example.COM")
    assert (made["priority"], made["weight"], made["is_active"]) == (10, 1, True)
    assert made["from_domain"] == "acme.example.com"
    path = f"/routing/rules/{made['id']}"
    changed = await live_client.data("PATCH", path, json={"server_id": second["id"], "purpose": None})
    assert (changed["server_id"], changed["purpose"]) == (second["id"], None)
    assert changed["from_domain"] == "acme.example.com"
    assert await live_client.data("GET", "/routing/rules") == [changed]
    assert (await live_client.delete(path)).status_code == 204
    await live_client.expect_error("GET", path, 404, "not_found")


async def test_every_bad_field_of_a_rule_is_named(live_client: Client, connect: Connect) -> None:
    await connect()
    body = {
        "server_id": "srv_1",
        "priority": -1,
        "weight": 0,
        "purpose": "spam",
        "from_domain": "a b",
        "x": 1,
    }
    error = await live_client.expect_error("POST", "/routing/rules", 422, "validation_failed", json=body)
    assert set(error["errors"]) == set(body)
    body = {
        "server_id": "srv_01k9x3v7m8e5tbn2c4r6p0qzaw",
        "list_id": "lst_01k9x3v7m8e5tbn2c4r6p0qzaw",
    }
    error = await live_client.expect_error("POST", "/routing/rules", 422, "validation_failed", json=body)
    assert set(error["errors"]) == {"server_id", "list_id"}


async def test_rules_are_listed_in_the_order_in_which_they_are_tried(
    live_client: Client, connect: Connect
) -> None:
    server = await connect()
    for priority in (30, 10, 20):
        await rule(live_client, server, priority=priority)
    listed = await live_client.data("GET", "/routing/rules")
    assert [each["priority"] for each in listed] == [10, 20, 30]


async def test_without_a_server_of_its_own_a_project_uses_the_installation_s(live_client: Client) -> None:
    explained = await explain(live_client)
    assert (explained["server_id"], explained["server_name"]) == (None, "the installation's server")
    assert explained["rule_id"] is None


async def test_the_rule_that_fits_best_by_priority_is_named(live_client: Client, connect: Connect) -> None:
    bulk, fast, other = await connect(name="bulk"), await connect(name="fast"), await connect(name="other")
    await rule(live_client, bulk, priority=20)
    wanted = await rule(live_client, fast, priority=10, purpose="transactional")
    explained = await explain(live_client, purpose="transactional")
    assert (explained["server_id"], explained["rule_id"]) == (fast["id"], wanted["id"])
    assert verdicts(explained) == {
        "fast": "chosen",
        "bulk": "alternative",
        "other": "not_named",
        "the installation's server": "not_named",
    }
    explained = await explain(live_client, purpose="marketing")
    assert explained["server_id"] == bulk["id"]
    assert verdicts(explained)["fast"] == "rule_mismatch"
    assert other["id"] in [each["server_id"] for each in explained["considered"]]


async def test_what_is_inactive_or_for_another_domain_is_passed_over(
    live_client: Client, connect: Connect
) -> None:
    off, foreign = await connect(name="off", is_active=False), await connect(name="foreign")
    path = f"/sending-servers/{foreign['id']}"
    await live_client.data("PATCH", path, json={"from_domains": ["example.net"]})
    await rule(live_client, off, priority=1)
    await rule(live_client, foreign, priority=2)
    idle = await connect(name="idle")
    await rule(live_client, idle, priority=3, is_active=False)
    explained = await explain(live_client)
    # No rule counts, so the active servers that send for the domain are equals.
    assert (explained["server_id"], explained["rule_id"]) == (idle["id"], None)
    assert {each["verdict"] for each in explained["considered"]} == {
        "chosen",
        "inactive",
        "domain_mismatch",
        "rule_inactive",
        "not_named",
    }


async def test_the_same_message_is_explained_the_same_and_others_share(
    live_client: Client, connect: Connect
) -> None:
    names = {(await connect(name=name))["id"]: name for name in ("a", "b")}
    found = []
    for number in range(40):
        one = await explain(live_client, message_id=f"msg_{number:08d}")
        assert one == await explain(live_client, message_id=f"msg_{number:08d}")
        found.append(names[one["server_id"]])
    assert 8 <= found.count("a") <= 32


async def test_mail_of_a_test_project_stays_in_the_sandbox(client: Client) -> None:
    body = {"name": "relay", "type": "smtp", "config": {"host": "smtp.example.com"}}
    await client.data("POST", "/sending-servers", 201, json=body)
    explained = await explain(client)
    assert (explained["server_id"], explained["server_name"]) == (None, "the sandbox")


async def test_a_foreign_list_is_no_list_to_explain_the_way_for(
    live_client: Client, make_client: MakeClient, make_project: MakeProject
) -> None:
    stranger = await make_client(await make_project(is_test=False))
    theirs = (await stranger.data("POST", "/lists", 201, json={"name": "Theirs"}))["id"]
    missing = theirs[:-4] + ("0000" if theirs[-4:] != "0000" else "1111")
    errors = [
        await live_client.expect_error(
            "POST", "/routing/explain", 422, "validation_failed", json={**MAIL, "list_id": list_id}
        )
        for list_id in (theirs, missing)
    ]
    assert [error["errors"] for error in errors] == [{"list_id": ["is not a list of this project"]}] * 2
    mine = (await live_client.data("POST", "/lists", 201, json={"name": "Mine"}))["id"]
    assert (await explain(live_client, list_id=mine))["server_name"]
