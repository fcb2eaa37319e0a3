"""Up to 1,000 rows in one call: bad rows are counted, good ones written in a few statements."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.audience import fields, quota, upsert
from newsletter.audience.schemas import BatchRow
from newsletter.audience.upsert import Entry, Result, Target
from newsletter.kit import address
from newsletter.kit.crypto import Vault
from newsletter.kit.errors import ValidationFailed
from newsletter.settings import LimitSettings

MAX_EXAMPLES = 10
_EXAMPLE_CHARS = 320


@dataclass(frozen=True, slots=True)
class BatchResult:
    """``received = created + updated + invalid + skipped_over_cap``; reactivated are among updated."""

    received: int
    created: int
    updated: int
    reactivated: int
    invalid: int
    skipped_over_cap: int
    invalid_examples: list[str]


@dataclass(slots=True)
class Sheet:
    """The rows of a call, parted into those that can be written and those that are counted only."""

    received: int
    good: list[tuple[object, Entry]]
    bad: list[object]

    def entries(self) -> list[Entry]:
        """One for each address: of the same one twice the later row's fields win."""
        merged: dict[str, Entry] = {}
        for _, entry in self.good:
            key = entry.address.key
            merged[key] = merged[key].merged(entry) if key in merged else entry
        return list(merged.values())

    def counted(self, results: Sequence[Result | None]) -> BatchResult:
        """``results`` are those of `entries`; None stands for one that found no room in the plan."""
        times = Counter(entry.address.key for _, entry in self.good)
        created = reactivated = skipped = 0
        for count, result in zip(times.values(), results, strict=True):
            if result is None:
                skipped += count
            else:
                created += result.is_new
                reactivated += result.is_reactivated
        return BatchResult(
            received=self.received,
            created=created,
            updated=len(self.good) - skipped - created,
            reactivated=reactivated,
            invalid=len(self.bad),
            skipped_over_cap=skipped,
            invalid_examples=[_example(raw) for raw in self.bad[:MAX_EXAMPLES]],
        )


def read(target: Target, raw_rows: Sequence[object], limits: LimitSettings) -> Sheet:
    """Raises `ValidationFailed` for too many rows, never for a bad row."""
    if len(raw_rows) > limits.batch_rows:
        raise ValidationFailed.of("subscribers", f"must have at most {limits.batch_rows:,} rows")
    sheet = Sheet(len(raw_rows), [], [])
    for raw in raw_rows:
        entry = _read(raw, target, limits)
        if entry is None:
            sheet.bad.append(raw)
        else:
            sheet.good.append((raw, entry))
    return sheet


async def import_batch(
    session: AsyncSession, vault: Vault, target: Target, sheet: Sheet, limits: LimitSettings
) -> BatchResult:
    """Upserts each row by the rules of `upsert`. Announces nothing. Raises `ValidationFailed` for a
    foreign list.
    """
    taken = await quota.lock(session, target.project)
    good, over = await _register_fields(session, target, sheet.good, limits)
    sheet = Sheet(sheet.received, good, sheet.bad + over)
    return sheet.counted(await upsert.apply(session, vault, target, sheet.entries(), taken))


def _read(raw: object, target: Target, limits: LimitSettings) -> Entry | None:
    """None for a row that is not valid (pydantic's error is a `ValueError`, too)."""
    try:
        # Of the body of a call these are valid rows already.
        row = raw if isinstance(raw, BatchRow) else BatchRow.model_validate(raw)
        email = address.parse(row.email)
    except ValueError:
        return None
    if len(row.tags or ()) > limits.tags:
        return None
    return Entry(email, upsert.sent_fields(row), upsert.evidence_of(row, target.key_id))


async def _register_fields(
    session: AsyncSession, target: Target, good: Sequence[tuple[object, Entry]], limits: LimitSettings
) -> tuple[list[tuple[object, Entry]], list[object]]:
    """Parts the rows into those whose custom fields are known now, and those with one too many."""
    names = [_names(entry) for _, entry in good]
    known = await fields.register(
        session, target.project, (name for row in names for name in row), limits.custom_fields
    )
    kept, over = [], []
    for (raw, entry), wanted in zip(good, names, strict=True):
        if known.issuperset(wanted):
            kept.append((raw, entry))
        else:
            over.append(raw)
    return kept, over


def _names(entry: Entry) -> list[str]:
    values = entry.fields.get("custom_fields") or {}
    return [name for name, value in values.items() if value is not None]


def _example(raw: object) -> str:
    """What tells the caller which row it was: its address, or else the row itself."""
    email = raw.get("email") if isinstance(raw, dict) else getattr(raw, "email", None)
    if isinstance(email, str):
        return email[:_EXAMPLE_CHARS]
    return json.dumps(raw, ensure_ascii=False)[:_EXAMPLE_CHARS]
