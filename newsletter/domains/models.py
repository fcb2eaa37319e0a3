"""The domains that a project's mail is signed for."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from newsletter.kit.db import Base, status_type, text


class SigningMode(StrEnum):
    """Who signs: the sending server (relay), or we, with one key or with two."""

    relay = "relay"
    rsa = "rsa"
    rsa_ed25519 = "rsa+ed25519"


class DomainStatus(StrEnum):
    """Whether the required records were seen in the DNS. ``pending``: nobody looked yet, or the DNS did not
    answer; ``failed``: it said that one is missing or wrong."""

    pending = "pending"
    verified = "verified"
    failed = "failed"


class SendingDomain(Base):
    __tablename__ = "sending_domains"
    __table_args__ = (
        UniqueConstraint("project_id", "domain"),
        Index("ix_sending_domains_checked", "status", "checked_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id"))
    domain: Mapped[str] = mapped_column(text(255))
    """As A-label, in lower case."""
    mode: Mapped[SigningMode] = mapped_column(status_type(SigningMode, "mode"))
    status: Mapped[DomainStatus] = mapped_column(status_type(DomainStatus, "status"))
    selector: Mapped[str] = mapped_column(text(63))
    """Of the RSA key; that of the Ed25519 key has ``e`` behind it."""
    rsa_key: Mapped[bytes | None]
    """PKCS #8, encrypted; so is the other."""
    ed25519_key: Mapped[bytes | None]
    records: Mapped[list[dict[str, Any]]]
    """The keys as they belong into the DNS: ``type``, ``name``, ``value`` of each."""
    checks: Mapped[list[dict[str, Any]]] = mapped_column(default=list)
    """What was seen at the last look, as `newsletter.domains.records.to_json` writes it."""
    checked_at: Mapped[datetime | None]
    absent_since: Mapped[datetime | None]
    """When the DNS first said that a required record is not there, and has not said otherwise since."""
    tracking_host: Mapped[str | None] = mapped_column(text(255), unique=True)
    """Where tracked links of mail from this domain are to lead, as A-label; None: the installation's."""
    tracking_verified_at: Mapped[datetime | None]
    """Since when its CNAME is known to lead here; None while it is not used."""
    created_at: Mapped[datetime]

    @property
    def is_tracking_host_used(self) -> bool:
        """While both the domain and the CNAME are verified."""
        return self.status is DomainStatus.verified and self.tracking_verified_at is not None
