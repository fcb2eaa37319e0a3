"""The router over scripted servers: who takes the mail, and who takes it when that one does not."""

import asyncio
from collections import Counter
from typing import Any

import pytest
from sqlalchemy import text

from newsletter.accounts.project import Project
from newsletter.kit import ids
from newsletter.providers.base import Permanent, Purpose, Receipt, ServerDown, Temporary, Throttled, Unknown
from newsletter.routing import meter
from newsletter.runtime import Runtime
from tests.client import Client
from tests.routing.conftest import Connect
from tests.routing.scripted import Scripted, mails, router, send, stream

Servers = dict[str, Any]


@pytest.fixture
async def two(connect: Connect, live_client: Client) -> Servers:
    """A first and a second server, by rules of priority 1 and 2."""
    made = {}
    for number, name in enumerate(("first", "second"), start=1):
        made[name] = await connect(name=name, config={"host": name})
        body = {"server_id": made[name]["id"], "priority": number}
        await live_client.data("POST", "/routing/rules", 201, json=body)
    return made


def busy(_: object) -> Temporary:
    return Temporary("450 4.2.1 busy", code=450, enhanced="4.2.1")


def down(_: object) -> ServerDown:
    return ServerDown("cannot connect")


async def test_each_mail_goes_through_the_first_server_and_names_it(
    runtime: Runtime, live: Project, two: Servers
) -> None:
    first, second = Scripted(), Scripted()
    way = router(runtime, {"first": first, "second": second})
    results = await send(way, stream(live.id), mails(10))
    server_id = ids.private("srv", two["first"]["id"])
    assert {(type(one), one.server_id) for one in results} == {(Receipt, server_id)}
    assert sorted(first.seen) == sorted(mail.recipient for mail in mails(10))
    assert second.seen == []
    await way.aclose()
    assert first.is_closed
    assert second.is_closed


async def test_without_servers_the_installation_s_own_takes_the_mail(runtime: Runtime, live: Project) -> None:
    default = Scripted()
    way = router(runtime, {"default": default})
    way._has_default = True
    results = await send(way, stream(live.id), mails(3))
    assert {(type(one), one.server_id) for one in results} == {(Receipt, None)}
    assert len(default.seen) == 3


async def test_mail_without_any_server_waits(runtime: Runtime, live: Project) -> None:
    [result] = await send(router(runtime, {}), stream(live.id), mails(1))
    assert isinstance(result, Throttled)
    assert result.retry_after > 0


@pytest.mark.parametrize("answer", [busy, down])
async def test_a_server_that_is_busy_or_away_passes_its_mail_on(
    runtime: Runtime, live: Project, two: Servers, answer: Any
) -> None:
    first, second = Scripted(answer), Scripted()
    results = await send(router(runtime, {"first": first, "second": second}), stream(live.id), mails(5))
    assert {(type(one), one.server_id) for one in results} == {
        (Receipt, ids.private("srv", two["second"]["id"]))
    }


async def test_a_mail_that_all_refuse_for_now_is_refused_for_now(
    runtime: Runtime, live: Project, two: Servers
) -> None:
    way = router(runtime, {"first": Scripted(busy), "second": Scripted(down)})
    [result] = await send(way, stream(live.id), mails(1))
    assert isinstance(result, Temporary)
    way = router(runtime, {"first": Scripted(down), "second": Scripted(down)})
    [result] = await send(way, stream(live.id), mails(1))
    assert isinstance(result, ServerDown)


@pytest.mark.parametrize("kind", [Permanent, Unknown])
async def test_what_is_final_or_perhaps_taken_is_never_tried_elsewhere(
    runtime: Runtime, live: Project, two: Servers, kind: type[Permanent | Unknown]
) -> None:
    second = Scripted()
    way = router(runtime, {"first": Scripted(lambda _: kind("said so")), "second": second})
    results = await send(way, stream(live.id), mails(4))
    assert {type(one) for one in results} == {kind}
    assert second.seen == []


