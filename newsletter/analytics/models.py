"""What is kept of analytics beside the counts: a project's health, day by day."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Mapped, mapped_column

from newsletter.kit.db import Base, text


class HealthScore(Base):
    """The score of one day, as it was at its last calculation."""

    __tablename__ = "health_scores"

    project_id: Mapped[UUID] = mapped_column(primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    """Of UTC."""
    score: Mapped[int | None]
    """None: too little was sent to judge."""
    grade: Mapped[str | None] = mapped_column(text(2))
    rates: Mapped[dict[str, Any]]
    """``sent`` and the rates of the window."""
    insights: Mapped[list[dict[str, Any]]]
    calculated_at: Mapped[datetime]
