"""Writes a block of opens and clicks: what each is, the log, the message's counters, the counts.

All of it in one transaction, and for each open and click once, however often its block comes.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby, product
from math import inf
from operator import attrgetter
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.dml import ReturningInsert

from newsletter.delivery import announcing
from newsletter.delivery import queries as delivery
from newsletter.delivery.announcing import Described
from newsletter.delivery.links import MessageRef
from newsletter.delivery.queries import MessageKey, Tracked
from newsletter.events import service as events
from newsletter.events.service import Noted
from newsletter.events.vocabulary import Trace
from newsletter.feedback import classing
from newsletter.feedback.classing import Request, Step, Verdict
from newsletter.feedback.models import MessageEngagement
from newsletter.kit.bulk import plain_table
from newsletter.kit.db import JSONObject, insert, is_postgresql
from newsletter.tallies import service as tallies
from newsletter.tallies.models import Metric
from newsletter.tallies.service import Count
from newsletter.tallies.spans import quarter_of


class Entry(NamedTuple):
    """One request for a pixel or a tracked link, with the id of its event, which it has before it
    is written anywhere."""

    id: UUID
    at: float
    message: MessageRef
    url: str | None
    """Where a click leads; None for an open."""
    request: Request

    @property
    def key(self) -> MessageKey:
        return self.message.mailing_id, self.message.seq

    def packed(self) -> JSONObject:
        """For the spool."""
        message = self.message.pack().hex()
        request = self.request._asdict()
        return {"id": self.id.hex, "at": self.at, "message": message, "url": self.url, "request": request}

    @classmethod
    def unpacked(cls, packed: Any) -> "Entry":
        message = MessageRef.unpack(bytes.fromhex(packed["message"]))
        request = Request(**packed["request"])
        return cls(UUID(packed["id"]), packed["at"], message, packed["url"], request)


@dataclass(slots=True)
class _Seen:
    """What a block adds to the counters of one message."""

    counts: Counter[Metric]
    opened: list[datetime]
    clicked: list[datetime]
    """Those of people."""


@dataclass(frozen=True, slots=True)
class _Judged:
    """One entry of a message that is there, and the event that it becomes."""

    key: MessageKey
    is_human: bool
    is_click: bool
    event: Noted


_Sums = Counter[tuple[UUID, UUID | None, int, Metric]]
"""By mailing, server, quarter and metric: a block of a thousand opens is a few changes."""


async def record(session: AsyncSession, block: Sequence[Entry], *, too_soon: float) -> None:
    """Safe to repeat. Those of a message that is gone are dropped: there is no project that they
    would belong to. ``too_soon``: seconds after the sending within which nobody reads."""
    by_message: dict[MessageKey, list[Entry]] = {}
    for entry in block:
        by_message.setdefault(entry.key, []).append(entry)
    known = await delivery.tracked(session, by_message.keys())
    described = await announcing.described(session, known.keys())
    judged = _judged(by_message, known, described, too_soon)
    written = await events.note_many(session, [each.event for each in judged])
    if len(written) < len(judged):
        judged = [each for each in judged if each.event.id in written]
    seen: dict[MessageKey, _Seen] = {}
    sums: dict[UUID, _Sums] = {}
    for key, group in groupby(judged, attrgetter("key")):
        about, mine = known[key], _Seen(Counter(), [], [])
        seen[key], summed = mine, sums.setdefault(about.project_id, Counter())
        for each in group:
            metric, at = _METRICS[each.is_click, each.is_human], each.event.at
            mine.counts[metric] += 1
            if metric is Metric.opens:
                mine.opened.append(at)
            elif metric is Metric.clicks:
                mine.clicked.append(at)
            summed[key[0], about.server_id, quarter_of(at), metric] += 1
    for key, metric, at in await _count(session, seen):
        sums[known[key].project_id][key[0], known[key].server_id, quarter_of(at), metric] += 1
    for project_id, summed in sums.items():
        counts = [Count(*what, number) for what, number in summed.items()]
        await tallies.add(session, project_id, counts)


_METRICS = {
    (False, True): Metric.opens,
    (False, False): Metric.machine_opens,
    (True, True): Metric.clicks,
    (True, False): Metric.machine_clicks,
}
"""By whether it is a click, and whether it is a person's."""


