"""SMTP credentials: keys that can do nothing but sign in to send by SMTP, which a project makes itself.

The password is the key; the user name is the project's id. It stays the same when the password is
rotated, and a password that came to the wrong program is noticed.
"""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts import keys, queries
from newsletter.accounts.keys import By, NewKey
from newsletter.accounts.models import APIKey
from newsletter.accounts.project import Principal, Project
from newsletter.kit import clock, ids
from newsletter.kit.crypto import Vault
from newsletter.kit.errors import Conflict, Forbidden, NotFound, ValidationFailed

SCOPE = "smtp"
SIGNS_IN = (SCOPE, "send")
"""A key needs one of these: who may call ``/send`` may send the same mail by SMTP."""


class SMTPCredentialLimitReached(Conflict):
    code, status = "smtp_credential_limit_reached", 409
    summary = "The project has as many SMTP credentials as it may have. Revoke one first."


def username(project: Project) -> str:
    return ids.public("prj", project.id)


def may_sign_in(principal: Principal, name: str) -> bool:
    """Whether this key is good for SMTP, under this user name."""
    return name == username(principal.project) and any(map(principal.has_scope, SIGNS_IN))


def in_force(project: Project) -> Select[APIKey]:
    """Those that are not revoked; one that is being replaced is among them until it ends."""
    return _ours(project, clock.now()).order_by(APIKey.id)


def _ours(project: Project, now: datetime) -> Select[APIKey]:
    return select(APIKey).where(
        APIKey.project_id == project.id,
        APIKey.scopes == [SCOPE],
        APIKey.revoked_at.is_(None) | (APIKey.revoked_at > now),
    )


async def one(session: AsyncSession, project: Project, key_id: UUID) -> APIKey:
    """Raises `NotFound`, also for one that is revoked."""
    found = (await session.scalars(in_force(project).where(APIKey.id == key_id))).one_or_none()
    if found is None:
        raise NotFound("There is no such SMTP credential in force.")
    return found


async def create(
    session: AsyncSession,
    vault: Vault,
    principal: Principal,
    *,
    name: str,
    from_domains: tuple[str, ...],
    by: By,
    limit: int,
) -> NewKey:
    """May send from the domains that are named, or from those of the caller's own key. Raises
    `SMTPCredentialLimitReached`, and `ValidationFailed` for a domain that the caller's key may not use."""
    project = principal.project
    if beyond := sorted(domain for domain in from_domains if not principal.may_send_from(domain)):
        raise ValidationFailed.of("from_domains", f"this key may not send from {', '.join(beyond)}")
    await _require_room(session, project, limit)
    domains = from_domains or tuple(sorted(principal.from_domains))
    return await keys.create(session, vault, project, name=name, scopes=(SCOPE,), from_domains=domains, by=by)


async def rotate(
    session: AsyncSession,
    vault: Vault,
    principal: Principal,
    key_id: UUID,
    *,
    overlap: timedelta,
    by: By,
    limit: int,
) -> NewKey:
    """A successor that may do the same; the former one ends after ``overlap``. Raises
    `SMTPCredentialLimitReached` once there are twice ``limit``: as many with as many successors; and
    `Forbidden` for one that may send from more domains than the caller's key."""
    project = principal.project
    await _require_room(session, project, 2 * limit)
    old = await one(session, project, key_id)
    # Without any named it may send from all.
    if principal.from_domains and not (
        old.from_domains and all(map(principal.may_send_from, old.from_domains))
    ):
        raise Forbidden("This SMTP credential may send from domains that this key may not.")
    made = await keys.create(
        session,
        vault,
        project,
        name=old.name,
        scopes=(SCOPE,),
        from_domains=tuple(old.from_domains),
        by=by,
    )
    await keys.revoke(session, old.id, after=overlap, by=by)
    return made


async def revoke(session: AsyncSession, project: Project, key_id: UUID, *, by: By) -> None:
    """At once: no further mail is taken, also on a connection that signed in before."""
    await keys.revoke(session, (await one(session, project, key_id)).id, by=by)


async def _require_room(session: AsyncSession, project: Project, most: int) -> None:
    await queries.lock_project(session, project)
    counted = select(func.count()).select_from(_ours(project, clock.now()).subquery())
    if (await session.execute(counted)).scalar_one() >= most:
        raise SMTPCredentialLimitReached(f"A project may have {most} SMTP credentials. Revoke one first.")
