"""Writes endpoints, and has an event delivered once more."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts import queries as accounts
from newsletter.accounts.project import Project
from newsletter.events import listening
from newsletter.events.vocabulary import EventType
from newsletter.kit import clock, ids, jobs
from newsletter.kit.crypto import Vault
from newsletter.kit.errors import Conflict
from newsletter.webhooks import queries, signing
from newsletter.webhooks.models import DeliveryStatus, Endpoint, WebhookDelivery
from newsletter.webhooks.schemas import EndpointCreate, EndpointUpdate


class EndpointLimitReached(Conflict):
    code, status = "webhook_endpoint_limit_reached", 409
    summary = "The project has as many webhook endpoints as it may have. Delete one first."


class EndpointInactive(Conflict):
    code, status = "webhook_endpoint_inactive", 409
    summary = "The endpoint is not active. Set is_active to true first."


class DeliveryPending(Conflict):
    code, status = "delivery_pending", 409
    summary = "The delivery waits for its call already."


@dataclass(frozen=True, slots=True)
class NewEndpoint:
    """The one time that the secret is known in the clear."""

    row: Endpoint
    secret: str


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
    await listening.listen(session, project.id, _LISTENER, kinds)


_LISTENER = "webhooks"


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
        row.disabled_reason = None
        row.consecutive_failures = 0 if changes.is_active else row.consecutive_failures
    row.updated_at = clock.now()
    await session.flush()
    await listen(session, project)
    return row


async def remove(session: AsyncSession, project: Project, endpoint_id: UUID) -> None:
    """With its deliveries; a job that waits for one of them then finds nothing to do."""
    row = await queries.endpoint(session, project, endpoint_id)
    await session.execute(delete(Endpoint).where(Endpoint.id == row.id))
    await listen(session, project)


async def replay(
    session: AsyncSession, project: Project, endpoint_id: UUID, delivery_id: UUID
) -> WebhookDelivery:
    """Calls once more now, with the same event id and body.

    A delivery that is over starts its retry schedule again; one that waits for a retry keeps
    its place in the schedule. Raises `DeliveryPending` or `EndpointInactive`.
    """
    endpoint = await queries.endpoint(session, project, endpoint_id)
    if not endpoint.is_active:
        raise EndpointInactive()
    row = await queries.delivery(session, project, endpoint_id, delivery_id, lock=True)
    if row.status is DeliveryStatus.pending:
        raise DeliveryPending()
    if row.status is DeliveryStatus.retrying:
        await jobs.cancel(session, attempt_key(row))
    else:
        row.attempts_before_replay = row.attempt_count
    row.status, row.next_attempt_at, row.finished_at = DeliveryStatus.pending, clock.now(), None
    await session.flush()
    await jobs.enqueue(session, "webhooks.attempt", attempt_payload(row), key=attempt_key(row))
    return row


def attempt_payload(row: WebhookDelivery) -> dict[str, str | int]:
    """A job makes the one call that it was written for: once that is in the books, a second
    run of it does nothing."""
    return {"delivery_id": str(row.id), "number": row.attempt_count + 1}


def attempt_key(row: WebhookDelivery) -> str:
    return f"webhooks.attempt:{row.id}:{row.attempt_count + 1}"


def _context(endpoint_id: UUID) -> str:
    return f"webhook-endpoint:{endpoint_id}"
