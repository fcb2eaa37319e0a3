"""Reads endpoints, deliveries and attempts."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts.project import Project
from newsletter.kit.errors import NotFound
from newsletter.webhooks.models import Attempt, DeliveryStatus, Endpoint, WebhookDelivery


def endpoints(project: Project) -> Select[Endpoint]:
    """The project's endpoints, oldest first."""
    return select(Endpoint).where(Endpoint.project_id == project.id).order_by(Endpoint.id)


async def endpoint(session: AsyncSession, project: Project, endpoint_id: UUID) -> Endpoint:
    """Raises `NotFound`, also for an endpoint of another project."""
    mine = endpoints(project).where(Endpoint.id == endpoint_id)
    found = (await session.scalars(mine)).one_or_none()
    if found is None:
        raise NotFound("There is no such webhook endpoint in this project.")
    return found


async def count(session: AsyncSession, project: Project) -> int:
    counted = select(func.count()).select_from(Endpoint).where(Endpoint.project_id == project.id)
    return (await session.execute(counted)).scalar_one()


async def active(session: AsyncSession, project_id: UUID) -> Sequence[Endpoint]:
    """The endpoints of a project that are called."""
    statement = select(Endpoint).where(Endpoint.project_id == project_id, Endpoint.is_active.is_(True))
    return (await session.scalars(statement.order_by(Endpoint.id))).all()


async def deliveries(
    session: AsyncSession,
    endpoint_id: UUID,
    *,
    status: DeliveryStatus | None,
    before: UUID | None,
    limit: int,
) -> Sequence[WebhookDelivery]:
    """Newest first, those older than ``before``. The caller has checked whose endpoint it is."""
    statement = select(WebhookDelivery).where(WebhookDelivery.endpoint_id == endpoint_id)
    if status is not None:
        statement = statement.where(WebhookDelivery.status == status)
    if before is not None:
        statement = statement.where(WebhookDelivery.id < before)
    return (await session.scalars(statement.order_by(WebhookDelivery.id.desc()).limit(limit))).all()


async def delivery(
    session: AsyncSession, project: Project, endpoint_id: UUID, delivery_id: UUID, *, lock: bool = False
) -> WebhookDelivery:
    """Raises `NotFound`, also for another endpoint's delivery."""
    statement = select(WebhookDelivery).where(
        WebhookDelivery.id == delivery_id,
        WebhookDelivery.endpoint_id == endpoint_id,
        WebhookDelivery.project_id == project.id,
    )
    found = (await session.scalars(statement.with_for_update() if lock else statement)).one_or_none()
    if found is None:
        raise NotFound("There is no such delivery to this webhook endpoint.")
    return found


async def attempts(session: AsyncSession, delivery_id: UUID) -> Sequence[Attempt]:
    statement = select(Attempt).where(Attempt.delivery_id == delivery_id).order_by(Attempt.number)
    return (await session.scalars(statement)).all()


async def for_attempt(
    session: AsyncSession, delivery_id: UUID, *, lock: bool = False
) -> tuple[WebhookDelivery, Endpoint] | None:
    """A delivery and its endpoint for the job that calls it; None when they were deleted.

    With ``lock`` the endpoint is locked before the delivery, the order in which a deletion
    of the endpoint reaches them: so the two cannot wait for each other.
    """
    of_delivery = select(WebhookDelivery.endpoint_id).where(WebhookDelivery.id == delivery_id)
    one_endpoint = select(Endpoint).where(Endpoint.id == of_delivery.scalar_subquery())
    one_delivery = select(WebhookDelivery).where(WebhookDelivery.id == delivery_id)
    if lock:
        one_endpoint, one_delivery = one_endpoint.with_for_update(), one_delivery.with_for_update()
    target = (await session.scalars(one_endpoint)).one_or_none()
    row = (await session.scalars(one_delivery)).one_or_none()
    return (row, target) if row is not None and target is not None else None
