"""API keys: made once, shown once, kept as a keyed hash.

A key is ``nl_live_`` or ``nl_test_``, 43 letters of which each is random (256 bits), and six
of a checksum. The checksum lets a scanner of public code know a leaked key without asking,
and lets us refuse a mistyped one without a query.
"""

import math
import secrets
import time
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import LargeBinary, any_, bindparam, select, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts.audit import service as audit
from newsletter.accounts.models import Account, APIKey, ProjectRow, Resubscribe
from newsletter.accounts.project import Principal, Project
from newsletter.kit import clock, ids
from newsletter.kit.crypto import Vault
from newsletter.kit.db import Database, JSONObject
from newsletter.kit.direct import spelled
from newsletter.kit.errors import ValidationFailed
from newsletter.kit.together import Together
from newsletter.plans.catalogue import Catalogue

SCOPES = (
    "account:read",
    "analytics:read",
    "audit:read",
    "automations:read",
    "automations:write",
    "campaigns:read",
    "campaigns:write",
    "domains:read",
    "domains:write",
    "events:read",
    "lists:read",
    "lists:write",
    "messages:read",
    "project:read",
    "project:write",
    "routing:read",
    "routing:write",
    "sandbox:read",
    "sandbox:write",
    "send",
    "servers:read",
    "servers:write",
    "smtp",
    "smtp_credentials:read",
    "smtp_credentials:write",
    "subscribers:read",
    "subscribers:write",
    "suppressions:read",
    "suppressions:write",
    "templates:read",
    "templates:write",
    "voice:read",
    "voice:write",
    "webhooks:read",
    "webhooks:write",
)
"""Every scope a route may ask for; ``*`` stands for all of them. No route asks for ``smtp``: it signs in to
send by SMTP, and with it alone that is all that a key can do."""
OF_THE_PROJECT = frozenset(
    {"domains:write", "routing:write", "servers:write", "voice:write", "webhooks:read", "webhooks:write"}
)
"""What is done with these reaches the mail or the people of every list, so no key that is restricted to some
lists may, whatever its scopes: who could name an endpoint would be told of all, and who could name a server
would be handed all mail."""

_LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_BODY, _CHECK = 43, 6
_PURPOSE = "api-key"
_USED_EVERY = timedelta(minutes=1)
_KEYS_AT_ONCE = 500
_NOTED_KEYS = 10_000


class _Found(NamedTuple):
    digest: bytes
    id: UUID
    scopes: list[str]
    list_ids: list[str]
    from_domains: list[str]
    last_used_at: datetime | None
    revoked_at: datetime | None
    project_id: UUID
    account_id: UUID
    is_test: bool
    resubscribe: str
    plan: str


_KEYS = (
    select(
        *(APIKey.digest, APIKey.id, APIKey.scopes, APIKey.list_ids, APIKey.from_domains, APIKey.last_used_at),
        *(APIKey.revoked_at, APIKey.project_id, ProjectRow.account_id, ProjectRow.is_test),
        *(ProjectRow.resubscribe, Account.plan),
    )
    .join(ProjectRow, ProjectRow.id == APIKey.project_id)
    .join(Account, Account.id == ProjectRow.account_id)
)
_BY_DIGEST = _KEYS.where(APIKey.digest.in_(bindparam("digests", expanding=True)))
_BY_DIGEST_DIRECT = spelled(
    _KEYS.where(APIKey.digest == any_(bindparam("digests", type_=ARRAY(LargeBinary))))
)
"""The same for `Database.direct`: one parameter, so that any number of keys is one statement."""


@dataclass(frozen=True, slots=True)
class By:
    """Who makes or ends a key, for the audit log: the key and address of a call, or an operator."""

    key_id: UUID | None = None
    ip: str | None = None


OPERATOR = By()


@dataclass(frozen=True, slots=True)
class NewKey:
    """The one time that the whole key is known."""

    id: UUID
    secret: str
    prefix: str


async def create(
    session: AsyncSession,
    vault: Vault,
    project: Project,
    *,
    name: str,
    scopes: tuple[str, ...] = ("*",),
    list_ids: tuple[UUID, ...] = (),
    from_domains: tuple[str, ...] = (),
    by: By = OPERATOR,
) -> NewKey:
    """Makes a key of the project. Raises `ValidationFailed` for an unknown scope."""
    if unknown := [scope for scope in scopes if scope != "*" and scope not in SCOPES]:
        known = ", ".join(SCOPES)
        raise ValidationFailed.of("scopes", f"unknown: {', '.join(unknown)}. Known scopes: *, {known}")
    body = "".join(secrets.choice(_LETTERS) for _ in range(_BODY))
    head = f"nl_{'test' if project.is_test else 'live'}_{body}"
    secret = head + _checksum(head)
    row = APIKey(
        id=ids.uuid7(),
        project_id=project.id,
        name=name,
        prefix=secret[:14],
        digest=vault.digest(_PURPOSE, secret.encode()),
        scopes=list(scopes),
        list_ids=[str(list_id) for list_id in list_ids],
        from_domains=[domain.lower() for domain in from_domains],
        created_at=clock.now(),
    )
    session.add(row)
    details: JSONObject = {"name": name, "prefix": row.prefix, "scopes": list(scopes)}
    subject = ids.public("key", row.id)
    await audit.note(session, project.id, "key.created", subject, key_id=by.key_id, ip=by.ip, details=details)
    return NewKey(row.id, secret, row.prefix)


