"""The one write of each round: the outcomes of a block, and the next block opened.

Both belong into one transaction (see `newsletter.delivery.sending`), and a worker makes a
hundred of them a second. So on PostgreSQL it is one statement, `_ROUND`: for a block of 64 it
took 1/27 of the CPU time of this process that the same steps took through a session (0.7 ms
against 18, medians of interleaved rounds on a busy machine). On SQLite it is one visit to its thread
(`newsletter.delivery.visiting`). The steps are written out in `_step_by_step`, which both are held to:
tests run both ways and compare the books.
"""

import json
import sqlite3
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import case, select
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts import queries as accounts
from newsletter.audience import queries as audience
from newsletter.audience import service as audience_service
from newsletter.delivery import announcing, brake, ledger
from newsletter.delivery.ledger import Books, Decision, LostBatch
from newsletter.delivery.models import Mailing, MailingStatus, Message, Outcome
from newsletter.delivery.visiting import Visit
from newsletter.events.vocabulary import EventType
from newsletter.kit import clock
from newsletter.kit.db import Database
from newsletter.kit.direct import Direct
from newsletter.kit.visits import Visits
from newsletter.plans import service as plans
from newsletter.plans.catalogue import Resource
from newsletter.providers.base import Purpose
from newsletter.settings import DeliverySettings
from newsletter.suppressions import queries as suppressions
from newsletter.tallies import service as tallies
from newsletter.tallies.spans import quarter_of

SUPPRESSED = "the address is suppressed"
UNSUBSCRIBED = f"{SUPPRESSED}: unsubscribe"
"""Of who left after the audience was frozen, and of whom nothing else is known."""
LEFT = "no longer subscribed"
WITHDRAWN = "withdrawn before it was begun"


@dataclass(frozen=True, slots=True)
class Gate:
    """What is asked of each recipient again, in the transaction before their DATA."""

    project_id: UUID
    list_id: UUID | None
    sender_domain: str
    settings: DeliverySettings
    """How much may bounce before the mailing pauses itself."""
    listened: frozenset[EventType] = frozenset()
    """The events of sending that somebody is told of."""
    purpose: Purpose = Purpose.marketing


@dataclass(frozen=True, slots=True)
class Round:
    """``opened`` are the messages that may go on the wire now: none unless the mailing runs."""

    status: MailingStatus
    opened: frozenset[int]


async def write(
    db: Database, books: Books, gate: Gate, decisions: Sequence[Decision], wanted: Sequence[int]
) -> Round:
    """Writes ``decisions`` and sets to ``sending`` those of ``wanted`` that may still be mailed.

    Safe to repeat after a commit whose answer was lost. Raises `LostBatch` when the batch has
    another owner by now; nothing is written then.
    """
    # A bad address and a listener reach into other slices, which a single statement should not.
    is_plain = not gate.listened and not any(each.is_bad_address for each in decisions)
    if db.direct is not None and is_plain:
        return await _in_one_statement(db.direct, books, gate, decisions, wanted)
    if db.visits is not None and is_plain:
        return await _in_one_visit(db.visits, books, gate, decisions, wanted)
    async with db.unit_of_work() as session:
        return await _step_by_step(session, books, gate, decisions, wanted)


async def _step_by_step(
    session: AsyncSession, books: Books, gate: Gate, decisions: Sequence[Decision], wanted: Sequence[int]
) -> Round:
    await ledger.fence(session, books)
    await _write(session, books, gate, decisions)
    await _suppress_refused(session, books, gate, decisions)
    status = (
        await session.execute(select(Mailing.status).where(Mailing.id == books.mailing_id))
    ).scalar_one()
    if status is not MailingStatus.running or not wanted:
        return Round(status, frozenset())
    judged = await judge(session, books, gate, wanted)
    await _write(session, books, gate, judged)
    stopped = {decision.seq for decision in judged}
    opened = await ledger.open_block(session, books, [seq for seq in wanted if seq not in stopped])
    return Round(status, frozenset(opened))


async def _write(session: AsyncSession, books: Books, gate: Gate, decisions: Sequence[Decision]) -> None:
    written = await ledger.write(session, books, decisions)
    await announcing.announce_outcomes(session, gate.listened, books.mailing_id, written)


