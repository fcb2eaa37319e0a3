"""Adds subscribers and updates known ones: one set of rules for single calls and batches.

* One subscriber per list and address; the spelling that was first written is kept.
* POST and batch bring back who unsubscribed, with ``consent`` where the project requires it.
* Who unsubscribed from the list before there was a row of them counts as known. Who left all lists left
  those to come as well, until they agree to one.
* Who bounced or complained is never brought back, also not on another list of the project.
* An address that was erased comes back unsubscribed, unless ``consent`` comes with it.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts.models import Resubscribe
from newsletter.accounts.project import Project
from newsletter.audience import consents, lists, quota, rows
from newsletter.audience.consents import Change, Evidence
from newsletter.audience.models import Status, Subscriber
from newsletter.audience.rows import Row
from newsletter.audience.schemas import SubscriberFields
from newsletter.audience.transitions import (
    COUNTED,
    FIRST_ACTION,
    Cause,
    action_of,
    after,
    needs_consent,
)
from newsletter.kit import clock, ids
from newsletter.kit.address import Address
from newsletter.kit.bulk import each_of
from newsletter.kit.crypto import Vault
from newsletter.suppressions import queries as suppressed
from newsletter.suppressions import service as suppressions
from newsletter.suppressions.models import Reason
from newsletter.suppressions.queries import Standing

FIELDS = frozenset({"first_name", "last_name", "tags", "custom_fields", "locale", "timezone"})

_TAKEN_OVER = {Reason.hard_bounce: Status.bounced, Reason.complaint: Status.complained}


@dataclass(frozen=True, slots=True)
class Target:
    """What all entries of one call have in common."""

    project: Project
    list_id: UUID
    limit: int | None
    """Subscribers that the plan allows; None: any number."""
    key_id: UUID | None
    policy: Resubscribe
    """What the project says of those who come back."""
    reactivates: bool = True
    """False for a PUT that says nothing of the status."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One address with what the caller wrote about it."""

    address: Address
    fields: Mapping[str, Any]
    """Those of `FIELDS` that were sent."""
    consent: Evidence | None = None
    status: Status = Status.active
    """Of a new subscriber."""

    def merged(self, later: "Entry") -> "Entry":
        """The same address written twice: the later one wins, field by field."""
        fields = {**self.fields, **later.fields}
        mine, theirs = self.fields.get("custom_fields"), later.fields.get("custom_fields")
        if mine and theirs:
            fields["custom_fields"] = {**mine, **theirs}
        return replace(self, fields=fields, consent=later.consent or self.consent)


@dataclass(frozen=True, slots=True)
class Result:
    row: Row
    is_new: bool
    is_reactivated: bool


@dataclass(slots=True)
class Work:
    """What is known, and what is to be written, gathered so that each table takes one statement."""

    known: dict[str, Row]
    """By address key, as they are after the entries that were carried out so far."""
    standing: Standing
    places: float
    """What is free in the plan."""
    now: datetime
    """When all of it happens."""
    counted: int = 0
    """What was taken of it."""
    new: dict[str, Row] = field(default_factory=dict)
    changed: dict[str, Row] = field(default_factory=dict)
    consents: list[Change] = field(default_factory=list)
    rejoined: set[str] = field(default_factory=set)
    """Address keys whose unsubscribe, of the list or of all, is over."""
    left: list[str] = field(default_factory=list)
    """Address keys that are new and unsubscribed."""
    agreed: list[str] = field(default_factory=list)
    """Address keys that are active with a consent that was shown: no erasure holds them back."""
    fresh: Iterator[UUID] = field(default_factory=lambda: iter(()))
    """Ids of new rows, in order."""
    called: Evidence = field(default_factory=lambda: Evidence("api"))
    """Of those who show no consent: that the API was called."""


def sent_fields(body: SubscriberFields) -> dict[str, Any]:
    """What the caller wrote; tags once each, in their order."""
    fields = {name: getattr(body, name) for name in body.model_fields_set if name in FIELDS}
    if "tags" in fields:
        fields["tags"] = list(dict.fromkeys(fields["tags"] or ()))
    return fields


