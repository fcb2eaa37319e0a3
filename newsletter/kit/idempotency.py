"""``Idempotency-Key``: the same call twice has one effect and one answer.

First a short transaction commits a *running* row with a lease. The handler's last
transaction writes its effect and the serialised answer together, so that neither exists
without the other. An error deletes the row; a lease that ran out frees the key. The answer
is encrypted, as it may hold a secret that is shown once.
(IETF draft-ietf-httpapi-idempotency-key-header.)
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from pydantic import BaseModel
from sqlalchemy import Index, bindparam, delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from newsletter.kit.bulk import plain_table
from newsletter.kit.crypto import Vault
from newsletter.kit.db import Base, Database, db_in, db_now, insert, status_type, text
from newsletter.kit.errors import Conflict, ValidationFailed
from newsletter.kit.together import Together

LEASE_SECONDS = 180.0
"""Longer than the longest call, which is a generation with its deadline."""
KEEP_SECONDS = 24 * 3600.0
MAX_KEY_LENGTH = 255
_CLAIMS_AT_ONCE = 500


class KeyState(StrEnum):
    running = "running"
    answered = "answered"


class IdempotencyKey(Base):
    __tablename__ = "idempotency_keys"
    __table_args__ = (Index("ix_idempotency_keys_created_at", "created_at"),)

    project_id: Mapped[UUID] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(text(MAX_KEY_LENGTH), primary_key=True)
    fingerprint: Mapped[bytes]
    state: Mapped[KeyState] = mapped_column(status_type(KeyState, "state"))
    token: Mapped[int] = mapped_column(default=1)
    lease_until: Mapped[datetime]
    status: Mapped[int | None]
    answer: Mapped[bytes | None]
    created_at: Mapped[datetime]


class KeyReused(ValidationFailed):
    code, status = "idempotency_key_reused", 422
    summary = "This Idempotency-Key was used for another call. Use a new key for each new call."


class InProgress(Conflict):
    code, status = "idempotency_in_progress", 409
    summary = "A call with this Idempotency-Key is still running. Ask again after Retry-After."


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to carry out the call of one key."""

    project_id: UUID
    key: str
    token: int


@dataclass(frozen=True, slots=True)
class Stored:
    """The answer that an earlier call with this key got."""

    status: int
    body: bytes


def fingerprint(method: str, path: str, body: bytes, bounds: bytes = b"") -> bytes:
    """``bounds`` are those of who calls: an answer that was given to one who may see more is not
    repeated to one who may see less."""
    said = (method.encode(), path.encode(), body, *([bounds] if bounds else ()))
    return hashlib.sha256(b"\0".join(said)).digest()


@dataclass(frozen=True, slots=True)
class Call:
    """A call with a key, and the fingerprint of what it asks for."""

    project_id: UUID
    key: str
    print: bytes


# Not told to anybody before the effect is on disk, which is later in the same log: so it need not wait. In
# the order of the keys: of two processes that claim the same ones, each gets or waits in turn.
_CLAIM_NEW = f"""
WITH early AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true))
INSERT INTO idempotency_keys (project_id, key, fingerprint, state, token, lease_until, created_at)
SELECT new.project_id, new.key, new.fingerprint, '{KeyState.running}', 1,
    clock_timestamp() + make_interval(secs => {LEASE_SECONDS}), clock_timestamp()
FROM early CROSS JOIN unnest($1::uuid[], $2::text[], $3::bytea[]) AS new (project_id, key, fingerprint)
ON CONFLICT DO NOTHING RETURNING project_id, key
"""  # noqa: S608 - built from words of the code, at import


class Claims:
    """Claims keys for one event loop. On PostgreSQL those of one moment are claimed together: a key that
    nobody used before took a transaction of its own, with a statement made anew and a wait for the disk."""

    def __init__(self, db: Database, vault: Vault) -> None:
        self._db, self._vault = db, vault
        self._new = Together(self._claim_new, most=_CLAIMS_AT_ONCE)

    async def begin(self, call: Call) -> Claim | Stored:
        """Claims the key, or returns what is stored. Raises `KeyReused` or `InProgress`."""
        if self._db.direct is not None and await self._new(call):
            return Claim(call.project_id, call.key, 1)
        return await begin(self._db, self._vault, call)

    async def _claim_new(self, calls: Sequence[Call]) -> Sequence[bool]:
        assert self._db.direct is not None
        first = {(call.project_id, call.key): call for call in reversed(calls)}
        wanted = [first[key] for key in sorted(first)]
        rows = await self._db.direct.rows(
            _CLAIM_NEW,
            [call.project_id for call in wanted],
            [call.key for call in wanted],
            [call.print for call in wanted],
        )
        claimed = {id(first[project_id, key]) for project_id, key in rows}
        return [id(call) in claimed for call in calls]


