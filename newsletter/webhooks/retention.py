"""Ends what is remembered of calls that are over."""

from datetime import datetime

from sqlalchemy import delete, select

from newsletter.kit import ids
from newsletter.kit.db import Database
from newsletter.webhooks.models import WebhookDelivery
from newsletter.webhooks.queries import OPEN

DELIVERIES_AT_ONCE = 5_000


async def drop_deliveries(db: Database, before: datetime) -> bool:
    """Drops up to `DELIVERIES_AT_ONCE` deliveries, with their attempts, that were over ``before``.
    False where there were none."""
    # A delivery is not over before it began, so its id bounds the search.
    old = (
        select(WebhookDelivery.id)
        .where(
            WebhookDelivery.id < ids.first_of(before),
            WebhookDelivery.status.not_in(OPEN),
            WebhookDelivery.finished_at < before,
        )
        .limit(DELIVERIES_AT_ONCE)
    )
    async with db.read() as session:
        if (await session.execute(old.limit(1))).first() is None:
            return False
    async with db.unit_of_work() as session:
        statement = delete(WebhookDelivery).where(WebhookDelivery.id.in_(old))
        await session.execute(statement.execution_options(synchronize_session=False))
    return True