async def judge(session: AsyncSession, books: Books, gate: Gate, wanted: Collection[int]) -> list[Decision]:
    """Who of these must not be mailed after all."""
    levels = (Message.address_key, gate.project_id, gate.list_id, gate.sender_domain)
    is_suppressed = suppressions.is_suppressed(*levels, is_marketing=gate.purpose is Purpose.marketing)
    # Whether there is more against mailing them than that they left.
    is_refused = suppressions.is_suppressed(*levels, is_marketing=False)
    if gate.purpose is Purpose.marketing and gate.list_id is None:
        # A single mail is to nobody's subscription; who left every list since it was asked for gets none.
        is_suppressed |= audience.has_left(Message.address_key, gate.project_id)
    has_left = Message.subscriber_id.is_not(None) & ~audience.is_active(Message.subscriber_id)
    is_erased = ~Message.address.contains("@")
    reason = case(
        (is_suppressed & is_refused, SUPPRESSED), (is_suppressed, UNSUBSCRIBED), (has_left | is_erased, LEFT)
    )
    statement = select(Message.seq, reason).where(*ledger.numbered(books.mailing_id, wanted))
    found = await session.execute(statement)
    return _judged([(seq, why) for seq, why in found if why is not None])


def _judged(reasons: Iterable[tuple[int, str]]) -> list[Decision]:
    return [
        Decision(seq, Outcome.skipped if why == LEFT else Outcome.suppressed, why) for seq, why in reasons
    ]


async def _suppress_refused(
    session: AsyncSession, books: Books, gate: Gate, decisions: Sequence[Decision]
) -> None:
    """An address that its own server calls bad is never mailed again (RFC 3463 §3.2)."""
    refused = [each.seq for each in decisions if each.is_bad_address]
    if not refused:
        return
    await brake.apply(session, books.mailing_id, gate.settings)
    project = await accounts.project_by_id(session, gate.project_id)
    keys = select(Message.address_key).where(*ledger.numbered(books.mailing_id, refused))
    for address_key in (await session.scalars(keys)).all():
        if project is not None:
            await audience_service.mark_bounced(session, project, address_key, source="refused while sending")


async def _in_one_visit(
    visits: Visits, books: Books, gate: Gate, decisions: Sequence[Decision], wanted: Sequence[int]
) -> Round:
    quarter = quarter_of(clock.now())
    is_marketing = gate.purpose is Purpose.marketing
    words = {
        "scopes": json.dumps(suppressions.scopes(gate.project_id, gate.list_id, gate.sender_domain)),
        "is_marketing": is_marketing,
        "is_to_nobodys_list": is_marketing and gate.list_id is None,
        "suppressed": SUPPRESSED,
        "unsubscribed": UNSUBSCRIBED,
        "left": LEFT,
    }

    def steps(connection: sqlite3.Connection) -> Round:
        # As in `_step_by_step`, with which this is compared.
        visit = Visit(connection, books, words, quarter)
        visit.fence()
        visit.write(decisions)
        status, opened = visit.status(), frozenset[int]()
        if status is MailingStatus.running and wanted:
            judged = _judged(visit.judge(wanted))
            visit.write(judged)
            stopped = {decision.seq for decision in judged}
            opened = visit.open_block([seq for seq in wanted if seq not in stopped])
        visit.count()
        return Round(status, opened)

    return await visits.transaction(steps)


_OPEN, _REFUSED = ledger.quoted(ledger.OPEN), ledger.quoted(ledger.REFUSED)


def _may_follow(later: str) -> str:
    """Whether the outcome in this expression may follow that of the message ``m``.

    Not as a list of pairs, which the planner spreads over both sides of a join: it looked through
    the whole mailing for rows of which one half of a pair holds, and judged each recipient 16 times.
    """
    cases = " ".join(
        f"WHEN '{one}' THEN ARRAY[{ledger.quoted(after)}]" for one, after in ledger.AFTER.items() if after
    )
    return f"{later} = ANY (CASE m.outcome {cases} ELSE ARRAY[]::text[] END)"


_COUNTS = ", ".join(
    f"coalesce(sum(number) FILTER (WHERE outcome = '{outcome}'), 0)::int AS {outcome}"
    for outcome in ledger.COUNTED
)
_DECIDED = " + ".join(f"c.{outcome}" for outcome in ledger.COUNTED)
_SPENT = " + ".join(f"c.{outcome}" for outcome in ledger.COUNTED if outcome in ledger.SPENT)
_ADDED = ", ".join(f"{outcome} = b.{outcome} + c.{outcome}" for outcome in ledger.COUNTED)
_AMONG_SCOPES = "= ANY($7)"

