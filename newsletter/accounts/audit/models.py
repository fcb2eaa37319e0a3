"""Tables of the audit log."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Index, SmallInteger
from sqlalchemy.orm import Mapped, mapped_column

from newsletter.kit.db import Base, text


class AuditChain(Base):
    """Where a chain ends and where it begins, signed. Who adds to a chain locks its row first."""

    __tablename__ = "audit_chains"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    """The project's, or `newsletter.accounts.audit.chain.INSTALLATION`."""
    seq: Mapped[int] = mapped_column(BigInteger)
    """Of the last entry."""
    hash: Mapped[str] = mapped_column(text(64))
    """Of the last entry, in hexadecimal, as all of these."""
    pruned_seq: Mapped[int] = mapped_column(BigInteger)
    """Of the last entry that was pruned; 0 before there is one."""
    pruned_hash: Mapped[str] = mapped_column(text(64))
    signed_at: Mapped[datetime]
    signature: Mapped[str] = mapped_column(text(128))
    """Ed25519 of all of this; empty where the chain was found without a good one."""
    public_key: Mapped[str] = mapped_column(text(64))


class AuditEntry(Base):
    """One call, or one act. Rows are only ever added at the end and pruned from the beginning; there is no
    foreign key, so that they outlive what they are about."""

    __tablename__ = "audit_entries"
    __table_args__ = (Index("ix_audit_entries_created", "chain_id", "created_at"),)

    chain_id: Mapped[UUID] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    """1, 2, 3 … without a gap."""
    id: Mapped[UUID]
    account_id: Mapped[UUID | None]
    key_id: Mapped[UUID | None]
    """The key of the call; None for an operator."""
    action: Mapped[str] = mapped_column(text(60))
    """``call``; or an act: ``suppression.removed``, ``webhook.secret_rotated`` and their like."""
    method: Mapped[str | None] = mapped_column(text(10))
    route: Mapped[str | None] = mapped_column(text(200))
    """Its pattern, as the path itself may hold an address."""
    status: Mapped[int | None] = mapped_column(SmallInteger)
    subject: Mapped[str | None] = mapped_column(text(100))
    """The public id of what it was about."""
    details: Mapped[dict[str, Any]]
    ip: Mapped[str | None] = mapped_column(text(45))
    node: Mapped[str | None] = mapped_column(text(200))
    """The machine that answered; None for what was noted before nodes were."""
    request_id: Mapped[str | None] = mapped_column(text(64))
    duration_ms: Mapped[int | None]
    created_at: Mapped[datetime]
    prev_hash: Mapped[str] = mapped_column(text(64))
    hash: Mapped[str] = mapped_column(text(64))
