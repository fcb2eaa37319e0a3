"""Writes endpoints and their secrets, and keeps what they listen to."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts import queries as accounts
from newsletter.accounts.audit import service as audit
from newsletter.accounts.project import Principal, Project
from newsletter.events import listening
from newsletter.events.vocabulary import EventType
from newsletter.kit import clock, ids, jobs
from newsletter.kit.crypto import Vault
from newsletter.kit.errors import Conflict, ValidationFailed
from newsletter.kit.http import GuardedClient
from newsletter.webhooks import queries, signing
from newsletter.webhooks.models import Endpoint
from newsletter.webhooks.schemas import EndpointCreate, EndpointUpdate


class EndpointLimitReached(Conflict):
    code, status = "webhook_endpoint_limit_reached", 409
    summary = "The project has as many webhook endpoints as it may have. Delete one first."


@dataclass(frozen=True, slots=True)
class NewEndpoint:
    """The one time that the secret is known in the clear."""

    row: Endpoint
    secret: str


def check_url(egress: GuardedClient, url: str) -> None:
    """Raises `ValidationFailed` for what no call would ever be made to."""
    try:
        egress.check_url(url)
    except ValueError as error:
        raise ValidationFailed.of("url", str(error)) from None


async def create(
    session: AsyncSession, vault: Vault, project: Project, new: EndpointCreate, *, limit: int
) -> NewEndpoint:
    """Raises `EndpointLimitReached` when the project has ``limit`` endpoints."""
    await accounts.lock_project(session, project)
    if await queries.count(session, project) >= limit:
        raise EndpointLimitReached(f"A project may have {limit} webhook endpoints. Delete one first.")
    endpoint_id, secret, now = ids.uuid7(), signing.new_secret(), clock.now()
    row = Endpoint(
        id=endpoint_id,
        project_id=project.id,
        url=new.url,
        description=new.description,
        events=[kind.value for kind in new.events],
        signature_style=new.signature_style,
        group_size=new.group_size,
        secret=vault.encrypt(secret.encode(), _context(endpoint_id)),
        is_active=new.is_active,
        disabled_reason=None,
        consecutive_failures=0,
        created_at=now,
        updated_at=now,
    )
    session.add(row)
    await session.flush()
    await listen(session, project)
    return NewEndpoint(row, secret)


async def listen(session: AsyncSession, project: Project) -> None:
    """Keeps with the event log what the project's active endpoints want; to be called after every
    change of an endpoint, in its transaction."""
    await accounts.lock_project(session, project)
    wanted = [endpoint.events for endpoint in await queries.active(session, project.id)]
    kinds = None if [] in wanted else {EventType(kind) for events in wanted for kind in events}
    await listening.listen(session, project.id, listening.WEBHOOKS, kinds)


def open_secret(vault: Vault, endpoint_id: UUID, sealed: bytes) -> str:
    """What signs the endpoint's calls. Raises `Undecryptable`."""
    return vault.decrypt(sealed, _context(endpoint_id)).decode()


async def update(
    session: AsyncSession, project: Project, endpoint_id: UUID, changes: EndpointUpdate
) -> Endpoint:
    row = await queries.endpoint(session, project, endpoint_id)
    for field, value in changes.model_dump(exclude_unset=True).items():
        setattr(row, field, [kind.value for kind in value] if field == "events" else value)
    if changes.sent("is_active"):
        row.disabled_reason = row.disabled_at = row.owner_message_id = row.owner_untold_code = None
        row.consecutive_failures = 0 if changes.is_active else row.consecutive_failures
        row.failing_since = None if changes.is_active else row.failing_since
    row.updated_at = clock.now()
    await session.flush()
    await listen(session, project)
    if changes.sent("group_size"):
        # What waits to be grouped is not what the new size would have let wait.
        await gather_soon(session, row.id, 0)
    return row


async def remove(session: AsyncSession, project: Project, endpoint_id: UUID) -> None:
    """With its deliveries; a job that waits for one of them then finds nothing to do."""
    row = await queries.endpoint(session, project, endpoint_id)
    await session.execute(delete(Endpoint).where(Endpoint.id == row.id))
    await listen(session, project)


async def rotate(
    session: AsyncSession,
    vault: Vault,
    principal: Principal,
    endpoint_id: UUID,
    *,
    overlap_hours: int,
    ip: str | None,
) -> NewEndpoint:
    """A new secret; the old one signs as well for ``overlap_hours``, and whatever was before it no
    longer does. The audit log says who had it done."""
    project = principal.project
    row = await queries.endpoint(session, project, endpoint_id, lock=True)
    secret = signing.new_secret()
    is_kept = overlap_hours > 0
    row.previous_secret = row.secret if is_kept else None
    row.previous_secret_until = clock.now() + timedelta(hours=overlap_hours) if is_kept else None
    row.secret = vault.encrypt(secret.encode(), _context(row.id))
    row.updated_at = clock.now()
    await audit.note(
        session,
        project.id,
        "webhook.secret_rotated",
        ids.public("whe", row.id),
        key_id=principal.key_id,
        ip=ip,
        details={"overlap_hours": overlap_hours},
    )
    return NewEndpoint(row, secret)


async def gather_soon(session: AsyncSession, endpoint_id: UUID, seconds: float) -> None:
    """Has what waits at the endpoint put into calls, once for all who ask within these seconds."""
    run_at = clock.now() + timedelta(seconds=seconds) if seconds else None
    payload = {"endpoint_id": str(endpoint_id)}
    await jobs.enqueue(
        session, "webhooks.gather", payload, run_at=run_at, key=f"webhooks.gather:{endpoint_id}"
    )


async def serve_soon(session: AsyncSession, endpoint_ids: Collection[UUID]) -> None:
    """Has what is due at these endpoints delivered; to be called after it got its time."""
    payloads = {_serving(endpoint_id): {"endpoint_id": str(endpoint_id)} for endpoint_id in endpoint_ids}
    await jobs.enqueue_each(session, _DELIVER, payloads)


async def serve_later(session: AsyncSession, endpoint_id: UUID, at: datetime | None, now: datetime) -> None:
    """Has the endpoint served at that time, in the place of the one that was set before; None: not at all."""
    key = f"{_serving(endpoint_id)}:later"
    await jobs.cancel(session, key)
    if at is None:
        return
    if at <= now:
        await serve_soon(session, [endpoint_id])
    else:
        await jobs.enqueue(session, _DELIVER, {"endpoint_id": str(endpoint_id)}, run_at=at, key=key)


_DELIVER = "webhooks.deliver"


def _serving(endpoint_id: UUID) -> str:
    return f"{_DELIVER}:{endpoint_id}"


def _context(endpoint_id: UUID) -> str:
    return f"webhook-endpoint:{endpoint_id}"
