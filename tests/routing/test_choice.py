"""The choice among servers: shares by weight, an order for each message, and who moves when."""

from collections import Counter
from uuid import UUID

import pytest

from newsletter.providers.base import Purpose
from newsletter.routing.choice import DEFAULT_SERVER, Rule, Server, order, tiers
from tests.routing.scripted import stream

PROJECT = UUID(int=1)
A, B, C = (Server(UUID(int=n), name) for n, name in ((10, "a"), (11, "b"), (12, "c")))
DEFAULT = Server(DEFAULT_SERVER, "default")
KEYS = [f"msg_{number}" for number in range(4_000)]


def rule(number: int, server: Server, **fields: object) -> Rule:
    return Rule(UUID(int=100 + number), server.id, **fields)  # type: ignore[arg-type]


def chosen(servers: list[Server], rules: list[Rule], **mail: object) -> Counter[str]:
    """How often each server is the first choice."""
    found = tiers(stream(PROJECT, **mail), {one.id: one for one in servers}, rules, DEFAULT)
    return Counter(order(found, key)[0].server.name for key in KEYS)


@pytest.mark.parametrize(("one", "two", "share"), [(1, 1, 0.5), (3, 1, 0.75), (99, 1, 0.99)])
def test_equals_share_by_weight(one: int, two: int, share: float) -> None:
    found = chosen([A, B], [rule(1, A, weight=one), rule(2, B, weight=two)])
    assert found["a"] / len(KEYS) == pytest.approx(share, abs=0.03)


def test_a_priority_comes_before_any_weight() -> None:
    rules = [rule(1, A, priority=2, weight=1_000), rule(2, B, priority=1)]
    assert chosen([A, B], rules) == {"b": len(KEYS)}
    found = tiers(stream(PROJECT), {A.id: A, B.id: B}, rules, DEFAULT)
    assert [each.server.name for each in order(found, "msg_1")] == ["b", "a"]


def test_a_new_server_takes_its_share_and_moves_nobody_else() -> None:
    two, three = ({one.id: one for one in some} for some in ([A, B], [A, B, C]))
    before = {key: order(tiers(stream(PROJECT), two, [], None), key)[0].server.name for key in KEYS}
    after = {key: order(tiers(stream(PROJECT), three, [], None), key)[0].server.name for key in KEYS}
    assert {after[key] for key in KEYS if after[key] != before[key]} == {"c"}
    assert Counter(after.values())["c"] / len(KEYS) == pytest.approx(1 / 3, abs=0.03)


def test_each_candidate_is_in_the_order_once() -> None:
    rules = [rule(1, A), rule(2, B), rule(3, A, priority=20), rule(4, C, priority=20)]
    found = order(tiers(stream(PROJECT), {one.id: one for one in (A, B, C)}, rules, DEFAULT), "msg_7")
    assert sorted(each.server.name for each in found[:2]) == ["a", "b"]
    assert [each.server.name for each in found[2:]] == ["c"]


@pytest.mark.parametrize(
    ("fields", "mail", "is_met"),
    [
        ({}, {}, True),
        ({"purpose": Purpose.marketing}, {}, True),
        ({"purpose": Purpose.transactional}, {}, False),
        ({"from_domain": "acme.example.com"}, {}, True),
        ({"from_domain": "example.com"}, {}, False),
        ({"list_id": UUID(int=5)}, {"list_id": UUID(int=5)}, True),
        ({"list_id": UUID(int=5)}, {}, False),
        ({"is_active": False}, {}, False),
        ({"purpose": Purpose.marketing, "list_id": UUID(int=5)}, {}, False),
    ],
)
def test_a_rule_counts_when_all_that_is_set_fits(
    fields: dict[str, object], mail: dict[str, object], is_met: bool
) -> None:
    """Else the one active server that no rule names shares with it."""
    found = chosen([A, B], [rule(1, A, **fields)], **mail)
    assert set(found) == ({"a"} if is_met else {"a", "b"})


def test_the_installation_s_server_is_for_those_who_have_none() -> None:
    off, foreign = (
        Server(UUID(int=20), "off", is_active=False),
        Server(UUID(int=21), "foreign", from_domains=frozenset({"example.net"})),
    )
    assert set(chosen([], [])) == {"default"}
    assert set(chosen([off, foreign], [rule(1, off), rule(2, foreign)])) == {"default"}
    assert set(chosen([off, foreign, A], [])) == {"a"}
    assert tiers(stream(PROJECT), {off.id: off}, [], None) == ()
