"""Ends what was kept for long enough. Each pass takes a bounded number of bites, each of which reads
before it locks."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from newsletter.accounts.audit import retention as audit
from newsletter.automations import retention as automations
from newsletter.delivery import retention as delivery
from newsletter.events import parts
from newsletter.feedback import retention as feedback
from newsletter.kit import clock
from newsletter.kit.db import Database
from newsletter.settings import Settings
from newsletter.webhooks import retention as webhooks

BITES = 20
"""Of each kind in one pass: between them others write."""


async def prune(db: Database, settings: Settings) -> None:
    """Safe to repeat, and beside another worker's."""
    now, keep = clock.now(), settings.retention
    await parts.prune(db, settings.events.keep_days)
    for drop, days in (
        (audit.drop_entries, settings.audit.keep_days),
        (delivery.drop_bodies, keep.body_days),
        (delivery.drop_tries, keep.attempt_days),
        (feedback.drop_reports, keep.report_days),
        (feedback.drop_counts, settings.bounces.soft_days),
        (webhooks.drop_deliveries, keep.webhook_days),
        (automations.drop_steps, keep.run_days),
        (automations.drop_runs, keep.run_days),
    ):
        await _drop(drop, db, now - timedelta(days=days))


async def _drop(
    drop: Callable[[Database, datetime], Awaitable[bool]], db: Database, before: datetime
) -> None:
    for _ in range(BITES):
        if not await drop(db, before):
            return