# As all that finds rows here, it names their range, although the numbers alone say which ones: the key is
# the best index then, whatever the statistics say of a mailing that was made a second ago. Without it
# each block read the whole mailing: of 6,000, and 33 ms instead of 3 on the same busy machine (ADR 35).
# The numbers of those that are wanted are looked up in a table of hashes, and no join: the planner takes
# them for one row, and had each message of a block compared with each number. That was two fifths of the
# statement: 62 → 36 µs of the server for a mail, medians of campaigns of 10,000 on the same machine.
_WANTED = f"""m.mailing_id = $4 AND m.seq BETWEEN $15 AND $16
        AND (m.seq IN (SELECT unnest($6::text::int[]))) IS TRUE
        AND EXISTS (SELECT FROM mine)
        AND (SELECT status FROM mailing) = '{MailingStatus.running}'"""  # noqa: S608

_NOTED = f"""
noted AS (
    INSERT INTO message_attempts (mailing_id, seq, attempt, at, server_id, outcome, code, enhanced, reason)
    SELECT $4, t.seq, t.attempt, clock_timestamp(), t.server_id, t.outcome, t.code, t.enhanced, t.reason
    FROM told t
    -- As an array: as a join it was three quarters of the statement, though nearly nothing is refused.
    WHERE t.attempt IS NOT NULL AND t.outcome IN ({_REFUSED}) AND t.seq = ANY (ARRAY(SELECT seq FROM written))
    ON CONFLICT DO NOTHING
),
"""  # noqa: S608


def _round_sql(noted: str) -> str:
    return f"""
WITH mine AS (
    -- The fence. The row stays locked until the commit, so nobody can take the batch before.
    SELECT id FROM batches WHERE id = $1 AND token = $2 FOR NO KEY UPDATE
),
mailing AS MATERIALIZED (
    SELECT status FROM mailings WHERE id = $4
),
told AS (
    -- As JSON, because asyncpg asks each element of an array what it is: 8 arrays of 64 took
    -- longer than all the rest of the call.
    SELECT unnest(g.seqs) AS seq, g.* FROM json_to_recordset($5::text::json) AS g(
        seqs int[], outcome text, reason text, retry_after float8, server_id uuid, attempt int,
        code int, enhanced text)
),
written AS (
    UPDATE messages m
    SET outcome = t.outcome, reason = t.reason, server_id = t.server_id,
        next_attempt_at = clock_timestamp() + make_interval(secs => t.retry_after),
        decided_at = CASE WHEN t.outcome IN ({_OPEN}) THEN NULL ELSE clock_timestamp() END,
        -- Back from ``sending`` untried: the attempt did not happen.
        attempts = m.attempts - (m.outcome = 'sending' AND t.outcome = 'pending')::int
    FROM told t
    WHERE m.mailing_id = $4 AND m.seq = t.seq AND EXISTS (SELECT FROM mine)
        AND m.seq BETWEEN $13 AND $14
        AND {_may_follow("t.outcome")}
    RETURNING m.seq, m.outcome, m.server_id
),
{noted}
judged AS (
    SELECT m.seq, CASE
        WHEN {suppressions.suppressed_sql("m.address_key", _AMONG_SCOPES, "$11")} THEN
            CASE WHEN {suppressions.suppressed_sql("m.address_key", _AMONG_SCOPES, "false")}
            THEN '{SUPPRESSED}' ELSE '{UNSUBSCRIBED}' END
        -- A mailing to no list is to nobody's subscription, as in `judge`.
        WHEN $17 AND {audience.has_left_sql("m.address_key", "$12")} THEN '{UNSUBSCRIBED}'
        WHEN m.address NOT LIKE '%@%'
            OR m.subscriber_id IS NOT NULL AND NOT {audience.active_sql("m.subscriber_id")} THEN '{LEFT}'
        END AS reason
    FROM messages m WHERE {_WANTED}
    OFFSET 0
),
barred AS MATERIALIZED (
    SELECT seq, reason FROM judged WHERE reason IS NOT NULL
),
stopped AS (
    UPDATE messages m
    SET outcome = j.outcome, reason = j.reason, server_id = NULL, next_attempt_at = NULL,
        decided_at = clock_timestamp()
    FROM (SELECT *, CASE reason WHEN '{LEFT}' THEN 'skipped' ELSE 'suppressed' END AS outcome FROM barred) j
    WHERE m.mailing_id = $4 AND m.seq = j.seq AND m.seq BETWEEN $15 AND $16 AND {_may_follow("j.outcome")}
    RETURNING m.outcome
),
opened AS (
    UPDATE messages m
    SET outcome = 'sending', next_attempt_at = NULL, attempts = m.attempts + (m.outcome <> 'sending')::int
    WHERE {_WANTED} AND m.seq NOT IN (SELECT seq FROM barred)
        -- ``sending`` already: from a commit of this very worker whose answer was lost.
        AND m.outcome IN ({ledger.quoted([*ledger.before(Outcome.sending), Outcome.sending])})
    RETURNING m.seq
),
changed AS MATERIALIZED (
    SELECT outcome, server_id, count(*) AS number
    -- Who must not be mailed met no server this time.
    FROM (SELECT outcome, server_id FROM written UNION ALL SELECT outcome, NULL FROM stopped) AS one
    WHERE outcome IN ({ledger.quoted(ledger.COUNTED)}) GROUP BY outcome, server_id
),
tallied AS (
    INSERT INTO tallies (project_id, mailing_id, server_id, quarter, metric, number)
    SELECT $12, $4, server_id, {tallies.QUARTER_SQL}, outcome, number FROM changed
),
c AS (
    SELECT {_COUNTS} FROM changed
),
counted AS (
    UPDATE batches b
    SET renewed_at = clock_timestamp(), lease_until = clock_timestamp() + make_interval(secs => $3),
        -- A decided message is progress: earlier crashes of the batch were not its fault.
        crashes = CASE WHEN {_DECIDED} > 0 THEN 0 ELSE b.crashes END, {_ADDED}
    FROM c WHERE b.id = $1 AND EXISTS (SELECT FROM mine)
),
settled AS (
    {plans.settle_sql(used=_SPENT, decided=_DECIDED, numbers="c", owner="$8", resource="$9", period="$10")}
)
SELECT (SELECT id FROM mine), (SELECT status FROM mailing), (SELECT array_agg(seq) FROM opened)
"""  # noqa: S608 - built from words of the code, at import


