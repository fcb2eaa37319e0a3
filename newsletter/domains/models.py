"""The domains that a project's mail is signed for."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from newsletter.kit.db import Base, status_type, text


class SigningMode(StrEnum):
    """Who signs: the sending server (relay), or we, with one key or with two."""

    relay = "relay"
    rsa = "rsa"
    rsa_ed25519 = "rsa+ed25519"


class DomainStatus(StrEnum):
    """Whether the records were seen in the DNS. Nothing looks yet, so it is `unverified`."""

    unverified = "unverified"


class SendingDomain(Base):
    __tablename__ = "sending_domains"
    __table_args__ = (UniqueConstraint("project_id", "domain"),)

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
    """What belongs into the DNS: ``type``, ``name``, ``value`` of each."""
    created_at: Mapped[datetime]
