"""The inbox of test projects."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from newsletter.kit.db import Base, text


class SandboxMessage(Base):
    """A mail of a test project, kept instead of sent."""

    __tablename__ = "sandbox_messages"
    __table_args__ = (Index("ix_sandbox_messages_project", "project_id", "id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id"))
    message_id: Mapped[str] = mapped_column(text(40), unique=True)
    """The public id of the message; unique, so that a repeated delivery is kept once."""
    from_email: Mapped[str] = mapped_column(text(320))
    to_email: Mapped[str] = mapped_column(text(320), index=True)
    subject: Mapped[str] = mapped_column(text(1000))
    raw: Mapped[bytes]
    """The whole mail (RFC 5322), deflated: a newsletter shrinks to a fifth."""
    received_at: Mapped[datetime]
