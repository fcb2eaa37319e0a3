"""Says which server would take a mail now, by which rule, and why each other does not."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.providers.base import MailStream
from newsletter.routing import meter, roster
from newsletter.routing.breaker import CLOSED
from newsletter.routing.choice import DEFAULT_SERVER, Candidate, Rule, Server, order
from newsletter.routing.meter import Used
from newsletter.routing.roster import DEFAULT_NAME, Roster


class Verdict(StrEnum):
    chosen = "chosen"
    alternative = "alternative"
    """Would take the mail if those before it could not."""
    inactive = "inactive"
    rule_inactive = "rule_inactive"
    rule_mismatch = "rule_mismatch"
    domain_mismatch = "domain_mismatch"
    not_named = "not_named"
    """A rule fits, and names other servers."""
    quota_used_up = "quota_used_up"
    breaker_open = "breaker_open"
    throttled = "throttled"


@dataclass(frozen=True, slots=True)
class Considered:
    server_id: UUID | None
    """None for the installation's own server."""
    server_name: str
    rule_id: UUID | None
    verdict: Verdict
    text: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """``retry_after`` is in seconds, where nothing takes the mail now."""

    server_id: UUID | None
    server_name: str | None
    rule_id: UUID | None
    text: str
    retry_after: int | None
    considered: list[Considered]


SANDBOX = Explanation(
    None,
    "the sandbox",
    None,
    "Mail of a test project stays in its sandbox, whatever is configured.",
    None,
    [],
)


async def explain(
    session: AsyncSession, stream: MailStream, *, to_domain: str, key: str, has_default: bool
) -> Explanation:
    """For the message of this key: the same key, the same answer, while nothing changes."""
    if stream.is_test:
        return SANDBOX
    facts = await roster.read(session, stream.project_id, has_default=has_default)
    candidates = order(facts.tiers(stream), key)
    used = await meter.used(session, [each.server.id for each in candidates])
    considered: list[Considered] = []
    chosen: Candidate | None = None
    waits: list[float] = []
    for each in candidates:
        obstacle = _obstacle(facts, each.server, used, to_domain)
        if obstacle is not None:
            waits.append(obstacle.seconds)
            considered.append(_of(each, obstacle.verdict, obstacle.text))
        elif chosen is None:
            chosen = each
            considered.append(_of(each, Verdict.chosen, _why(each)))
        else:
            considered.append(_of(each, Verdict.alternative, "It is next when those before it cannot."))
    considered += _left_out(facts, stream, {each.server.id for each in candidates})
    if chosen is None:
        wait = math.ceil(min(waits)) if waits else None
        text = "Nothing takes the mail now; it waits." if waits else "There is no server for this mail."
        return Explanation(None, None, None, text, wait, considered)
    return Explanation(
        _shown(chosen.server.id),
        chosen.server.name,
        chosen.rule.id if chosen.rule else None,
        _why(chosen),
        None,
        considered,
    )


@dataclass(frozen=True, slots=True)
class _Obstacle:
    verdict: Verdict
    text: str
    seconds: float


def _obstacle(facts: Roster, server: Server, used: Mapping[UUID, Used], to_domain: str) -> _Obstacle | None:
    """What stands in the way of a server that may take the mail."""
    left = facts.breakers.get(server.id, CLOSED).seconds_left(facts.now)
    if left:
        reason = facts.breakers[server.id].reason
        return _Obstacle(
            Verdict.breaker_open, f"It failed, and is tried again in {left:.0f} s: {reason}", left
        )
    limit = facts.throttles.get(server.id, {}).get(to_domain)
    if limit is not None and limit.blocked_until is not None and limit.blocked_until > facts.now:
        left = _seconds(facts.now, limit.blocked_until)
        text = f"{to_domain} takes nothing from it for {left:.0f} s: {limit.reason}"
        return _Obstacle(Verdict.throttled, text, left)
    full = meter.full(used.get(server.id, Used()), server.limits, facts.now)
    if full is not None:
        return _Obstacle(Verdict.quota_used_up, f"{full.reason}; more in {full.seconds:.0f} s", full.seconds)
    return None


def _left_out(facts: Roster, stream: MailStream, candidates: set[UUID]) -> Iterator[Considered]:
    """The rules that do not count, and the servers that no counting rule leads to."""
    for rule in sorted(facts.rules, key=lambda rule: (rule.priority, rule.id)):
        server = facts.servers[rule.server_id]
        found = _against_rule(rule, server, stream)
        if found is not None:
            yield Considered(server.id, server.name, rule.id, *found)
    named = {rule.server_id for rule in facts.rules}
    for server in facts.servers.values():
        if server.id in candidates or server.id in named:
            continue
        yield Considered(server.id, server.name, None, *_against_server(server, stream))
    if facts.default is not None and DEFAULT_SERVER not in candidates:
        text = "It takes mail only where the project has no server for it."
        yield Considered(None, DEFAULT_NAME, None, Verdict.not_named, text)


def _against_rule(rule: Rule, server: Server, stream: MailStream) -> tuple[Verdict, str] | None:
    if not rule.is_active:
        return Verdict.rule_inactive, "The rule is not active."
    mismatch = rule.mismatch(stream)
    if mismatch is not None:
        return Verdict.rule_mismatch, f"The rule does not fit: {mismatch}."
    if not server.is_active or not server.sends_for(stream.sender_domain):
        return _against_server(server, stream)
    return None


def _against_server(server: Server, stream: MailStream) -> tuple[Verdict, str]:
    if not server.is_active:
        return Verdict.inactive, "The server is not active."
    if not server.sends_for(stream.sender_domain):
        return Verdict.domain_mismatch, f"The server does not send for {stream.sender_domain}."
    return Verdict.not_named, "A rule fits the mail, and names other servers."


def _why(candidate: Candidate) -> str:
    if candidate.rule is not None:
        return f"A rule of priority {candidate.rule.priority} and weight {candidate.weight} leads there."
    if candidate.server.id == DEFAULT_SERVER:
        return "The project has no server of its own for this mail."
    return "No rule fits, so all active servers of the project share the mail."


def _of(candidate: Candidate, verdict: Verdict, text: str) -> Considered:
    rule_id = candidate.rule.id if candidate.rule else None
    return Considered(_shown(candidate.server.id), candidate.server.name, rule_id, verdict, text)


def _shown(server_id: UUID) -> UUID | None:
    return None if server_id == DEFAULT_SERVER else server_id


def _seconds(now: datetime, until: datetime) -> float:
    return max(0.0, (until - now).total_seconds())
