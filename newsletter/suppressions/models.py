"""The table of addresses that must never be mailed."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from newsletter.kit.db import Base, status_type, text


class Reason(StrEnum):
    unsubscribe = "unsubscribe"
    hard_bounce = "hard_bounce"
    complaint = "complaint"
    manual = "manual"
    erased = "erased"


STRENGTH = (Reason.unsubscribe, Reason.hard_bounce, Reason.complaint, Reason.manual, Reason.erased)
"""A stronger reason, which is a later one, takes the place of a weaker one, never the other way round."""


class Suppression(Base):
    """One address at one level.

    ``scope`` is ``global``, ``domain:<project uuid>:<sender domain>``, ``project:<uuid>`` or
    ``list:<uuid>``: one text column, because NULLs would defeat the unique constraint. ``address_key`` is the
    normalised address, or ``#`` and a keyed hash of it for a person who was erased.
    """

    __tablename__ = "suppressions"
    __table_args__ = (
        UniqueConstraint("address_key", "scope"),
        Index("ix_suppressions_scope", "scope", "id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    project_id: Mapped[UUID | None] = mapped_column(index=True)
    scope: Mapped[str] = mapped_column(text(300))
    address_key: Mapped[str] = mapped_column(text(320))
    reason: Mapped[Reason] = mapped_column(status_type(Reason, "reason"))
    source: Mapped[str] = mapped_column(text(200))
    created_at: Mapped[datetime]
