"""Which servers a mail may go through, in which order: decided from facts alone, without a clock.

A rule counts when it is active, fits the mail, and names a server that is active and may send
for the sender's domain. Rules that count are tried by priority, the lowest number first; among
equals each message has an order of its own, in which a server comes first as often as its
weight says. Where no rule counts, all such servers of the project are equals; where there is
none, the installation's own server takes the mail.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from uuid import UUID

from newsletter.providers.base import MailStream, Purpose
from newsletter.routing.warmup import WarmUp

DEFAULT_SERVER = UUID(int=0)
"""Stands for the installation's own server, which has no row."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a server may be given; None is no limit."""

    per_hour: int | None = None
    per_day: int | None = None
    per_month: int | None = None
    per_second: float | None = None
    warm_up: WarmUp | None = None

    @property
    def are_none(self) -> bool:
        return self == _NO_LIMITS


_NO_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Server:
    """A sending server as the choice sees it."""

    id: UUID
    name: str
    version: int = 1
    is_active: bool = True
    from_domains: frozenset[str] = frozenset()
    limits: Limits = _NO_LIMITS

    def sends_for(self, domain: str) -> bool:
        return not self.from_domains or domain in self.from_domains


@dataclass(frozen=True, slots=True)
class Rule:
    id: UUID
    server_id: UUID
    priority: int = 10
    weight: int = 1
    purpose: Purpose | None = None
    from_domain: str | None = None
    list_id: UUID | None = None
    is_active: bool = True

    def mismatch(self, stream: MailStream) -> str | None:
        """The first thing that does not fit the mail; None when all does."""
        if self.purpose is not None and self.purpose is not stream.purpose:
            return f"it is for {self.purpose.value} mail"
        if self.from_domain is not None and self.from_domain != stream.sender_domain:
            return f"it is for mail from {self.from_domain}"
        if self.list_id is not None and self.list_id != stream.list_id:
            return "it is for another list"
        return None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A server that may take the mail, by which rule, and how often among its equals."""

    server: Server
    rule: Rule | None
    weight: int


Tier = tuple[Candidate, ...]


def tiers(
    stream: MailStream, servers: Mapping[UUID, Server], rules: Iterable[Rule], default: Server | None
) -> tuple[Tier, ...]:
    """The candidates in groups of equals, the first group first. Empty: nothing may take the mail."""
    usable = {
        server.id: server
        for server in servers.values()
        if server.is_active and server.sends_for(stream.sender_domain)
    }
    seen: set[UUID] = set()
    grouped: dict[int, list[Candidate]] = {}
    for rule in sorted(rules, key=lambda rule: (rule.priority, rule.id)):
        if not rule.is_active or rule.server_id not in usable or rule.mismatch(stream) is not None:
            continue
        if rule.server_id not in seen:
            # A server that two rules name counts where it is named first.
            seen.add(rule.server_id)
            grouped.setdefault(rule.priority, []).append(Candidate(usable[rule.server_id], rule, rule.weight))
    if grouped:
        return tuple(tuple(grouped[priority]) for priority in sorted(grouped))
    if usable:
        return (tuple(Candidate(usable[key], None, 1) for key in sorted(usable)),)
    return ((Candidate(default, None, 1),),) if default is not None else ()


def order(tiers: Sequence[Tier], key: str) -> list[Candidate]:
    """All candidates in the order in which this message tries them: its first choice, then where
    it goes when that one cannot take it. The same key has the same order, in every process."""
    if len(tiers) == 1 and len(tiers[0]) == 1:
        return list(tiers[0])
    return [each for tier in tiers for each in sorted(tier, key=lambda one: _distance(one, key))]


def _distance(candidate: Candidate, key: str) -> float:
    """Weighted rendezvous hashing: a server that is added or taken away moves its own share of
    the messages and no other. An exponential variable of rate ``weight`` is the smallest of its
    group with the probability of its share."""
    digest = blake2b(candidate.server.id.bytes + key.encode(), digest_size=8).digest()
    uniform = (int.from_bytes(digest) + 1) / (2**64 + 1)
    return -math.log(uniform) / candidate.weight
