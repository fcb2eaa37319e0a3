"""How well a project sends, from 0 to 100: a table of what is judged, by which thresholds, and what to do.

Nothing here reads anything: the same numbers give the same score. `docs/analytics.md` has the table and
where its thresholds come from; a test compares both.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median

from newsletter.tallies.models import Metric
from newsletter.tallies.queries import Tallied

WINDOW_DAYS = 30
FEWEST = 100
"""Mails sent, below which one bounce more or less would decide: they are not judged."""
STEADY_DAYS = 5
"""Days with mail, below which nobody can tell what is usual."""
GRADES = ((95, "A+"), (90, "A"), (80, "B"), (70, "C"), (60, "D"), (0, "F"))
"""From so many points on."""


class Judged(StrEnum):
    complaints = "complaints"
    bounces = "bounces"
    authentication = "authentication"
    unsubscribes = "unsubscribes"
    opens = "opens"
    clicks = "clicks"
    steadiness = "steadiness"


class Level(StrEnum):
    """``good``: full points; ``bad``: none, or a threshold of the mailbox providers is reached."""

    good = "good"
    warning = "warning"
    bad = "bad"


@dataclass(frozen=True, slots=True)
class Rule:
    """Full points up to ``good``, none from ``bad`` on, and in between in proportion. Where ``good`` is the
    larger one, more is better."""

    weight: int
    good: float
    bad: float
    advice: str
    cap: int = 100
    """The most points that the whole score may have once ``bad`` is reached."""

    def share(self, value: float) -> float:
        return min(1.0, max(0.0, (self.bad - value) / (self.bad - self.good)))


RULES: Mapping[Judged, Rule] = {
    Judged.complaints: Rule(
        30,
        0.001,
        0.003,
        "Mail only who asked for it, and make leaving as easy as the spam button.",
        cap=59,
    ),
    Judged.bounces: Rule(
        25, 0.02, 0.05, "Take out addresses that were bought, guessed or not mailed for a year.", cap=69
    ),
    Judged.authentication: Rule(
        20, 1.0, 0.0, "Register the domains you send from, publish their records, and verify them; add DMARC."
    ),
    Judged.unsubscribes: Rule(10, 0.005, 0.02, "Mail less often, or say at the sign-up what is to come."),
    Judged.opens: Rule(5, 0.2, 0.05, "Write to who reads, and let those go who have not read for months."),
    Judged.clicks: Rule(5, 0.02, 0.0, "Give each mail one thing to do, where it is seen at once."),
    Judged.steadiness: Rule(
        5, 3.0, 10.0, "Raise the volume of a day step by step: a spike looks like a break-in."
    ),
}


@dataclass(frozen=True, slots=True)
class Numbers:
    """What was counted in the window."""

    total: Tallied
    sent_by_day: Sequence[int]
    is_live: bool
    authenticated: float | None
    """Share of the mail that is from verified domains, three quarters of it where DMARC is missing; None
    where no mail was sent."""


@dataclass(frozen=True, slots=True)
class Insight:
    """One thing that was judged. ``points`` of ``weight``."""

    judged: Judged
    level: Level
    value: float
    weight: int
    points: float
    advice: str | None
    """What to do; None where all is well."""


@dataclass(frozen=True, slots=True)
class Health:
    score: int | None
    """None where too little was sent to judge."""
    grade: str | None
    insights: tuple[Insight, ...]


def judge(numbers: Numbers) -> Health:
    values = _values(numbers)
    if not values:
        return Health(None, None, ())
    insights = tuple(_insight(judged, value) for judged, value in values.items())
    # What could not be judged takes its weight with it.
    share = sum(each.points for each in insights) / sum(each.weight for each in insights)
    caps = [RULES[each.judged].cap for each in insights if each.level is Level.bad]
    score = min([round(100 * share), *caps])
    return Health(score, next(grade for least, grade in GRADES if score >= least), insights)


def _insight(judged: Judged, value: float) -> Insight:
    rule = RULES[judged]
    share = rule.share(value)
    level = Level.good if share == 1 else Level.bad if share == 0 else Level.warning
    advice = None if level is Level.good else rule.advice
    return Insight(judged, level, round(value, 4), rule.weight, round(rule.weight * share, 2), advice)


def _values(numbers: Numbers) -> dict[Judged, float]:
    """What can be judged, in the order of the table."""
    count = {metric: numbers.total.get(metric, 0) for metric in Metric}
    sent, arrived = count[Metric.sent], count[Metric.sent] - count[Metric.bounced]
    if sent < FEWEST:
        return {}
    found = {Judged.bounces: count[Metric.bounced] / sent}
    if arrived > 0:
        found[Judged.complaints] = count[Metric.complained] / arrived
        found[Judged.unsubscribes] = count[Metric.unsubscribed] / arrived
        # Without any, nobody tracks them.
        if count[Metric.opens] or count[Metric.machine_opens]:
            found[Judged.opens] = count[Metric.unique_opens] / arrived
        if count[Metric.clicks] or count[Metric.machine_clicks]:
            found[Judged.clicks] = count[Metric.unique_clicks] / arrived
    # Nothing leaves a sandbox, so nobody looks for its domains.
    if numbers.is_live and numbers.authenticated is not None:
        found[Judged.authentication] = numbers.authenticated
    days = [day for day in numbers.sent_by_day if day > 0]
    if len(days) >= STEADY_DAYS:
        found[Judged.steadiness] = max(days) / median(days)
    return {judged: found[judged] for judged in RULES if judged in found}
