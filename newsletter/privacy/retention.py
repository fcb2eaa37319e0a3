"""Ends what was kept for long enough. Each pass takes a bounded bite, and reads before it locks."""

from datetime import timedelta

from newsletter.delivery import retention as delivery
from newsletter.events import parts
from newsletter.feedback import retention as feedback
from newsletter.kit import clock
from newsletter.kit.db import Database
from newsletter.settings import Settings


async def prune(db: Database, settings: Settings) -> None:
    """Safe to repeat, and beside another worker's."""
    now, keep = clock.now(), settings.retention
    await parts.prune(db, settings.events.keep_days)
    await delivery.drop_bodies(db, now - timedelta(days=keep.body_days))
    await delivery.drop_tries(db, now - timedelta(days=keep.attempt_days))
    await feedback.drop_reports(db, now - timedelta(days=keep.report_days))
    await feedback.drop_counts(db, now - timedelta(days=settings.bounces.soft_days))