def is_well_formed(secret: str) -> bool:
    """Whether the text is a key at all, by its shape and checksum."""
    head, check = secret[:-_CHECK], secret[-_CHECK:]
    return (
        secret.startswith(("nl_live_", "nl_test_"))
        and len(secret) == len("nl_live_") + _BODY + _CHECK
        and secret.isascii()
        and check == _checksum(head)
    )


class KeyRing:
    """Tells whose a key is. It keeps nothing: each call is answered by a query that began after
    it came, so that a revocation holds at once in every process. Calls that come while a query
    runs share the next one: at 32 connections one query serves some 16 of them.
    """

    def __init__(self, db: Database, vault: Vault, plans: Catalogue) -> None:
        self._db, self._vault, self._plans = db, vault, plans
        self._together = Together(self._find, most=_KEYS_AT_ONCE)
        self._noted: dict[UUID, float] = {}

    async def principal(self, secret: str) -> Principal | None:
        """None when the key is unknown or revoked."""
        if not is_well_formed(secret):
            return None
        principal = await self._together(secret)
        if principal is not None and principal.is_use_due and self._may_note(principal.key_id):
            async with self._db.unit_of_work() as session:
                await note_use(session, principal.key_id)
        return principal

    async def _find(self, secrets: Sequence[str]) -> Sequence[Principal | Exception | None]:
        known = await authenticate(self._db, self._vault, self._plans, secrets)
        return [known.get(secret) for secret in secrets]

    def _may_note(self, key_id: UUID) -> bool:
        """Once a minute in this process: the calls of the same moment need not write it, too."""
        now = time.monotonic()
        if now - self._noted.get(key_id, -math.inf) < _USED_EVERY.total_seconds():
            return False
        if len(self._noted) >= _NOTED_KEYS:
            self._noted.clear()
        self._noted[key_id] = now
        return True


async def authenticate(
    db: Database, vault: Vault, plans: Catalogue, secrets: Collection[str]
) -> Mapping[str, Principal]:
    """The principals of these keys; those that are unknown or revoked are missing."""
    asked = {digest: secret for secret in set(secrets) for digest in vault.digests(_PURPOSE, secret.encode())}
    now = clock.now()
    used_before = now - _USED_EVERY
    return {
        asked[row.digest]: Principal(
            project=Project(row.project_id, row.account_id, row.is_test),
            plan=plans[row.plan],
            key_id=row.id,
            scopes=frozenset(row.scopes),
            list_ids=frozenset(UUID(list_id) for list_id in row.list_ids),
            from_domains=frozenset(row.from_domains),
            resubscribe=Resubscribe(row.resubscribe),
            is_use_due=row.last_used_at is None or row.last_used_at < used_before,
        )
        for row in await _found(db, list(asked))
        if row.revoked_at is None or row.revoked_at > now
    }


async def _found(db: Database, digests: list[bytes]) -> list[_Found]:
    """The keys with these digests, revoked ones too. The look-up stands before every call."""
    if db.direct is not None:
        return [_Found._make(row) for row in await db.direct.rows(_BY_DIGEST_DIRECT, digests)]
    async with db.look_up() as connection:
        return [_Found._make(row) for row in await connection.execute(_BY_DIGEST, {"digests": digests})]


async def note_use(session: AsyncSession, key_id: UUID) -> None:
    """Remembers when the key was last used, to the minute."""
    now = clock.now()
    await session.execute(
        update(APIKey)
        .where(
            APIKey.id == key_id,
            APIKey.last_used_at.is_(None) | (APIKey.last_used_at < now - _USED_EVERY),
        )
        .values(last_used_at=now)
    )


async def listed(session: AsyncSession, project: Project) -> list[APIKey]:
    rows = await session.scalars(select(APIKey).where(APIKey.project_id == project.id).order_by(APIKey.id))
    return list(rows)


async def revoke(
    session: AsyncSession, key_id: UUID, *, after: timedelta = timedelta(), by: By = OPERATOR
) -> bool:
    """Revokes at once, or so long from now; False when there is no such living key. One that is to end
    sooner already ends then."""
    now = clock.now()
    statement = (
        update(APIKey)
        .where(APIKey.id == key_id, APIKey.revoked_at.is_(None) | (APIKey.revoked_at > now + after))
        .values(revoked_at=now + after)
        .returning(APIKey.project_id)
    )
    project_id = (await session.scalars(statement)).one_or_none()
    if project_id is None:
        return False
    details: JSONObject = {"after_hours": after // timedelta(hours=1)} if after else {}
    subject = ids.public("key", key_id)
    await audit.note(session, project_id, "key.revoked", subject, key_id=by.key_id, ip=by.ip, details=details)
    return True


def _checksum(head: str) -> str:
    number = zlib.crc32(head.encode())
    letters = []
    for _ in range(_CHECK):
        number, place = divmod(number, len(_LETTERS))
        letters.append(_LETTERS[place])
    return "".join(reversed(letters))
