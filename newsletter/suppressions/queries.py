"""Reads who must never be mailed: the only gate.

Four levels: global (everything that this installation sends), a project's sender domain,
a project, a list. Each level is one text, its *scope*.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, Select, exists, select, true
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from newsletter.kit.bulk import among_pairs, each_of
from newsletter.kit.crypto import Vault
from newsletter.kit.direct import looked_up
from newsletter.kit.errors import NotFound
from newsletter.kit.prepared import Among, Prepared, Statement
from newsletter.suppressions.models import STRENGTH, Reason, Suppression

Recipients = TypeVar("Recipients", bound=Select[UUID, str, str])

GLOBAL_SCOPE = "global"


def domain_scope(project_id: UUID, domain: str) -> str:
    """The project is part of it: two tenants may send from one domain."""
    return f"domain:{project_id}:{domain.lower()}"


def project_scope(project_id: UUID) -> str:
    return f"project:{project_id}"


def list_scope(list_id: UUID) -> str:
    return f"list:{list_id}"


class Level(StrEnum):
    """How far a suppression goes; the word before the colon of its scope."""

    everywhere = "global"
    domain = "domain"
    project = "project"
    list = "list"


@dataclass(frozen=True, slots=True)
class Reach:
    """A scope taken apart."""

    level: Level
    list_id: UUID | None = None
    domain: str | None = None

    @classmethod
    def of(cls, scope: str) -> "Reach":
        level, _, rest = scope.partition(":")
        if level == Level.list:
            return cls(Level.list, list_id=UUID(rest))
        if level == Level.domain:
            return cls(Level.domain, domain=rest.partition(":")[2])
        return cls(Level(level))


def scopes(project_id: UUID, list_id: UUID | None, sender_domain: str) -> list[str]:
    """The levels that a mail of this project, list and sender must pass."""
    levels = [GLOBAL_SCOPE, domain_scope(project_id, sender_domain), project_scope(project_id)]
    return levels if list_id is None else [*levels, list_scope(list_id)]


def is_suppressed(
    address_key: ColumnElement[str] | InstrumentedAttribute[str],
    project_id: UUID,
    list_id: UUID | None,
    sender_domain: str,
    *,
    is_marketing: bool = True,
) -> ColumnElement[bool]:
    """A condition for a ``WHERE``: the address in this column is suppressed at some level."""
    return exists().where(
        Suppression.address_key == address_key,
        Suppression.scope.in_(scopes(project_id, list_id, sender_domain)),
        *_counting(is_marketing),
    )


def _counting(is_marketing: bool) -> list[ColumnElement[bool]]:
    """Who left gets no marketing any more, and still the receipt of what they buy."""
    return [] if is_marketing else [Suppression.reason != Reason.unsubscribe]


def suppressed_sql(address_key: str, among_scopes: str, is_marketing: str) -> str:
    """`is_suppressed` as text, for a statement written by hand: the name of a column, how the database
    at hand says that a scope is one of those that `scopes` returns (``= ANY($1)``), and the name of a
    parameter that is true or false."""
    return (
        f"EXISTS (SELECT 1 FROM suppressions s WHERE s.address_key = {address_key} AND s.scope {among_scopes}"  # noqa: S608
        f" AND ({is_marketing} OR s.reason <> '{Reason.unsubscribe}'))"
    )


async def reasons(
    session: AsyncSession,
    project_id: UUID,
    list_id: UUID | None,
    sender_domain: str,
    address_keys: Collection[str],
    *,
    is_marketing: bool,
) -> Mapping[str, Reason]:
    """Why which of these addresses may not be mailed, for who names them in a call."""
    rows = await (_REASONS if is_marketing else _REASONS_BUT_LEFT).rows(
        session, keys=list(address_keys), scopes=scopes(project_id, list_id, sender_domain)
    )
    return {row[0]: row[1] for row in rows}


def _reasons(*, is_marketing: bool) -> Prepared:
    def make(among: Among) -> Statement:
        # In a form that fits no index: only that of addresses is to be used.
        held = among.each(Suppression.address_key, "keys", lambda one: among(one.scope, "scopes").is_(true()))
        return select(Suppression.address_key, Suppression.reason).where(held, *_counting(is_marketing))

    return Prepared(make)


_REASONS, _REASONS_BUT_LEFT = _reasons(is_marketing=True), _reasons(is_marketing=False)


def without(recipients: Recipients, project_id: UUID, list_id: UUID | None, sender_domain: str) -> Recipients:
    """The recipients that may be mailed, of a statement that selects an ``address_key``."""
    address_key = recipients.selected_columns["address_key"]
    return recipients.where(~is_suppressed(address_key, project_id, list_id, sender_domain))


def tombstones(vault: Vault, project_id: UUID, address_key: str) -> list[str]:
    """What stands for an erased address, under each secret key, the newest first.

    ``#`` and an HMAC-SHA256 in hexadecimal. It has no ``@``, so no address equals it; it
    differs per project, so tombstones cannot be joined across tenants.
    """
    return [
        _stone(digest) for digest in vault.digests("erased-address", f"{project_id}:{address_key}".encode())
    ]


def _stone(digest: bytes) -> str:
    return f"#{digest.hex()}"


@dataclass(frozen=True, slots=True)
class Standing:
    """What is held against addresses that come to a list."""

    everywhere: Mapping[str, Reason]
    """Why which of them are suppressed in the whole project: the strongest reason of each."""
    left: frozenset[str]
    """Who unsubscribed from this list, whether or not there ever was a row of them."""

    @classmethod
    def of(cls, found: Iterable[tuple[str, Reason, str]]) -> "Standing":
        """Of address keys, reasons and scopes."""
        everywhere: dict[str, Reason] = {}
        left = set()
        for key, reason, scope in sorted(found, key=lambda row: STRENGTH.index(row[1])):
            if Reach.of(scope).level is Level.list:
                left.add(key)
            else:
                everywhere[key] = reason
        return cls(everywhere, frozenset(left))


NOTHING = Standing({}, frozenset())


async def against_joining(
    session: AsyncSession, vault: Vault, project_id: UUID, list_id: UUID, address_keys: Collection[str]
) -> Standing:
    """What stands against these addresses, erased ones included, before they join a list."""
    stored = spellings(vault, project_id, address_keys)
    statement = select(Suppression.address_key, Suppression.reason, Suppression.scope).where(
        each_of(
            session,
            Suppression.address_key,
            stored,
            lambda one: (
                (one.scope == project_scope(project_id))
                | ((one.scope == list_scope(list_id)) & (one.reason == Reason.unsubscribe))
            ).is_(true()),
        )
    )
    found = await session.execute(statement)
    return Standing.of((stored[key], reason, scope) for key, reason, scope in found)


def spellings(vault: Vault, project_id: UUID, address_keys: Collection[str]) -> dict[str, str]:
    """How each address may stand in the table: as it is, or as a tombstone of it."""
    stored = {address_key: address_key for address_key in address_keys}
    prefix = f"{project_id}:"
    names = [f"{prefix}{address_key}".encode() for address_key in address_keys]
    for digests in vault.digests_of_each("erased-address", names):
        stored |= zip((_stone(digest) for digest in digests), address_keys, strict=True)
    return stored


def against_joining_sql(*, of_project: str, of_list: str, spelled: str) -> str:
    """The rows behind `against_joining` as text, as one array of triples in JSON: ``spelled`` is an
    array of what `spellings` returns, the scopes are what `project_scope` and `list_scope` return."""
    found = looked_up(
        "suppressions",
        "address_key",
        "wanted.spelled",
        columns="address_key, reason, scope",
        beside=f"(scope = {of_project} OR scope = {of_list} AND reason = '{Reason.unsubscribe}')",
        most=2,
    )
    of_all, of_this = (
        looked_up("suppressions", "scope", scope, columns="1", beside="true")
        for scope in (of_project, of_list)
    )
    return (
        "SELECT json_agg(json_build_array(found.address_key, found.reason, found.scope)) "  # noqa: S608
        f"FROM unnest({spelled}) AS wanted (spelled) CROSS JOIN LATERAL ({found}) AS found "
        # Where there are none, as with most who import their first list, the 2,000 look-ups for a
        # thousand addresses are two.
        f"WHERE ({of_all}) IS NOT NULL OR ({of_this}) IS NOT NULL"
    )


@dataclass(frozen=True, slots=True)
class Held:
    """One address at one level, for who may not see the table."""

    id: UUID
    address_key: str
    reach: Reach
    reason: Reason
    source: str
    created_at: datetime

    @property
    def email(self) -> str | None:
        """None for a person who was erased."""
        return self.address_key if "@" in self.address_key else None


async def listed(
    session: AsyncSession,
    project_id: UUID,
    *,
    address_key: str | None = None,
    level: Level | None = None,
    reason: Reason | None = None,
    list_ids: Collection[UUID] = (),
    after: UUID | None = None,
    limit: int,
) -> list[Held]:
    """The newest first. A global row is shown only to who asks for its very address, so that no
    tenant reads what the installation suppresses; ``list_ids`` narrows to these lists."""
    mine: ColumnElement[bool] = Suppression.project_id == project_id
    if address_key is not None:
        mine = (mine | (Suppression.scope == GLOBAL_SCOPE)) & (Suppression.address_key == address_key)
    statement = select(Suppression).where(mine)
    if list_ids:
        statement = statement.where(Suppression.scope.in_([list_scope(each) for each in list_ids]))
    if level is not None:
        statement = statement.where(Suppression.scope.startswith(level.value))
    if reason is not None:
        statement = statement.where(Suppression.reason == reason)
    if after is not None:
        statement = statement.where(Suppression.id < after)
    rows = await session.scalars(statement.order_by(Suppression.id.desc()).limit(limit))
    return [_held(row) for row in rows]


async def against(
    session: AsyncSession,
    project_id: UUID,
    list_id: UUID | None,
    sender_domain: str,
    address_key: str,
    *,
    is_marketing: bool,
) -> list[Held]:
    """What stands against mailing one address, the widest level first."""
    levels = scopes(project_id, list_id, sender_domain)
    statement = select(Suppression).where(
        Suppression.address_key == address_key,
        Suppression.scope.in_(levels),
        *_counting(is_marketing),
    )
    found = await session.scalars(statement)
    return [_held(row) for row in sorted(found, key=lambda row: levels.index(row.scope))]


async def at(session: AsyncSession, scope: str, address_key: str) -> Held | None:
    statement = select(Suppression).where(Suppression.scope == scope, Suppression.address_key == address_key)
    row = (await session.scalars(statement.execution_options(populate_existing=True))).one_or_none()
    return _held(row) if row else None


async def there(session: AsyncSession, places: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
    """Which of these scopes and addresses are suppressed."""
    statement = select(Suppression.scope, Suppression.address_key).where(
        among_pairs(session, (Suppression.scope, Suppression.address_key), places)
    )
    return {(scope, address_key) for scope, address_key in await session.execute(statement)}


async def one(session: AsyncSession, project_id: UUID, suppression_id: UUID) -> Held:
    """Raises `NotFound`, for a global one as well: it is the operator's."""
    statement = select(Suppression).where(
        Suppression.id == suppression_id, Suppression.project_id == project_id
    )
    row = (await session.scalars(statement.execution_options(populate_existing=True))).one_or_none()
    if row is None:
        raise NotFound()
    return _held(row)


def _held(row: Suppression) -> Held:
    return Held(row.id, row.address_key, Reach.of(row.scope), row.reason, row.source, row.created_at)
