"""From records in the DNS to a domain that counts as verified, and back, by a name server of our own."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from newsletter.accounts.project import Project
from newsletter.domains import looking, verifying
from newsletter.domains.models import SendingDomain
from newsletter.domains.records import Record, RecordPurpose, RecordStatus, RecordType
from newsletter.domains.resolver import LookupFailed, Resolver
from newsletter.runtime import Runtime
from newsletter.settings import Settings
from newsletter.settings.domains import place
from tests.client import Client
from tests.conftest import MakeClient, MakeProject
from tests.dns_server import NameServer
from tests.jobs import run_due

NAME = "news.example.com"


async def register(client: Client, **body: str) -> dict[str, Any]:
    made: dict[str, Any] = await client.data("POST", "/sending-domains", 201, json={"domain": NAME, **body})
    return made


async def verify(client: Client, made: dict[str, Any]) -> dict[str, Any]:
    looked: dict[str, Any] = await client.data("POST", f"/sending-domains/{made['id']}/verify")
    return looked


async def verified(client: Client, name_server: NameServer) -> dict[str, Any]:
    """As it was registered, before its records were published and looked at."""
    made = await register(client)
    name_server.publish(made["records"])
    await verify(client, made)
    return made


def statuses(domain: dict[str, Any]) -> dict[str, str]:
    return {record["purpose"]: record["status"] for record in domain["records"]}


def of(domain: dict[str, Any], purpose: str) -> dict[str, Any]:
    return next(record for record in domain["records"] if record["purpose"] == purpose)


async def age(runtime: Runtime, hours: float) -> None:
    """Lets the last look, and what it first did not find, be so much longer ago."""
    by = timedelta(hours=hours)
    async with runtime.db.unit_of_work() as session:
        for found in await session.scalars(select(SendingDomain)):
            found.checked_at = found.checked_at - by if found.checked_at else None
            found.absent_since = found.absent_since - by if found.absent_since else None


async def look_daily(runtime: Runtime) -> list[str]:
    await verifying.enqueue_due(runtime.db, runtime.settings.dns)
    return await run_due(runtime)


async def test_a_domain_is_verified_once_its_key_is_published(
    client: Client, name_server: NameServer
) -> None:
    made = await register(client)
    assert (made["status"], made["checked_at"]) == ("pending", None)
    assert statuses(made) == dict.fromkeys(("dkim", "spf", "dmarc"), "unchecked")

    before = await verify(client, made)
    assert (before["status"], of(before, "dkim")["status"]) == ("failed", "missing")
    assert "no TXT record" in of(before, "dkim")["reason"]

    name_server.publish(made["records"])
    name_server.txt("_dmarc.news.example.com", "v=DMARC1; p=quarantine")
    name_server.txt(NAME, "v=spf1 mx -all", "unrelated")
    after = await verify(client, made)
    assert (after["status"], after["absent_since"]) == ("verified", None)
    assert statuses(after) == dict.fromkeys(("dkim", "spf", "dmarc"), "found")
    assert of(after, "dmarc")["reason"] == "The policy is 'quarantine'."
    assert of(after, "spf")["found"] == ["v=spf1 mx -all"]
    assert await client.data("GET", f"/sending-domains/{made['id']}") == after
    assert await client.data("GET", "/sending-domains") == [after]


async def test_both_keys_of_a_domain_must_be_there(client: Client, name_server: NameServer) -> None:
    made = await register(client, mode="rsa+ed25519")
    rsa, ed25519 = [record for record in made["records"] if record["purpose"] == "dkim"]
    name_server.publish([rsa])
    assert (await verify(client, made))["status"] == "failed"
    name_server.publish([ed25519])
    assert (await verify(client, made))["status"] == "verified"


async def test_where_the_sending_server_signs_a_record_proves_whose_the_domain_is(
    client: Client, name_server: NameServer, make_client: MakeClient, make_project: MakeProject
) -> None:
    made = await register(client, mode="relay")
    proof = of(made, "ownership")
    assert proof["name"] == "_newsletter.news.example.com"
    other = await make_client(await make_project())
    theirs = await register(other, mode="relay")
    name_server.txt(proof["name"], "something else", proof["value"])
    assert (await verify(client, made))["status"] == "verified"
    assert (await verify(other, theirs))["status"] == "failed"


class TestServersThatTheOperatorNamed:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        named = settings.dns.model_copy(update={"spf_include": "spf.news.test"})
        return settings.model_copy(update={"dns": named})

    async def test_the_spf_record_must_include_them(self, client: Client, name_server: NameServer) -> None:
        made = await register(client)
        assert of(made, "spf")["value"] == "v=spf1 include:spf.news.test ~all"
        name_server.publish([of(made, "dkim")])
        name_server.txt(NAME, "v=spf1 mx -all")
        lacking = await verify(client, made)
        assert (lacking["status"], of(lacking, "spf")["status"]) == ("failed", "wrong")
        name_server.publish([of(made, "spf")])
        assert (await verify(client, made))["status"] == "verified"


async def test_the_policy_of_a_parent_domain_holds_below_it(client: Client, name_server: NameServer) -> None:
    made = await register(client)
    name_server.txt("_dmarc.example.com", "v=DMARC1; p=reject; sp=none")
    seen = of(await verify(client, made), "dmarc")
    assert seen["reason"] == "The policy is 'none', by the record at _dmarc.example.com."
    assert not any(name == "_dmarc.com" for _, name, _ in name_server.asked)


async def test_a_resolver_that_fails_changes_nothing(
    client: Client, runtime: Runtime, name_server: NameServer
) -> None:
    made = await register(client)
    key = of(made, "dkim")
    name_server.broken.add(key["name"])
    unknown = await verify(client, made)
    assert (unknown["status"], of(unknown, "dkim")["status"]) == ("pending", "unknown")
    assert "could not be looked up" in of(unknown, "dkim")["reason"]

    name_server.broken.clear()
    name_server.publish(made["records"])
    assert (await verify(client, made))["status"] == "verified"
    name_server.broken.add(key["name"])
    for _ in range(2):
        await age(runtime, hours=1_000)
        assert await look_daily(runtime) == ["domains.look_again"]
        again = await client.data("GET", f"/sending-domains/{made['id']}")
        assert (again["status"], of(again, "dkim")["status"]) == ("verified", "unknown")
        assert again["absent_since"] is None


async def test_a_verified_domain_fails_only_after_its_key_was_gone_for_the_grace(
    client: Client, runtime: Runtime, name_server: NameServer
) -> None:
    made = await verified(client, name_server)
    assert await look_daily(runtime) == []

    name_server.zone.clear()
    await age(runtime, hours=25)
    assert await look_daily(runtime) == ["domains.look_again"]
    gone = await client.data("GET", f"/sending-domains/{made['id']}")
    assert (gone["status"], of(gone, "dkim")["status"]) == ("verified", "missing")
    assert gone["absent_since"] is not None

    await age(runtime, hours=71)
    assert await look_daily(runtime) == ["domains.look_again"]
    assert (await client.data("GET", f"/sending-domains/{made['id']}"))["status"] == "verified"

    await age(runtime, hours=25)
    assert await look_daily(runtime) == ["domains.look_again"]
    assert (await client.data("GET", f"/sending-domains/{made['id']}"))["status"] == "failed"
    assert await look_daily(runtime) == []

    found = (await client.get("/audit-log")).json()["data"]
    entries = [entry for entry in found if entry["action"] != "call"]
    assert entries.pop()["action"] == "key.created"
    assert [entry["action"] for entry in entries] == ["sending_domain.failed", "sending_domain.verified"]
    assert (entries[0]["key_id"], entries[0]["ip"]) == (None, None)
    assert entries[0]["details"]["absent"] == [of(made, "dkim")["name"]]
    assert entries[1]["key_id"].startswith("key_")


async def test_a_record_that_comes_back_in_time_ends_the_grace(
    client: Client, runtime: Runtime, name_server: NameServer
) -> None:
    made = await verified(client, name_server)
    zone = dict(name_server.zone)
    for is_there in (False, True, False):
        name_server.zone = zone if is_there else {}
        await age(runtime, hours=50)
        await look_daily(runtime)
    last = await client.data("GET", f"/sending-domains/{made['id']}")
    assert (last["status"], last["absent_since"]) == ("verified", last["checked_at"])


async def test_a_second_run_of_the_daily_look_asks_nobody(
    client: Client, runtime: Runtime, name_server: NameServer
) -> None:
    made = await verified(client, name_server)
    await age(runtime, hours=25)
    for _ in range(2):  # Two processes whose passes came at once.
        await verifying.enqueue_due(runtime.db, runtime.settings.dns)
    assert await run_due(runtime) == ["domains.look_again"]
    name_server.asked.clear()
    async with runtime.db.read() as session:
        (row,) = await session.scalars(select(SendingDomain.id))
    await verifying.look_again(runtime.db, runtime.resolver, runtime.settings, row)
    assert name_server.asked == []
    await client.delete(f"/sending-domains/{made['id']}")
    await verifying.look_again(runtime.db, runtime.resolver, runtime.settings, row)
    assert name_server.asked == []


async def test_what_was_seen_before_a_change_of_the_settings_is_not_shown_as_seen(
    client: Client, runtime: Runtime, name_server: NameServer
) -> None:
    made = await verified(client, name_server)
    async with runtime.db.unit_of_work() as session:
        records = [{**record, "value": "v=DKIM1; k=rsa; p=AAAA"} for record in made["records"][:1]]
        await session.execute(update(SendingDomain).values(records=records))
    shown = await client.data("GET", f"/sending-domains/{made['id']}")
    assert of(shown, "dkim")["status"] == "unchecked"


async def test_only_who_may_change_a_domain_may_have_it_looked_up(
    client: Client,
    make_client: MakeClient,
    make_project: MakeProject,
    project: Project,
    name_server: NameServer,
) -> None:
    made = await register(client)
    path = f"/sending-domains/{made['id']}/verify"
    stranger = await make_client(await make_project())
    reader = await make_client(project, scopes=("domains:read",))
    restricted = await make_client(project, from_domains=("example.org",))
    await stranger.expect_error("POST", path, 404, "not_found")
    await reader.expect_error("POST", path, 403, "forbidden")
    await restricted.expect_error("POST", path, 403, "forbidden")
    assert name_server.asked == []


async def test_a_call_with_its_key_again_does_not_look_again(client: Client, name_server: NameServer) -> None:
    made = await register(client)
    path, headers = f"/sending-domains/{made['id']}/verify", {"Idempotency-Key": "k1"}
    first = await client.post(path, headers=headers)
    name_server.asked.clear()
    second = await client.post(path, headers=headers)
    assert (second.headers["Idempotent-Replayed"], second.json()) == ("true", first.json())
    assert name_server.asked == []


async def test_what_a_zone_holds_is_kept_in_part_and_in_letters(
    client: Client, name_server: NameServer
) -> None:
    made = await register(client)
    name_server.txt(of(made, "dkim")["name"], *(f"v={number}" + "x\u202e" * 600 for number in range(9)))
    seen = of(await verify(client, made), "dkim")
    assert ([len(value) for value in seen["found"]], seen["status"]) == ([1_000] * 5, "wrong")
    assert "\u202e" not in seen["found"][0]


async def test_an_answer_too_large_for_a_datagram_is_asked_for_by_tcp(name_server: NameServer) -> None:
    name_server.txt("big.example.com", "x" * 3_000)
    assert await Resolver(name_server.settings).txt("big.example.com") == ["x" * 3_000]
    assert [protocol for protocol, _, _ in name_server.asked] == ["UDP", "TCP"]


async def test_a_resolver_that_is_silent_is_not_waited_for_beyond_the_limit(name_server: NameServer) -> None:
    name_server.silent.add("news.example.com")
    hasty = name_server.settings.model_copy(update={"timeout": 0.1, "lifetime": 0.2})
    with pytest.raises(LookupFailed, match="no answer in time"):
        await Resolver(hasty).txt("news.example.com")


async def test_a_record_has_its_time_however_many_questions_it_takes(name_server: NameServer) -> None:
    class Endless(Resolver):
        async def txt(self, name: str) -> list[str]:
            await asyncio.sleep(3_600)
            return []

    hasty = name_server.settings.model_copy(update={"lifetime": 0.1})
    name = "_dmarc.news.example.com"
    record = Record(RecordPurpose.dmarc, RecordType.TXT, name, "v=DMARC1; p=none", is_required=False)
    (seen,) = (await looking.look(Endless(hasty), [record])).values()
    assert (seen.status, seen.reason) == (
        RecordStatus.unknown,
        "It could not be looked up in time. Try again.",
    )


async def test_a_name_that_no_question_can_hold_could_not_be_looked_up(name_server: NameServer) -> None:
    with pytest.raises(LookupFailed):
        await Resolver(name_server.settings).txt(".".join(["a" * 60] * 5))
    assert name_server.asked == []


def test_nameservers_are_addresses_with_or_without_a_port() -> None:
    assert place("192.0.2.53") == ("192.0.2.53", 53)
    assert place("192.0.2.53:5353") == ("192.0.2.53", 5353)
    assert place("2001:db8::53") == ("2001:db8::53", 53)
    assert place("[2001:db8::53]:5353") == ("2001:db8::53", 5353)
    for text in ("ns.example.com", "192.0.2.53:0", "192.0.2.53:99999", ""):
        with pytest.raises(ValueError, match=r"does not appear to be"):
            place(text)
