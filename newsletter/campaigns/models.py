"""The table of campaigns."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, Text
from sqlalchemy.orm import Mapped, mapped_column

from newsletter.kit.db import Base, status_type, text


class CampaignStatus(StrEnum):
    draft = "draft"
    scheduled = "scheduled"
    sending = "sending"
    paused = "paused"
    sent = "sent"
    failed = "failed"
    cancelled = "cancelled"


class CreationMethod(StrEnum):
    ai = "ai"
    html = "html"


class Campaign(Base):
    """Copy for a list. Its recipients and their outcomes are the mailing's (`delivery`)."""

    __tablename__ = "campaigns"
    __table_args__ = (
        Index("ix_campaigns_project_id_id", "project_id", "id"),
        Index("ix_campaigns_list_status", "list_id", "status"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id"))
    list_id: Mapped[UUID]
    """No foreign key: a campaign that is over outlives its list."""
    segment_id: Mapped[UUID | None]
    """A segment of the list; None: all of it. No foreign key, as of the list."""
    segment: Mapped[dict[str, Any] | None]
    """Its name and its conditions when the audience was frozen."""
    template_id: Mapped[UUID]
    name: Mapped[str] = mapped_column(text(200))
    subject: Mapped[str | None] = mapped_column(text(500))
    preheader: Mapped[str | None] = mapped_column(text(150))
    content: Mapped[str] = mapped_column(Text)
    creation_method: Mapped[CreationMethod] = mapped_column(status_type(CreationMethod, "creation_method"))
    prompt: Mapped[str | None] = mapped_column(text(2000))
    generation: Mapped[dict[str, Any] | None]
    """Who wrote it: model, prompt, voice version, what was removed."""
    from_email: Mapped[str | None] = mapped_column(text(320))
    from_name: Mapped[str | None] = mapped_column(text(200))
    reply_to: Mapped[str | None] = mapped_column(text(320))
    track_opens: Mapped[bool | None]
    """None: as the project has it."""
    track_clicks: Mapped[bool | None]
    utm: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default="{}")
    """What it changes of the project's; a member that is null takes a parameter away."""
    status: Mapped[CampaignStatus] = mapped_column(status_type(CampaignStatus, "status"))
    status_reason: Mapped[dict[str, Any] | None]
    version: Mapped[int] = mapped_column(default=1)
    mailing_id: Mapped[UUID | None] = mapped_column(index=True)
    scheduled_at: Mapped[datetime | None]
    scheduled_timezone: Mapped[str | None] = mapped_column(text(64))
    """The zone that its author thinks in; the moment itself is ``scheduled_at``."""
    send_at_local_hour: Mapped[int | None]
    """Each reader's own hour of the day, 0 to 23; None: all at once."""
    sent_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