async def test_a_stopping_worker_begins_nothing_and_blames_nobody(
    runtime: Runtime, live: Project, two: Servers
) -> None:
    first, second = Scripted(), Scripted()
    way = router(runtime, {"first": first, "second": second}, breaker_failures=1)
    results = await send(way, stream(live.id), mails(4), lambda: True)
    assert {type(one) for one in results} == {ServerDown}
    assert first.seen == second.seen == []
    assert {type(one) for one in await send(way, stream(live.id), mails(4))} == {Receipt}


async def test_purpose_and_list_choose_the_server(
    runtime: Runtime, live: Project, live_client: Client, connect: Connect
) -> None:
    for host in ("bulk", "fast"):
        server = await connect(name=host, config={"host": host})
        body = {"server_id": server["id"], "priority": 5}
        if host == "fast":
            body |= {"purpose": "transactional", "priority": 1}
        await live_client.data("POST", "/routing/rules", 201, json=body)
    servers = {"bulk": Scripted(), "fast": Scripted()}
    way = router(runtime, servers)
    await send(way, stream(live.id), mails(3))
    await send(way, stream(live.id, purpose=Purpose.transactional), mails(2, "example.net"))
    assert (len(servers["bulk"].seen), len(servers["fast"].seen)) == (3, 2)


async def test_weights_share_the_mail_and_a_retry_goes_the_same_way(
    runtime: Runtime, live: Project, live_client: Client, connect: Connect
) -> None:
    for host, weight in (("a", 3), ("b", 1)):
        server = await connect(name=host, config={"host": host})
        body = {"server_id": server["id"], "weight": weight}
        await live_client.data("POST", "/routing/rules", 201, json=body)
    first, again = {"a": Scripted(), "b": Scripted()}, {"a": Scripted(), "b": Scripted()}
    await send(router(runtime, first), stream(live.id), mails(400))
    await send(router(runtime, again), stream(live.id), mails(400))
    assert 260 <= len(first["a"].seen) <= 340
    assert {name: sorted(one.seen) for name, one in first.items()} == {
        name: sorted(one.seen) for name, one in again.items()
    }
    # As `POST /routing/explain` says.
    for mail in mails(8):
        body = {"from": "news@acme.example.com", "to": mail.recipient, "message_id": mail.message_id}
        explained = await live_client.data("POST", "/routing/explain", json=body)
        assert mail.recipient in first[explained["server_name"]].seen


async def test_a_full_quota_sends_the_rest_through_the_next_server(
    runtime: Runtime, live: Project, two: Servers, live_client: Client
) -> None:
    path = f"/sending-servers/{two['first']['id']}"
    await live_client.data("PATCH", path, json={"quota_per_day": 7})
    first, second = Scripted(), Scripted()
    way = router(runtime, {"first": first, "second": second})
    assert {type(one) for one in await send(way, stream(live.id), mails(20))} == {Receipt}
    assert (len(first.seen), len(second.seen)) == (7, 13)
    assert (await live_client.data("GET", path))["used"] == {"hour": 7, "day": 7, "month": 7}
    explained = await live_client.data(
        "POST", "/routing/explain", json={"from": "news@acme.example.com", "to": "u1@example.org"}
    )
    assert explained["server_id"] == two["second"]["id"]
    assert explained["considered"][0]["verdict"] == "quota_used_up"


async def test_mail_waits_where_no_other_server_takes_it(
    runtime: Runtime, live: Project, connect: Connect
) -> None:
    await connect(name="only", config={"host": "only"}, quota_per_hour=3)
    only = Scripted()
    results = await send(router(runtime, {"only": only}), stream(live.id), mails(5))
    assert Counter(type(one) for one in results) == {Receipt: 3, Throttled: 2}
    assert all(0 < one.retry_after <= 3600 for one in results if isinstance(one, Throttled))
    assert len(only.seen) == 3


async def test_refused_mail_gives_its_units_back(
    runtime: Runtime, live: Project, live_client: Client, connect: Connect
) -> None:
    server = await connect(name="only", config={"host": "only"}, quota_per_day=100)
    answers = {"u1@example.org": Permanent("550"), "u2@example.org": busy(None)}
    only = Scripted(lambda mail: answers.get(mail.recipient, Receipt("250")))
    await send(router(runtime, {"only": only}), stream(live.id), mails(10))
    shown = await live_client.data("GET", f"/sending-servers/{server['id']}")
    assert shown["used"]["day"] == 8


