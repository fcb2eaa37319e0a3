"""Reads who opened and clicked, message by message."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, exists, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from newsletter.delivery.queries import MessageKey
from newsletter.feedback.models import MessageEngagement
from newsletter.kit.db import db_in
from newsletter.kit.prepared import Among, Prepared, Statement, pairs


@dataclass(frozen=True, slots=True)
class Engaged:
    """How often a message was opened and its links followed; by people where it does not say machines."""

    opens: int = 0
    machine_opens: int = 0
    clicks: int = 0
    machine_clicks: int = 0
    first_opened_at: datetime | None = None
    last_opened_at: datetime | None = None
    first_clicked_at: datetime | None = None
    last_clicked_at: datetime | None = None


NOT_ENGAGED = Engaged()


def _engaged(among: Among) -> Statement:
    row = MessageEngagement
    return select(
        row.mailing_id,
        row.seq,
        row.opens,
        row.machine_opens,
        row.clicks,
        row.machine_clicks,
        row.first_opened_at,
        row.last_opened_at,
        row.first_clicked_at,
        row.last_clicked_at,
    ).where(among.pairs((row.mailing_id, row.seq), "keys"))


_ENGAGED = Prepared(_engaged)


async def engaged(session: AsyncSession, keys: Collection[MessageKey]) -> Mapping[MessageKey, Engaged]:
    """Of those messages that somebody, or something, opened or clicked; some hundreds at a time."""
    if not keys:
        return {}
    rows = await _ENGAGED.rows(session, **pairs("keys", keys))
    return {(mailing_id, seq): Engaged(*rest) for mailing_id, seq, *rest in rows}


def has_engaged(
    mailing_id: UUID | InstrumentedAttribute[UUID | None],
    seq: ColumnElement[int] | InstrumentedAttribute[int | None],
    is_click: bool,
    days: int | None,
) -> ColumnElement[bool]:
    """A condition for a ``WHERE``: a person opened this message, or clicked in it, within so many days (None:
    ever)."""
    row = MessageEngagement
    count, last = (row.clicks, row.last_clicked_at) if is_click else (row.opens, row.last_opened_at)
    did = exists().where(row.mailing_id == mailing_id, row.seq == seq, count > 0).correlate_except(row)
    return did if days is None else did.where(last >= db_in(-86_400.0 * days))