async def begin(db: Database, vault: Vault, call: Call) -> Claim | Stored:
    """`Claims.begin` in a transaction of its own."""
    project_id, key = call.project_id, call.key
    async with db.unit_of_work() as session:
        row = {
            "project_id": project_id,
            "key": key,
            "fingerprint": call.print,
            "state": KeyState.running,
            "token": 1,
            "lease_until": db_in(LEASE_SECONDS),
            "created_at": db_now(),
        }
        made = insert(session, IdempotencyKey).values(row).on_conflict_do_nothing()
        if (await session.execute(made.returning(IdempotencyKey.token))).first():
            return Claim(project_id, key, 1)
        mine = (IdempotencyKey.project_id == project_id) & (IdempotencyKey.key == key)
        # A lapsed lease or a key older than a day is free again: same row, next token.
        lapsed = or_(
            (IdempotencyKey.state == KeyState.running) & (IdempotencyKey.lease_until < db_now()),
            IdempotencyKey.created_at < db_in(-KEEP_SECONDS),
        )
        renewed = (
            update(IdempotencyKey)
            .where(mine, lapsed)
            .values({**row, "token": IdempotencyKey.token + 1, "status": None, "answer": None})
            .returning(IdempotencyKey.token)
        )
        token = (await session.execute(renewed)).scalar_one_or_none()
        if token is not None:
            return Claim(project_id, key, token)
        found = (await session.execute(select(IdempotencyKey).where(mine))).scalar_one_or_none()
    if found is None:
        # Freed by an error between our two statements; the caller may simply try again.
        raise InProgress(retry_after=1)
    if found.fingerprint != call.print:
        raise KeyReused()
    if found.state is KeyState.running or found.status is None or found.answer is None:
        raise InProgress(retry_after=1)
    return Stored(found.status, vault.decrypt(found.answer, _context(project_id, key)))


# Made once: each call with a key waits for it.
_KEYS = plain_table(IdempotencyKey)
_ANSWER = (
    update(_KEYS)
    .where(
        _KEYS.c.project_id == bindparam("project"),
        _KEYS.c.key == bindparam("claimed"),
        _KEYS.c.token == bindparam("held"),
    )
    .values(state=KeyState.answered, status=bindparam("said"), answer=bindparam("sealed"))
    .returning(_KEYS.c.token)
)


async def answer(session: AsyncSession, vault: Vault, claim: Claim, status: int, body: bytes) -> None:
    """Stores the answer in the transaction of the effect.

    Raises `InProgress` when the lease was lost to another call: the effect is rolled back.
    """
    values = {
        "project": claim.project_id,
        "claimed": claim.key,
        "held": claim.token,
        "said": status,
        "sealed": vault.encrypt(body, _context(claim.project_id, claim.key)),
    }
    if (await session.execute(_ANSWER, values)).first() is None:
        raise InProgress(retry_after=1)


async def free(db: Database, claim: Claim) -> None:
    """Gives the key back after an error, so that the same call may be tried again."""
    async with db.unit_of_work() as session:
        await session.execute(
            delete(IdempotencyKey).where(
                IdempotencyKey.project_id == claim.project_id,
                IdempotencyKey.key == claim.key,
                IdempotencyKey.token == claim.token,
                IdempotencyKey.state == KeyState.running,
            )
        )


async def free_all(db: Database) -> None:
    """Gives every key of a call that did not end back: for a start of the embedded mode, where nobody else
    carries calls out. Their effects were rolled back with the process that did."""
    async with db.unit_of_work() as session:
        await session.execute(delete(IdempotencyKey).where(IdempotencyKey.state == KeyState.running))


async def prune(session: AsyncSession) -> None:
    await session.execute(delete(IdempotencyKey).where(IdempotencyKey.created_at < db_in(-KEEP_SECONDS)))


def _context(project_id: UUID, key: str) -> str:
    return f"idempotency:{project_id}:{key}"


class Once:
    """What a handler needs of all this: ``await once.keep(session, 201, out)`` beside its effect.

    Without a key on the call it does nothing.
    """

    def __init__(self, vault: Vault, claim: Claim | None) -> None:
        self._vault, self._claim = vault, claim

    @property
    def is_wanted(self) -> bool:
        """Whether the call has a key."""
        return self._claim is not None

    async def keep(self, session: AsyncSession, status: int, out: BaseModel | None) -> None:
        """Stores the answer; ``out`` is the body, None for an empty one."""
        if self._claim is not None:
            body = b"" if out is None else out.model_dump_json().encode()
            await answer(session, self._vault, self._claim, status, body)
