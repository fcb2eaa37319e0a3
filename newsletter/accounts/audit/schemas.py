"""The audit log as the API shows it."""

from typing import Any

from newsletter.accounts.audit.chain import Head, canonical
from newsletter.accounts.schemas import AccountId, AuditEntryId, KeyId, ProjectId
from newsletter.kit.schema import Schema, Time


class AuditEntryOut(Schema):
    """One call with a key, or one act that may have to be answered for."""

    id: AuditEntryId
    seq: int
    """Its place in the project's chain: 1, 2, 3 … without a gap."""
    action: str
    """``call``; or an act: ``suppression.removed``, ``webhook.secret_rotated`` and their like."""
    account_id: AccountId | None
    """The user account that the key of a call belongs to; null for an act."""
    project_id: ProjectId
    key_id: KeyId | None
    """The key of the call; null for an operator at the machine itself."""
    method: str | None
    """Of a call; ``SMTP`` for a mail that was handed over so."""
    route: str | None
    """The pattern of its path, as the path itself may hold an address."""
    status: int | None
    """That of its answer; for a mail by SMTP the reply code."""
    subject: str | None
    """The id of what it was about."""
    details: dict[str, Any]
    ip: str | None
    """Where the call came from."""
    node: str | None
    """The machine that answered."""
    request_id: str | None
    """The ``X-Request-Id`` of its answer."""
    duration_ms: int | None
    created_at: Time
    """When it was answered. The next entry may have a slightly earlier time, as each machine writes what it
    answered in blocks."""
    prev_hash: str
    """The hash of the entry before."""
    hash: str
    """SHA-256 of all the rest, in hexadecimal."""


class AuditHeadOut(Schema):
    """Where the project's chain ends, signed. Kept elsewhere, it proves later that nothing was taken away."""

    project_id: ProjectId
    seq: int
    """The number of the last entry."""
    hash: str
    """That of the last entry."""
    pruned_seq: int
    """The number of the last entry that was removed as its days were over; 0 where none was."""
    pruned_hash: str
    """That of the last entry that was removed."""
    signed_at: Time
    signed: str
    """The text that is signed: all of the above as canonical JSON."""
    signature: str | None
    """Ed25519 (RFC 8032), in hexadecimal. Null where the service found that the chain was changed beside it,
    and vouches for it no more."""
    public_key: str | None
    """The key of the signature: 32 bytes in hexadecimal."""


def shown(head: Head) -> AuditHeadOut:
    return AuditHeadOut(
        project_id=head.chain_id,
        seq=head.seq,
        hash=head.hash,
        pruned_seq=head.pruned_seq,
        pruned_hash=head.pruned_hash,
        signed_at=head.signed_at,
        signed=canonical(head.content()).decode(),
        signature=head.signature or None,
        public_key=head.public_key or None,
    )
