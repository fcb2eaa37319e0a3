"""Custom templates; the packaged ones are files (`newsletter.templates.starters`)."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Text
from sqlalchemy.orm import Mapped, mapped_column

from newsletter.kit.db import Base, text


class Template(Base):
    __tablename__ = "templates"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id"), index=True)
    name: Mapped[str] = mapped_column(text(200))
    category: Mapped[str] = mapped_column(text(50))
    description: Mapped[str | None] = mapped_column(text(2000))
    mjml: Mapped[str] = mapped_column(Text)
    variables: Mapped[list[dict[str, Any]]] = mapped_column(default=list)
    """Declared variables: ``{"name", "default", "description"}`` each."""
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
