"""The write of a round on SQLite: its steps by the driver itself, in one visit to its thread.

The steps are those of `newsletter.delivery.rounds`, where each is made by SQLAlchemy, and for a block
with bad addresses or listeners still is: tests run both ways and compare the books. Of a process that
sends on SQLite, the statements of its rounds were two fifths of its processor time (ADR 59).

All of it runs under the write lock of the whole file, so the fence need not write to hold its row, and
what was read still holds when it is written. Python counts rows where it can, instead of reading them:
each row that comes back hands the interpreter from one thread to the other and back.
"""

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any
from uuid import UUID

from newsletter.audience import queries as audience
from newsletter.delivery import ledger
from newsletter.delivery.ledger import Books, Decision, LostBatch
from newsletter.delivery.models import MailingStatus, Outcome
from newsletter.kit.db import SQLITE_NOW, sqlite_in
from newsletter.plans import service as plans
from newsletter.plans.catalogue import Resource
from newsletter.suppressions import queries as suppressions

Values = Mapping[str, Any]


_FENCE = "SELECT 1 FROM batches WHERE id = :batch AND token = :token"
_STATUS = "SELECT status FROM mailings WHERE id = :mailing"

# By the range of the key, and by the numbers in a form that fits no index (`ledger.numbered`).
_NUMBERED = (
    "m.mailing_id = :mailing AND m.seq BETWEEN :first AND :last "
    "AND +m.seq IN (SELECT value FROM json_each(:seqs))"
)


def _write_sql(outcome: Outcome) -> str:
    decided_at = "NULL" if outcome in ledger.OPEN else SQLITE_NOW
    # Back from ``sending`` untried: the attempt did not happen.
    untried = "m.attempts - (m.outcome = 'sending')" if outcome is Outcome.pending else "m.attempts"
    return f"""
    UPDATE messages AS m
    SET outcome = '{outcome}', reason = :reason, server_id = :server, attempts = {untried},
        next_attempt_at = {sqlite_in(":retry_after")}, decided_at = {decided_at}
    WHERE {_NUMBERED} AND m.outcome IN ({ledger.quoted(ledger.before(outcome))})
    {"RETURNING seq" if outcome in ledger.REFUSED else ""}
    """  # noqa: S608 - built from words of the code, at import


_WRITE = MappingProxyType({outcome: _write_sql(outcome) for outcome in Outcome})
_NOTE = f"""
INSERT INTO message_attempts (mailing_id, seq, attempt, at, server_id, outcome, code, enhanced, reason)
SELECT :mailing, value, :attempt, {SQLITE_NOW}, :server, :outcome, :code, :enhanced, :reason
FROM json_each(:seqs) WHERE true ON CONFLICT DO NOTHING
"""  # noqa: S608

_AMONG_SCOPES = "IN (SELECT value FROM json_each(:scopes))"
_JUDGE = f"""
SELECT seq, reason FROM (
    SELECT m.seq, CASE
        WHEN {suppressions.suppressed_sql("m.address_key", _AMONG_SCOPES, ":is_marketing")} THEN
            CASE WHEN {suppressions.suppressed_sql("m.address_key", _AMONG_SCOPES, "false")} THEN :suppressed
            ELSE :unsubscribed END
        WHEN :is_to_nobodys_list AND {audience.has_left_sql("m.address_key", ":project")} THEN :unsubscribed
        WHEN m.address NOT LIKE '%@%'
            OR m.subscriber_id IS NOT NULL AND NOT {audience.active_sql("m.subscriber_id")} THEN :left
        END AS reason
    FROM messages AS m WHERE {_NUMBERED}
)
WHERE reason IS NOT NULL
"""  # noqa: S608

# ``sending`` already: from a commit of this very worker whose answer was lost.
_OPEN = f"""
UPDATE messages AS m
SET outcome = 'sending', attempts = m.attempts + (m.outcome <> 'sending'), next_attempt_at = NULL
WHERE {_NUMBERED} AND m.outcome IN ({ledger.quoted([*ledger.before(Outcome.sending), Outcome.sending])})
"""  # noqa: S608
_OPENED = f"SELECT seq FROM messages AS m WHERE {_NUMBERED} AND m.outcome = 'sending'"  # noqa: S608

