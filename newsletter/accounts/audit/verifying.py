"""Looks at whole chains of the audit log: what was altered, taken out, exchanged or cut off is named."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from newsletter.accounts.audit import queries
from newsletter.accounts.audit.chain import Entry, Head, digest
from newsletter.accounts.audit.notary import Notary
from newsletter.kit.db import Database

ENTRIES_AT_ONCE = 1_000
MOST_FINDINGS = 100
"""Of one chain: whoever altered more than these altered all."""


@dataclass(slots=True)
class Examined:
    """What there is to say of a chain."""

    chain_id: UUID
    entries: int = 0
    head: Head | None = None
    findings: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Kept:
    """What a head that somebody kept elsewhere says of a chain."""

    chain_id: UUID
    seq: int
    hash: str


async def examine(db: Database, notary: Notary, chain_id: UUID, kept: Sequence[Kept] = ()) -> Examined:
    """Reads all of a chain, page by page, up to where it ended when this began; others may go on to add to
    it and to prune it meanwhile. ``kept`` are heads of this chain from before."""
    seen = Examined(chain_id)
    async with db.read() as session:
        head = seen.head = await queries.head(session, chain_id)
    if head is None:
        seen.findings.append("its head is missing")
        return seen
    if not notary.is_signed(head):
        seen.findings.append("its head has no signature that is good under a key of this installation")
    walk = _Walk(head.pruned_seq, head.pruned_hash, {each.seq: each.hash for each in kept})
    while walk.seq < head.seq and len(seen.findings) < MOST_FINDINGS:
        async with db.read() as session:
            page = await queries.linked(session, chain_id, walk.seq, ENTRIES_AT_ONCE)
            now = await queries.head(session, chain_id)
        if now is not None and now.pruned_seq > walk.seq:  # Meanwhile, and by the service where it is signed.
            if not notary.is_signed(now):
                seen.findings.append("it was pruned, and its head has no good signature")
                return seen
            walk = _Walk(now.pruned_seq, now.pruned_hash, walk.kept)
            continue
        page = [entry for entry in page if entry.seq <= head.seq]
        seen.entries += len(page)
        seen.findings += walk.over(page)
        if not page:
            seen.findings.append(f"{_numbers(walk.seq + 1, head.seq)} missing: the end was cut off")
            return seen
    if walk.seq == head.seq and walk.hash != head.hash:
        seen.findings.append(f"the signed head does not have the hash of entry {head.seq}: it was rewritten")
    seen.findings += await _beyond(db, chain_id, kept)
    return seen


class _Walk:
    """From entry to entry."""

    def __init__(self, seq: int, hash_: str, kept: dict[int, str]) -> None:
        self.seq, self.hash, self.kept = seq, hash_, kept

    def over(self, page: Sequence[Entry]) -> Iterator[str]:
        for entry in page:
            if entry.seq != self.seq + 1:
                yield f"{_numbers(self.seq + 1, entry.seq - 1)} missing"
            elif entry.prev_hash != self.hash:
                yield f"entry {entry.seq} does not follow entry {self.seq} as it is now"
            if digest(entry.content()) != entry.hash:
                yield f"entry {entry.seq} was altered"
            if self.kept.get(entry.seq, entry.hash) != entry.hash:
                yield f"entry {entry.seq} is another one than when its head was kept"
            self.seq, self.hash = entry.seq, entry.hash


async def _beyond(db: Database, chain_id: UUID, kept: Sequence[Kept]) -> list[str]:
    """What there is before the beginning and behind the head, or is to be there according to a head that
    was kept."""
    async with db.read() as session:
        ends = await queries.ends(session, chain_id)
    found = []
    if ends.before is not None:
        found.append(f"entry {ends.before} stands before the chain, which begins behind {ends.pruned}")
    if ends.behind is not None:
        found.append(f"{_numbers(ends.last + 1, ends.behind)} behind the signed head")
    if gone := [each.seq for each in kept if each.seq > ends.last]:
        found.append(f"{_numbers(ends.last + 1, max(gone))} missing: a head that was kept knows of them")
    return found


def _numbers(first: int, last: int) -> str:
    return f"entry {first} is" if first == last else f"entries {first} to {last} are"
