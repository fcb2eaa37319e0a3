"""``/sending-domains`` over HTTP: what is shown, and what never is."""

import base64
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key
from sqlalchemy import text

from newsletter.accounts.project import Project
from newsletter.domains import service
from newsletter.domains.models import SigningMode
from newsletter.kit import ids
from newsletter.runtime import Runtime
from tests.client import Client
from tests.conftest import MakeClient, MakeProject


def public_key(record: str) -> bytes:
    tags = dict(tag.strip().split("=", 1) for tag in record.split(";"))
    assert tags["v"] == "DKIM1"
    return base64.b64decode(tags["p"])


def keys_of(domain: dict[str, Any]) -> list[dict[str, str]]:
    return [record for record in domain["records"] if record["purpose"] == "dkim"]


async def test_a_new_domain_answers_with_the_record_to_publish(client: Client) -> None:
    made = await client.data("POST", "/sending-domains", 201, json={"domain": "News.Example.com"})
    assert made["id"].startswith("dom_")
    assert (made["domain"], made["mode"], made["status"]) == ("news.example.com", "rsa", "pending")
    (record,) = keys_of(made)
    assert (record["type"], record["name"]) == ("TXT", f"{made['selector']}._domainkey.news.example.com")
    key = load_der_public_key(public_key(record["value"]))
    assert isinstance(key, RSAPublicKey)
    assert key.key_size == 2048
    assert await client.data("GET", f"/sending-domains/{made['id']}") == made
    assert await client.data("GET", "/sending-domains") == [made]


async def test_two_keys_have_two_selectors(client: Client) -> None:
    body = {"domain": "bücher.example", "mode": "rsa+ed25519"}
    made = await client.data("POST", "/sending-domains", 201, json=body)
    assert made["domain"] == "xn--bcher-kva.example"
    rsa, ed25519 = keys_of(made)
    assert rsa["name"] != ed25519["name"]
    assert "k=ed25519" in ed25519["value"]
    assert len(public_key(ed25519["value"])) == 32


async def test_where_the_relay_signs_there_is_no_key_to_publish(client: Client) -> None:
    made = await client.data("POST", "/sending-domains", 201, json={"domain": "example.com", "mode": "relay"})
    assert keys_of(made) == []


async def test_no_answer_and_no_row_holds_a_private_key(
    client: Client, runtime: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    body = {"domain": "example.com", "mode": "rsa+ed25519"}
    answers = [await client.post("/sending-domains", json=body, headers={"Idempotency-Key": "k1"})]
    again = await client.post("/sending-domains", json=body, headers={"Idempotency-Key": "k1"})
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.json() == answers[0].json()
    path = f"/sending-domains/{answers[0].json()['data']['id']}"
    answers += [await client.get("/sending-domains"), await client.get(path)]
    async with runtime.db.read() as session:
        row = (await session.execute(text("SELECT id, rsa_key, ed25519_key FROM sending_domains"))).one()
    domain_id = ids.private("dom", answers[0].json()["data"]["id"])
    for name, sealed in (("rsa", row.rsa_key), ("ed25519", row.ed25519_key)):
        private = runtime.vault.decrypt(bytes(sealed), f"sending-domain:{domain_id}:{name}")
        assert private not in bytes(sealed)
        secret = base64.b64encode(private[-30:]).decode()[:30]
        assert not any(secret in answer.text for answer in answers)
        assert secret not in caplog.text
    assert not any("key" in field for answer in answers[:1] for field in answer.json()["data"])


async def test_a_domain_stands_once_in_a_project(
    client: Client, make_project: MakeProject, make_client: MakeClient
) -> None:
    body = {"domain": "example.com"}
    made = await client.data("POST", "/sending-domains", 201, json=body)
    await client.expect_error("POST", "/sending-domains", 409, "sending_domain_exists", json=body)
    other = await make_client(await make_project(is_test=True))
    theirs = await other.data("POST", "/sending-domains", 201, json=body)
    assert theirs["selector"] != made["selector"]
    for method in ("GET", "DELETE"):
        await other.expect_error(method, f"/sending-domains/{made['id']}", 404, "not_found")
    assert (await client.delete(f"/sending-domains/{made['id']}")).status_code == 204
    await client.expect_error("GET", f"/sending-domains/{made['id']}", 404, "not_found")
    again = await client.data("POST", "/sending-domains", 201, json=body)
    assert keys_of(again) != keys_of(made)


async def test_a_project_has_so_many_domains_and_no_more(project: Project, runtime: Runtime) -> None:
    keys = service.make_keys(SigningMode.relay)
    async with runtime.db.unit_of_work() as session:
        for number in range(3):
            await service.create(session, runtime.vault, project, f"d{number}.example.com", keys, limit=3)
    async with runtime.db.unit_of_work() as session:
        with pytest.raises(service.DomainLimitReached):
            await service.create(session, runtime.vault, project, "d3.example.com", keys, limit=3)


@pytest.mark.parametrize(
    "body", [{"domain": "no domain"}, {"domain": "example.com", "mode": "dsa"}, {}, {"domain": ""}]
)
async def test_what_is_no_domain_or_mode_is_refused(client: Client, body: dict[str, str]) -> None:
    await client.expect_error("POST", "/sending-domains", 422, "validation_failed", json=body)


async def test_a_key_for_other_domains_may_not_register_or_delete_this_one(
    client: Client, make_client: MakeClient, project: Project
) -> None:
    made = await client.data("POST", "/sending-domains", 201, json={"domain": "example.com", "mode": "relay"})
    restricted = await make_client(project, from_domains=("example.org",))
    await restricted.expect_error(
        "POST", "/sending-domains", 403, "forbidden", json={"domain": "example.net", "mode": "relay"}
    )
    await restricted.expect_error("DELETE", f"/sending-domains/{made['id']}", 403, "forbidden")
