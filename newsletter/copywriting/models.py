"""Voice cards and the ledger of generations."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from newsletter.kit.db import Base, status_type, text


class VoiceCardRow(Base):
    """A version of a project's brand voice; versions are only ever added."""

    __tablename__ = "voice_cards"
    __table_args__ = (UniqueConstraint("project_id", "version"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id"))
    version: Mapped[int]
    card: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class GenerationStatus(StrEnum):
    reserved = "reserved"
    succeeded = "succeeded"
    failed = "failed"


class Generation(Base):
    """One use of the model, and the ledger row of the AI unit that it took.

    Its unit is reserved while ``reserved``, used once ``succeeded``, given back by ``failed``.
    """

    __tablename__ = "generations"
    __table_args__ = (Index("ix_generations_status_deadline", "status", "deadline"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id"), index=True)
    owner_id: Mapped[UUID]
    period: Mapped[str] = mapped_column(text(7))
    status: Mapped[GenerationStatus] = mapped_column(status_type(GenerationStatus, "status"))
    deadline: Mapped[datetime]
    """When the reservation lapses, should the process that holds it die."""
    prompt_name: Mapped[str] = mapped_column(text(100))
    prompt_hash: Mapped[str] = mapped_column(text(64))
    model: Mapped[str] = mapped_column(text(200))
    voice_version: Mapped[int | None]
    calls: Mapped[int] = mapped_column(default=0)
    input_tokens: Mapped[int] = mapped_column(default=0)
    output_tokens: Mapped[int] = mapped_column(default=0)
    error: Mapped[str | None] = mapped_column(text(1000))
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