_TALLY = """
INSERT INTO tallies (project_id, mailing_id, server_id, quarter, metric, number)
VALUES (:project, :mailing, :server, :quarter, :metric, :number)
"""
_ADDED = ", ".join(f"{outcome} = {outcome} + :{outcome}" for outcome in ledger.COUNTED)
# A decided message is progress: earlier crashes of the batch were not its fault.
_COUNT = f"""
UPDATE batches SET renewed_at = {SQLITE_NOW}, lease_until = {sqlite_in(":lease")}, {_ADDED},
    crashes = CASE WHEN :decided > 0 THEN 0 ELSE crashes END
WHERE id = :batch
"""  # noqa: S608
_SETTLE = plans.settle_sql(
    used=":spent",
    decided=":decided",
    numbers="(SELECT 1)",
    owner=":quota_owner",
    resource=":resource",
    period=":period",
)


class Visit:
    """One round of a batch, in a transaction that `newsletter.kit.visits` began. ``words`` are the
    values that `_JUDGE` asks for besides those of the books, ``quarter`` is the present one of the
    tallies."""

    def __init__(self, connection: sqlite3.Connection, books: Books, words: Values, quarter: int) -> None:
        self._connection, self._books = connection, books
        self._changed = Counter[tuple[Outcome, UUID | None]]()
        self._values = {
            **words,
            "quarter": quarter,
            "project": books.project_id.hex,
            "mailing": books.mailing_id.hex,
            "batch": books.batch_id.hex,
            "token": books.token,
            "lease": books.lease,
            "quota_owner": books.quota_owner_id.hex,
            "resource": Resource.mails.value,
            "period": books.quota_period,
        }

    def fence(self) -> None:
        """Raises `LostBatch`."""
        if self._execute(_FENCE).fetchone() is None:
            raise LostBatch(str(self._books.batch_id))

    def status(self) -> MailingStatus:
        [status] = self._execute(_STATUS).fetchone()
        return MailingStatus(status)

    def write(self, decisions: Iterable[Decision]) -> None:
        """`ledger.write`, but for the counts."""
        for one, seqs in ledger.grouped(decisions):
            values = _near(seqs) | {
                "outcome": one.outcome.value,
                "reason": one.reason,
                "server": one.server_id and one.server_id.hex,
                "retry_after": one.retry_after,
                "attempt": one.attempt,
                "code": one.code,
                "enhanced": one.enhanced,
            }
            cursor = self._execute(_WRITE[one.outcome], values)
            if one.outcome in ledger.REFUSED:
                written = [seq for (seq,) in cursor.fetchall()]
                self._changed[one.outcome, one.server_id] += len(written)
                if one.attempt is not None:
                    self._execute(_NOTE, values | {"seqs": json.dumps(written)})
            else:
                self._changed[one.outcome, one.server_id] += cursor.rowcount

    def judge(self, wanted: Sequence[int]) -> list[tuple[int, str]]:
        """Who of these must not be mailed after all, and why."""
        return self._execute(_JUDGE, _near(wanted)).fetchall()

    def open_block(self, seqs: Sequence[int]) -> frozenset[int]:
        """`ledger.open_block`."""
        near = _near(seqs)
        if self._execute(_OPEN, near).rowcount == len(seqs):
            return frozenset(seqs)
        return frozenset(seq for (seq,) in self._execute(_OPENED, near))

    def count(self) -> None:
        """Adds up what was written, settles its quota, and renews the lease. The last step."""
        decided: Counter[Outcome] = Counter()
        for (outcome, server_id), number in self._changed.items():
            if outcome in ledger.COUNTED and number:
                decided[outcome] += number
                server = server_id and server_id.hex
                self._execute(_TALLY, {"server": server, "metric": outcome.value, "number": number})
        numbers = {outcome.value: decided[outcome] for outcome in ledger.COUNTED}
        self._execute(_COUNT, numbers | {"decided": decided.total()})
        if decided:
            spent = sum(decided[outcome] for outcome in ledger.SPENT)
            self._execute(_SETTLE, {"spent": spent, "decided": decided.total()})

    def _execute(self, statement: str, values: Values = MappingProxyType({})) -> sqlite3.Cursor:
        return self._connection.execute(statement, {**self._values, **values})


def _near(seqs: Sequence[int]) -> dict[str, Any]:
    """Values for `_NUMBERED`."""
    return {
        "first": min(seqs, default=0),
        "last": max(seqs, default=0),
        "seqs": json.dumps(seqs, separators=(",", ":")),
    }