async def test_a_quota_holds_over_all_workers(runtime: Runtime, live: Project, connect: Connect) -> None:
    await connect(name="only", config={"host": "only"}, quota_per_day=100)
    workers = [Scripted(seconds=0.001) for _ in range(4)]
    ways = [router(runtime, {"only": each}) for each in workers]
    found = await asyncio.gather(
        *(send(way, stream(live.id), mails(64, f"d{n}.example")) for n, way in enumerate(ways))
    )
    results = [one for each in found for one in each]
    assert Counter(type(one) for one in results) == {Receipt: 100, Throttled: 4 * 64 - 100}
    assert sum(len(each.seen) for each in workers) == 100


async def test_a_changed_server_is_made_anew_and_the_old_one_closed_after_its_block(
    runtime: Runtime, live: Project, live_client: Client, connect: Connect
) -> None:
    server = await connect(name="only", config={"host": "old"})
    old, new = Scripted(), Scripted()
    old.go_on.clear()
    way = router(runtime, {"old": old, "new": new})
    under_way = asyncio.create_task(send(way, stream(live.id), mails(8)))
    while not old.seen:
        await asyncio.sleep(0.005)
    await live_client.data("PATCH", f"/sending-servers/{server['id']}", json={"config": {"host": "new"}})
    await send(way, stream(live.id), mails(3, "example.net"))
    assert len(new.seen) == 3
    assert not old.is_closed
    old.go_on.set()
    assert {type(one) for one in await under_way} == {Receipt}
    await asyncio.sleep(0.01)
    await send(way, stream(live.id), mails(1, "example.net", first=9))
    assert old.is_closed


async def test_a_deleted_server_gets_nothing_more(
    runtime: Runtime, live: Project, live_client: Client, connect: Connect
) -> None:
    server = await connect(name="only", config={"host": "only"})
    only = Scripted()
    way = router(runtime, {"only": only})
    await send(way, stream(live.id), mails(2))
    assert (await live_client.delete(f"/sending-servers/{server['id']}")).status_code == 204
    await asyncio.sleep(0.01)
    [result] = await send(way, stream(live.id), mails(1))
    assert isinstance(result, Throttled)
    assert only.is_closed


async def test_a_server_whose_secrets_cannot_be_read_is_away(
    runtime: Runtime, live: Project, two: Servers
) -> None:
    async with runtime.db.unit_of_work() as session:
        await session.execute(text("UPDATE sending_servers SET secrets = '' WHERE name = 'first'"))
    second = Scripted()
    results = await send(router(runtime, {"second": second}), stream(live.id), mails(2))
    assert {type(one) for one in results} == {Receipt}
    assert len(second.seen) == 2


async def test_while_the_database_is_away_servers_are_as_they_were(
    runtime: Runtime, live: Project, two: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Scripted()
    way = router(runtime, {"first": first, "second": Scripted()})
    await send(way, stream(live.id), mails(1))

    def away() -> None:
        raise OSError("gone")

    monkeypatch.setattr(runtime.db, "read", away)
    monkeypatch.setattr(runtime.db, "unit_of_work", away)
    assert {type(one) for one in await send(way, stream(live.id), mails(3))} == {Receipt}
    # Who knows nothing yet promises nothing.
    [result] = await send(router(runtime, {}), stream(live.id), mails(1))
    assert isinstance(result, Throttled)


async def test_totals_are_kept_for_the_metrics(runtime: Runtime, live: Project, two: Servers) -> None:
    answers = {"u1@example.org": Permanent("550"), "u2@example.org": busy(None)}
    first = Scripted(lambda mail: answers.get(mail.recipient, Receipt("250")))
    way = router(runtime, {"first": first, "second": Scripted()})
    await send(way, stream(live.id), mails(10))
    await way.aclose()
    async with runtime.db.read() as session:
        rows = {row.server_id: (row.sent, row.deferred, row.failed) for row in await meter.totals(session)}
    assert rows == {
        ids.private("srv", two["first"]["id"]): (8, 1, 1),
        ids.private("srv", two["second"]["id"]): (1, 0, 0),
    }