def _judged(
    by_message: Mapping[MessageKey, Sequence[Entry]],
    known: Mapping[MessageKey, Tracked],
    described: Mapping[MessageKey, Described],
    too_soon: float,
) -> list[_Judged]:
    """Those of one message stand together."""
    found = {key: entries for key, entries in by_message.items() if key in described}
    bursts = classing.at_once(
        Step(key, each.at, each.url)
        for key, entries in found.items()
        for each in entries
        if each.url is not None
    )
    judged = []
    for key, entries in found.items():
        for each in entries:
            is_burst = bool(bursts) and each.url is not None and Step(key, each.at, each.url) in bursts
            verdict = _judge(each, known[key], too_soon, is_burst=is_burst)
            event = _event(each, described[key], verdict)
            judged.append(_Judged(key, verdict.is_human, each.url is not None, event))
    return judged


def _judge(entry: Entry, about: Tracked, too_soon: float, *, is_burst: bool) -> Verdict:
    # A sandbox has no servers that look at mail, and a test reads it as soon as it is there.
    after: float | None = inf
    if not about.is_test:
        after = None if about.decided_at is None else entry.at - about.decided_at.timestamp()
    return classing.judge(entry.request, seconds_after=after, too_soon=too_soon, is_burst=is_burst)


def _event(entry: Entry, about: Described, verdict: Verdict) -> Noted:
    seen: dict[str, Any] = {
        "by": "human" if verdict.is_human else "machine",
        "reason": verdict.reason.value,
        "user_agent": entry.request.user_agent,
        "network": entry.request.network,
    }
    if entry.url is not None:
        seen["url"] = entry.url
    kind, what = (Trace.opened, "open") if entry.url is None else (Trace.clicked, "click")
    data: JSONObject = {"message": about.message, what: seen}
    return Noted(
        entry.id,
        about.project_id,
        kind,
        # As the row has it: of who was erased it names nobody, whatever the link says.
        events.anonymous(data) if about.is_erased else data,
        datetime.fromtimestamp(entry.at, UTC),
        message_id=str(about.message["id"]),
        mailing_id=entry.message.mailing_id,
    )


async def _count(
    session: AsyncSession, seen: Mapping[MessageKey, _Seen]
) -> list[tuple[MessageKey, Metric, datetime]]:
    """Raises the counters of the messages. Returns whose first open or click by a person it was."""
    if not seen:
        return []
    # In the order of the key: two blocks with the same messages do not wait in a circle.
    rows = [_row(key, seen[key]) for key in sorted(seen)]
    connection = await session.connection()
    counted = await connection.execute(_raising(session), rows, execution_options=_PAGED)
    firsts: list[tuple[MessageKey, Metric, datetime]] = []
    for mailing_id, seq, opens, clicks in counted:
        mine = seen[mailing_id, seq]
        if 0 < opens == len(mine.opened):
            firsts.append(((mailing_id, seq), Metric.unique_opens, min(mine.opened)))
        if 0 < clicks == len(mine.clicked):
            firsts.append(((mailing_id, seq), Metric.unique_clicks, min(mine.clicked)))
    return firsts


_PAGED = {"insertmanyvalues_page_size": 100}
"""Rows of one statement: its text differs by their number, and the driver prepares each text once."""


def _raising(session: AsyncSession) -> ReturningInsert[UUID, int, int, int]:
    """One row's counters and times, put beside or added to those that are there."""
    table = plain_table(MessageEngagement)
    statement = insert(session, MessageEngagement)
    new = statement.excluded
    raised: dict[str, Any] = {name: table.c[name] + new[name] for name in _COUNTERS}
    # SQLite's least and greatest of several, and they know nothing where one is null.
    least, greatest = (func.least, func.greatest) if is_postgresql(session) else (func.min, func.max)
    for pick, name in product((least, greatest), ("opened_at", "clicked_at")):
        column = f"{'first' if pick is least else 'last'}_{name}"
        old = table.c[column]
        raised[column] = func.coalesce(pick(old, new[column]), old, new[column])
    upsert = statement.on_conflict_do_update(index_elements=["mailing_id", "seq"], set_=raised)
    return upsert.returning(table.c.mailing_id, table.c.seq, table.c.opens, table.c.clicks)


_COUNTERS = ("opens", "machine_opens", "clicks", "machine_clicks")


def _row(key: MessageKey, seen: _Seen) -> dict[str, object]:
    return {
        "mailing_id": key[0],
        "seq": key[1],
        **{name: seen.counts[Metric(name)] for name in _COUNTERS},
        "first_opened_at": min(seen.opened, default=None),
        "last_opened_at": max(seen.opened, default=None),
        "first_clicked_at": min(seen.clicked, default=None),
        "last_clicked_at": max(seen.clicked, default=None),
    }
