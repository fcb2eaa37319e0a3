"""API keys: made once, shown once, kept as a keyed hash.

A key is ``nl_live_`` or ``nl_test_``, 43 letters of which each is random (256 bits), and six
of a checksum. The checksum lets a scanner of public code know a leaked key without asking,
and lets us refuse a mistyped one without a query.
"""

import secrets
import zlib
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts.models import Account, APIKey, ProjectRow
from newsletter.accounts.project import Principal, Project
from newsletter.kit import clock, ids
from newsletter.kit.crypto import Vault
from newsletter.kit.errors import ValidationFailed
from newsletter.plans.catalogue import Catalogue

SCOPES = (
    "account:read",
    "campaigns:read",
    "campaigns:write",
    "domains:read",
    "domains:write",
    "lists:read",
    "lists:write",
    "project:read",
    "project:write",
    "routing:read",
    "routing:write",
    "sandbox:read",
    "sandbox:write",
    "send",
    "servers:read",
    "servers:write",
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
"""Every scope a route may ask for; ``*`` stands for all of them."""

_LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_BODY, _CHECK = 43, 6
_PURPOSE = "api-key"
_USED_EVERY = timedelta(minutes=1)


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
    await session.flush()
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


async def authenticate(
    session: AsyncSession, vault: Vault, plans: Catalogue, secret: str
) -> Principal | None:
    """The key's principal, or None when it is unknown or revoked. Looks it up each time, so
    that a revocation holds at once in every process."""
    if not is_well_formed(secret):
        return None
    statement = (
        select(APIKey, ProjectRow, Account.plan)
        .join(ProjectRow, ProjectRow.id == APIKey.project_id)
        .join(Account, Account.id == ProjectRow.account_id)
        .where(APIKey.digest.in_(vault.digests(_PURPOSE, secret.encode())), APIKey.revoked_at.is_(None))
    )
    found = (await session.execute(statement)).one_or_none()
    if found is None:
        return None
    key, row, plan = found
    return Principal(
        project=Project(row.id, row.account_id, row.is_test),
        plan=plans[plan],
        key_id=key.id,
        scopes=frozenset(key.scopes),
        list_ids=frozenset(UUID(list_id) for list_id in key.list_ids),
        from_domains=frozenset(key.from_domains),
        is_use_due=key.last_used_at is None or key.last_used_at < clock.now() - _USED_EVERY,
    )


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


async def revoke(session: AsyncSession, key_id: UUID) -> bool:
    """Revokes at once; False when there is no such living key."""
    statement = (
        update(APIKey)
        .where(APIKey.id == key_id, APIKey.revoked_at.is_(None))
        .values(revoked_at=clock.now())
        .returning(APIKey.id)
    )
    return (await session.execute(statement)).first() is not None


def _checksum(head: str) -> str:
    number = zlib.crc32(head.encode())
    letters = []
    for _ in range(_CHECK):
        number, place = divmod(number, len(_LETTERS))
        letters.append(_LETTERS[place])
    return "".join(reversed(letters))
