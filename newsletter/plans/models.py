"""Counters of what an account has used of its plan."""

from uuid import UUID

from sqlalchemy.orm import Mapped, mapped_column

from newsletter.kit.db import Base, text


class Counter(Base):
    """Used and reserved units of one resource in one period.

    ``owner_id`` is the account for its live projects together, or one test project.
    ``period`` is ``2026-11`` for monthly quotas and empty for what is held all the time.
    """

    __tablename__ = "plan_counters"

    owner_id: Mapped[UUID] = mapped_column(primary_key=True)
    resource: Mapped[str] = mapped_column(text(30), primary_key=True)
    period: Mapped[str] = mapped_column(text(7), primary_key=True)
    used: Mapped[int] = mapped_column(default=0)
    reserved: Mapped[int] = mapped_column(default=0)