def evidence_of(body: SubscriberFields, key_id: UUID | None) -> Evidence | None:
    """The consent that the caller shows, if they do."""
    consent = body.consent
    if consent is None:
        return None
    return Evidence(consent.source, ip=consent.ip, text=consent.text, key_id=key_id, at=consent.at)


async def apply(
    session: AsyncSession, vault: Vault, target: Target, entries: Sequence[Entry], taken: int
) -> list[Result | None]:
    """Writes the entries one after the other, in a number of statements that does not grow.

    ``taken`` are the places of the plan that are taken, as `quota.lock` told in this transaction.
    None stands for an entry that needs a place and found none: nothing of it is written. Raises
    `ValidationFailed` for a foreign list.
    """
    project = target.project
    await lists.check_list(session, project, target.list_id)
    keys = list(dict.fromkeys(entry.address.key for entry in entries))
    found = await rows.locked(
        session,
        project,
        each_of(session, Subscriber.address_key, keys, lambda one: one.list_id == target.list_id),
    )
    known = {row.address_key: row for row in found}
    standing = await suppressed.against_joining(session, vault, project.id, target.list_id, keys)
    work = Work(known, standing, places_left(target, taken), clock.now())
    results = carry_out(work, target, entries)
    await _write(session, vault, target, work)
    return results


def places_left(target: Target, taken: int) -> float:
    return math.inf if target.limit is None else target.limit - taken


def carry_out(work: Work, target: Target, entries: Sequence[Entry]) -> list[Result | None]:
    """Decides what becomes of each entry and gathers what is to be written; writes nothing."""
    # Made for all of them at once: apart, they were a third of the 12 µs of a new row.
    work.fresh = iter(ids.uuid7s(sum(entry.address.key not in work.known for entry in entries)))
    work.called = Evidence("api", key_id=target.key_id)
    return [_carry_out(work, target, entry) for entry in entries]


def _carry_out(work: Work, target: Target, entry: Entry) -> Result | None:
    key = entry.address.key
    row = work.known.get(key)
    status = _wanted(work, target, entry, row)
    if status in COUNTED and (row is None or row.status not in COUNTED):
        if work.places < 1:
            return None
        work.places -= 1
        work.counted += 1
    if entry.consent and status is Status.active:
        work.agreed.append(key)
    if row is None:
        return _create(work, target, entry, status)
    return _update(work, target, entry, row, status)


def _wanted(work: Work, target: Target, entry: Entry, row: Row | None) -> Status:
    """The status that the entry comes to, if the plan has room for it."""
    if row is not None:
        return after(Cause.subscribe, row.status) if _may_return(work, target, entry, row) else row.status
    reason = work.standing.everywhere.get(entry.address.key)
    if entry.status is not Status.active:
        return entry.status
    if reason in _TAKEN_OVER:
        return _TAKEN_OVER[reason]
    if reason is Reason.erased and entry.consent is None:
        return Status.unsubscribed
    if _has_left(work, entry.address.key) and not _may_return(work, target, entry, None):
        return Status.unsubscribed
    return entry.status


def _has_left(work: Work, key: str) -> bool:
    """Whether an unsubscribe stands against the address; beside an erasure there may be one."""
    reason = work.standing.everywhere.get(key)
    return key in work.standing.left or reason in (Reason.unsubscribe, Reason.erased)


def _may_return(work: Work, target: Target, entry: Entry, row: Row | None) -> bool:
    """Whether the entry brings back who left, with ``row`` or before there was one."""
    if entry.consent or not target.reactivates:
        return target.reactivates
    was_never_active = row is None or row.subscribed_at is None
    if was_never_active and work.standing.everywhere.get(entry.address.key) is Reason.unsubscribe:
        return False
    return not needs_consent(row.status if row else Status.unsubscribed, target.policy)


