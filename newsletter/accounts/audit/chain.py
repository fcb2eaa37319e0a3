"""What an entry of the audit log says, byte for byte, and how one follows from the other.

The hash of an entry is SHA-256 over its canonical form: the JSON object that the API shows of it, without
``hash``, names sorted, no spaces, in UTF-8 (RFC 8785 for what is in it: texts, whole numbers and null). It
holds the hash of the entry before. `docs/audit.md` says the same to who checks an export.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from json.encoder import encode_basestring
from typing import Final, NamedTuple
from uuid import UUID

from newsletter.kit import ids
from newsletter.kit.clock import rfc3339
from newsletter.kit.db import JSONObject, JSONValue

CALL: Final = "call"
"""The action of an entry that is a call; all others are acts."""
INSTALLATION: Final = UUID(int=0)
"""The chain of what was done to the whole installation, which belongs to no project."""
GENESIS: Final = "0" * 64
"""What stands for the hash before the first entry."""

# Sorts the names of `details` as well, which a database may give back in another order.
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode
# A process writes of few projects, keys and routes at a time: their texts took most of the time of an entry.
_public = lru_cache(maxsize=10_000)(ids.public)
_known = lru_cache(maxsize=10_000)(_encode)


def canonical(value: JSONObject) -> bytes:
    return _encode(value).encode()


def digest(value: JSONObject) -> str:
    return hashlib.sha256(canonical(value)).hexdigest()


class Entry(NamedTuple):
    """A row of the log, in the order of its columns."""

    chain_id: UUID
    seq: int
    id: UUID
    account_id: UUID | None
    key_id: UUID | None
    action: str
    method: str | None
    route: str | None
    status: int | None
    subject: str | None
    details: JSONObject
    ip: str | None
    node: str | None
    request_id: str | None
    duration_ms: int | None
    created_at: datetime
    prev_hash: str
    hash: str

    @property
    def project_id(self) -> UUID:
        return self.chain_id

    def content(self) -> dict[str, JSONValue]:
        """What is hashed."""
        return {
            "account_id": _shown("acc", self.account_id),
            "action": self.action,
            "created_at": rfc3339(self.created_at),
            "details": self.details,
            "duration_ms": self.duration_ms,
            "id": ids.public("aud", self.id),
            "ip": self.ip,
            "key_id": _shown("key", self.key_id),
            "method": self.method,
            "node": self.node,
            "prev_hash": self.prev_hash,
            "project_id": project_of(self.chain_id),
            "request_id": self.request_id,
            "route": self.route,
            "seq": self.seq,
            "status": self.status,
            "subject": self.subject,
        }

    def digest(self) -> str:
        """The hash of the content. Its canonical form is spelled out here, as it is made for each call: 8 µs,
        where `canonical` takes 12 (`tests/accounts/test_audit_chain.py` compares them)."""
        details = _encode(self.details) if self.details else "{}"
        written = (
            f'{{"account_id":{_id("acc", self.account_id)},"action":{_known(self.action)}'
            f',"created_at":"{self.created_at.isoformat().replace("+00:00", "Z")}","details":{details}'
            f',"duration_ms":{_number(self.duration_ms)},"id":"{ids.public("aud", self.id)}"'
            f',"ip":{_known(self.ip)},"key_id":{_id("key", self.key_id)}'
            f',"method":{_known(self.method)},"node":{_known(self.node)},"prev_hash":"{self.prev_hash}"'
            f',"project_id":{_id("prj", self.chain_id)},"request_id":{_text(self.request_id)}'
            f',"route":{_known(self.route)},"seq":{self.seq},"status":{_number(self.status)}'
            f',"subject":{_text(self.subject)}}}'
        )
        return hashlib.sha256(written.encode()).hexdigest()

    def line(self) -> bytes:
        """As it is exported: the canonical form, and the hash among the others."""
        return canonical(self.content() | {"hash": self.hash}) + b"\n"


@lru_cache(maxsize=10_000)
def _id(prefix: str, value: UUID | None) -> str:
    return "null" if value is None or value == INSTALLATION else f'"{ids.public(prefix, value)}"'


def _text(value: str | None) -> str:
    return "null" if value is None else encode_basestring(value)


def _number(value: int | None) -> str:
    return "null" if value is None else str(value)


def _shown(prefix: str, value: UUID | None) -> str | None:
    return None if value is None else _public(prefix, value)


def chain_of(project_id: UUID | None) -> UUID:
    return INSTALLATION if project_id is None else project_id


def project_of(chain_id: UUID) -> str | None:
    """Its public id; None for the chain of the installation."""
    return None if chain_id == INSTALLATION else _public("prj", chain_id)


@dataclass(frozen=True, slots=True)
class Head:
    """Where a chain ends and begins, as it is signed."""

    chain_id: UUID
    seq: int
    hash: str
    pruned_seq: int
    pruned_hash: str
    signed_at: datetime
    signature: str = ""
    public_key: str = ""

    @property
    def is_beginning(self) -> bool:
        """Whether the chain has no entry, and had none. A number of 0 alone is no such thing: who can write
        the database can put it behind entries of their own, with numbers below."""
        return (self.seq, self.hash, self.pruned_seq, self.pruned_hash) == (0, GENESIS, 0, GENESIS)

    def content(self) -> Mapping[str, JSONValue]:
        """What is signed, in its canonical form."""
        return {
            "hash": self.hash,
            "project_id": project_of(self.chain_id),
            "pruned_hash": self.pruned_hash,
            "pruned_seq": self.pruned_seq,
            "seq": self.seq,
            "signed_at": rfc3339(self.signed_at),
            "type": "audit.head",
        }