# Nearly nothing is refused, and to get ready for what is took a tenth of the statement.
_ROUND, _ROUND_WITH_REFUSED = _round_sql(""), _round_sql(_NOTED)


async def _in_one_statement(
    direct: Direct, books: Books, gate: Gate, decisions: Sequence[Decision], wanted: Sequence[int]
) -> Round:
    is_marketing = gate.purpose is Purpose.marketing
    told = [each.seq for each in decisions]
    is_any_refused = any(each.outcome in ledger.REFUSED for each in decisions)
    is_ours, status, opened = await direct.row(
        _ROUND_WITH_REFUSED if is_any_refused else _ROUND,
        books.batch_id,
        books.token,
        books.lease,
        books.mailing_id,
        _as_json(decisions),
        f"{{{','.join(map(str, wanted))}}}",
        suppressions.scopes(gate.project_id, gate.list_id, gate.sender_domain),
        books.quota_owner_id,
        Resource.mails.value,
        books.quota_period,
        is_marketing,
        books.project_id,
        min(told, default=0),
        max(told, default=0),
        min(wanted, default=0),
        max(wanted, default=0),
        is_marketing and gate.list_id is None,
    )
    if is_ours is None:
        raise LostBatch(str(books.batch_id))
    return Round(MailingStatus(status), frozenset(opened or ()))


def _as_json(decisions: Sequence[Decision]) -> str:
    """What `_ROUND` reads back: most messages of a block share one decision."""
    return json.dumps(
        [
            {
                "seqs": seqs,
                "outcome": one.outcome,
                "reason": one.reason,
                "retry_after": one.retry_after,
                "server_id": one.server_id and str(one.server_id),
                "attempt": one.attempt,
                "code": one.code,
                "enhanced": one.enhanced,
            }
            for one, seqs in ledger.grouped(decisions)
        ]
    )
