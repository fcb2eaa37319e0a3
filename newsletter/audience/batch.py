"""Up to 1,000 rows in one call: bad rows are counted, good ones written in a few statements."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.audience import fields, quota, upsert
from newsletter.audience.schemas import BatchRow
from newsletter.audience.upsert import Entry, Result, Target
from newsletter.kit import address
from newsletter.kit.address import Address
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
    key_id: UUID | None
    """Of the API key by which they came."""
    rows: list[BatchRow]
    addresses: list[Address]
    """Of the rows, in their order."""
    bad: list[object]

    def keys(self) -> list[str]:
        """Of the addresses, each once."""
        return list(dict.fromkeys(each.key for each in self.addresses))

    def field_names(self) -> set[str]:
        """Custom fields that some row gives a value."""
        return {name for row in self.rows if row.custom_fields for name in _named(row)}

    def entries(self) -> list[Entry]:
        """One for each of `keys`: of the same one twice the later row's fields win."""
        merged: dict[str, Entry] = {}
        for email, row in zip(self.addresses, self.rows, strict=True):
            entry = Entry(email, upsert.sent_fields(row), upsert.evidence_of(row, self.key_id))
            merged[email.key] = merged[email.key].merged(entry) if email.key in merged else entry
        return list(merged.values())

    def counted(self, results: Sequence[Result | None]) -> BatchResult:
        """``results`` are those of `entries`; None stands for one that found no room in the plan."""
        times = Counter(each.key for each in self.addresses)
        created = reactivated = skipped = 0
        for count, result in zip(times.values(), results, strict=True):
            if result is None:
                skipped += count
            else:
                created += result.is_new
                reactivated += result.is_reactivated
        return self._result(created, reactivated, skipped)

    def counted_as_new(self) -> BatchResult:
        """`counted` where each row was somebody new."""
        return self._result(len(self.rows), 0, 0)

    def _result(self, created: int, reactivated: int, skipped: int) -> BatchResult:
        return BatchResult(
            received=self.received,
            created=created,
            updated=len(self.rows) - skipped - created,
            reactivated=reactivated,
            invalid=len(self.bad),
            skipped_over_cap=skipped,
            invalid_examples=[_example(raw) for raw in self.bad[:MAX_EXAMPLES]],
        )


def read(target: Target, raw_rows: Sequence[object], limits: LimitSettings) -> Sheet:
    """Raises `ValidationFailed` for too many rows, never for a bad row."""
    if len(raw_rows) > limits.batch_rows:
        raise ValidationFailed.of("subscribers", f"must have at most {limits.batch_rows:,} rows")
    sheet = Sheet(len(raw_rows), target.key_id, [], [], [])
    for raw in raw_rows:
        try:
            # Of the body of a call these are valid rows already.
            row = raw if isinstance(raw, BatchRow) else BatchRow.model_validate(raw)
            email = address.parse_anew(row.email)
        except ValueError:  # Pydantic's error is one, too.
            sheet.bad.append(raw)
            continue
        if row.tags is not None and len(row.tags) > limits.tags:
            sheet.bad.append(raw)
            continue
        sheet.rows.append(row)
        sheet.addresses.append(email)
    return sheet


async def import_batch(
    session: AsyncSession, vault: Vault, target: Target, sheet: Sheet, limits: LimitSettings
) -> BatchResult:
    """Upserts each row by the rules of `upsert`. Announces nothing. Raises `ValidationFailed` for a
    foreign list.
    """
    taken = await quota.lock(session, target.project)
    sheet = await _with_fields(session, target, sheet, limits)
    return sheet.counted(await upsert.apply(session, vault, target, sheet.entries(), taken))


async def _with_fields(session: AsyncSession, target: Target, sheet: Sheet, limits: LimitSettings) -> Sheet:
    """The sheet without the rows that have a custom field too many; those of the others are known now."""
    named = [_named(row) for row in sheet.rows]
    known = await fields.register(
        session, target.project, (name for row in named for name in row), limits.custom_fields
    )
    fitting = Sheet(sheet.received, sheet.key_id, [], [], list(sheet.bad))
    for row, email, names in zip(sheet.rows, sheet.addresses, named, strict=True):
        if known.issuperset(names):
            fitting.rows.append(row)
            fitting.addresses.append(email)
        else:
            fitting.bad.append(row)
    return fitting


def _named(row: BatchRow) -> list[str]:
    return [name for name, value in (row.custom_fields or {}).items() if value is not None]


def _example(raw: object) -> str:
    """What tells the caller which row it was: its address, or else the row itself."""
    email = raw.get("email") if isinstance(raw, dict) else getattr(raw, "email", None)
    if isinstance(email, str):
        return email[:_EXAMPLE_CHARS]
    return json.dumps(raw, ensure_ascii=False)[:_EXAMPLE_CHARS]