def _create(work: Work, target: Target, entry: Entry, status: Status) -> Result:
    now = work.now
    row = Row(
        id=next(work.fresh),
        project_id=target.project.id,
        list_id=target.list_id,
        email=entry.address.spelling,
        address_key=entry.address.key,
        first_name=None,
        last_name=None,
        tags=[],
        custom_fields={},
        locale=None,
        timezone=None,
        status=status,
        subscribed_at=now if status is Status.active else None,
        unsubscribed_at=now if status is Status.unsubscribed else None,
        created_at=now,
        updated_at=now,
    )
    fill(row, entry.fields)
    work.known[row.address_key] = work.new[row.address_key] = row
    evidence = entry.consent or work.called
    if status is not entry.status:
        reason = work.standing.everywhere.get(row.address_key, Reason.unsubscribe)
        evidence = Evidence(f"suppressed: {reason}", key_id=target.key_id)
    work.consents.append(Change(row, FIRST_ACTION[status], evidence))
    if status is Status.unsubscribed:
        work.left.append(row.address_key)
    elif status is Status.active and _has_left(work, row.address_key):
        work.rejoined.add(row.address_key)
    return Result(row, is_new=True, is_reactivated=False)


def _is_freed(work: Work, entry: Entry, status: Status) -> bool:
    """Whether somebody agreed who is active, and all the same held back by an unsubscribe."""
    key = entry.address.key
    is_held = status is Status.active and _has_left(work, key) and key not in work.rejoined
    return is_held and entry.consent is not None


def _update(work: Work, target: Target, entry: Entry, row: Row, status: Status) -> Result:
    # An earlier entry of this address has its own result, which shows the row as it was then.
    row = copy(row)
    is_reactivated = status is not row.status
    if is_reactivated:
        reactivate(row, work.now)
    if is_reactivated or _is_freed(work, entry, status):
        evidence = entry.consent or work.called
        work.consents.append(Change(row, action_of(status), evidence))
        work.rejoined.add(row.address_key)
    if fill(row, entry.fields) or is_reactivated:
        row.updated_at = work.now
        work.known[row.address_key] = row
        written = work.new if row.address_key in work.new else work.changed
        written[row.address_key] = row
    return Result(row, is_new=False, is_reactivated=is_reactivated)


async def _write(session: AsyncSession, vault: Vault, target: Target, work: Work) -> None:
    project = target.project
    await quota.take(session, project, work.counted)
    await rows.add(session, list(work.new.values()))
    await rows.save(session, list(work.changed.values()))
    await consents.record(session, work.consents)
    await suppressions.suppress(
        session,
        project_id=project.id,
        scope=suppressed.list_scope(target.list_id),
        address_keys=work.left,
        reason=Reason.unsubscribe,
        source="api",
    )
    # Who left by a single mail's link left the project.
    for scope in (suppressed.list_scope(target.list_id), suppressed.project_scope(project.id)):
        await suppressions.lift(
            session,
            project_id=project.id,
            scope=scope,
            address_keys=work.rejoined,
            reasons=[Reason.unsubscribe],
        )
    await lift_tombstones(session, vault, project, work.agreed)


async def lift_tombstones(
    session: AsyncSession, vault: Vault, project: Project, address_keys: Sequence[str]
) -> None:
    """These people were erased, perhaps, and agreed again."""
    await suppressions.lift(
        session,
        project_id=project.id,
        scope=suppressed.project_scope(project.id),
        address_keys=[
            stone for key in address_keys for stone in suppressed.tombstones(vault, project.id, key)
        ],
        reasons=[Reason.erased],
    )


def reactivate(row: Row, now: datetime) -> None:
    """Only the row: its place in the plan, consent and suppression are the caller's."""
    row.status = Status.active
    row.subscribed_at = now
    row.unsubscribed_at = None


def fill(row: Row, fields: Mapping[str, Any]) -> bool:
    """Writes the fields into the row; False when they say what it says already."""
    is_changed = False
    for name, value in fields.items():
        before = getattr(row, name)
        if name == "custom_fields":
            merged = {**before, **(value or {})} if value is not None else {}
            value = {key: each for key, each in merged.items() if each is not None}
            # Python holds 1, 1.0 and True to be equal; JSON does not.
            is_same = json.dumps(value, sort_keys=True) == json.dumps(before, sort_keys=True)
        else:
            is_same = value == before
        if not is_same:
            setattr(row, name, value)
            is_changed = True
    return is_changed
