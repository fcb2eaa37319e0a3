"""Tables of accounts, projects and API keys."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from newsletter.kit.db import Base, status_type, text


class Resubscribe(StrEnum):
    """Whether a POST of an unsubscribed address reactivates it."""

    allow = "allow"
    require_consent = "require_consent"


class Account(Base):
    __tablename__ = "accounts"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(text(200))
    email: Mapped[str] = mapped_column(text(320))
    plan: Mapped[str] = mapped_column(text(30))
    created_at: Mapped[datetime]


class ProjectRow(Base):
    """The settings of a project; `newsletter.accounts.project.Project` is its identity."""

    __tablename__ = "projects"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    account_id: Mapped[UUID] = mapped_column(ForeignKey("accounts.id"), index=True)
    name: Mapped[str] = mapped_column(text(200))
    is_test: Mapped[bool]
    from_email: Mapped[str | None] = mapped_column(text(320))
    from_name: Mapped[str | None] = mapped_column(text(200))
    reply_to: Mapped[str | None] = mapped_column(text(320))
    website_url: Mapped[str | None] = mapped_column(text(2000))
    postal_address: Mapped[str | None] = mapped_column(text(500))
    branding: Mapped[dict[str, Any]] = mapped_column(default=dict)
    time_zone: Mapped[str] = mapped_column(text(64), default="UTC")
    locale: Mapped[str] = mapped_column(text(35), default="en")
    resubscribe: Mapped[Resubscribe] = mapped_column(
        status_type(Resubscribe, "resubscribe"), default=Resubscribe.allow
    )
    track_opens: Mapped[bool] = mapped_column(default=False)
    track_clicks: Mapped[bool] = mapped_column(default=False)
    utm: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default="{}")
    """``source``, ``medium``, ``campaign``, ``term`` and ``content`` of links, those that there are."""
    default_template_id: Mapped[UUID | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class APIKey(Base):
    """A key is stored as a keyed hash and shown once; its prefix names it afterwards."""

    __tablename__ = "api_keys"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id"), index=True)
    name: Mapped[str] = mapped_column(text(200))
    prefix: Mapped[str] = mapped_column(text(20))
    digest: Mapped[bytes] = mapped_column(unique=True)
    scopes: Mapped[list[str]]
    list_ids: Mapped[list[str]] = mapped_column(default=list)
    """Lists that the key is restricted to; empty: all."""
    from_domains: Mapped[list[str]] = mapped_column(default=list)
    """Sender domains that the key is restricted to; empty: all."""
    created_at: Mapped[datetime]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    """From then on it is refused: a moment to come while its successor takes over."""
