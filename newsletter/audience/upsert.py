"""Adds subscribers and updates known ones: one set of rules for single calls and batches.

* One subscriber per list and address; the spelling that was first written is kept.
* POST and batch bring back who unsubscribed, with ``consent`` where the project requires it.
* Who bounced or complained is never brought back, also not on another list of the project.
* An address that was erased comes back unsubscribed, unless ``consent`` comes with it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts import queries as accounts
from newsletter.accounts.models import Resubscribe
from newsletter.accounts.project import Project
from newsletter.audience import consents, lists, quota, rows
from newsletter.audience.consents import Change, Evidence
from newsletter.audience.models import Status, Subscriber
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
from newsletter.kit.crypto import Vault
from newsletter.suppressions import queries as suppressed
from newsletter.suppressions import service as suppressions
from newsletter.suppressions.models import Reason

FIELDS = ("first_name", "last_name", "tags", "custom_fields", "locale", "timezone")

_TAKEN_OVER = {Reason.hard_bounce: Status.bounced, Reason.complaint: Status.complained}


@dataclass(frozen=True, slots=True)
class Target:
    """What all entries of one call have in common."""

    project: Project
    list_id: UUID
    limit: int | None
    """Subscribers that the plan allows; None: any number."""
    key_id: UUID | None
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
    row: Subscriber
    is_new: bool
    is_reactivated: bool


@dataclass(slots=True)
class _Work:
    """What is to be written, gathered so that each table takes one statement."""

    new: list[Subscriber] = field(default_factory=list)
    changed: list[Subscriber] = field(default_factory=list)
    consents: list[Change] = field(default_factory=list)
    rejoined: list[str] = field(default_factory=list)
    """Address keys whose unsubscribe of the list is over."""
    left: list[str] = field(default_factory=list)
    """Address keys that are new and unsubscribed."""
    agreed: list[str] = field(default_factory=list)
    """Address keys that are active with a consent that was shown: no erasure holds them back."""


def sent_fields(body: SubscriberFields) -> dict[str, Any]:
    """What the caller wrote; tags once each, in their order."""
    fields = {name: getattr(body, name) for name in FIELDS if body.sent(name)}
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
    session: AsyncSession, vault: Vault, target: Target, entries: Sequence[Entry]
) -> list[Result | None]:
    """Writes the entries, at most one per address, in a bounded number of statements.

    None stands for an entry that needs a place in the plan and found none: nothing of it is
    written. Earlier entries come first. Raises `ValidationFailed` for a foreign list.
    """
    project = target.project
    await quota.lock(session, project)
    await lists.named_list(session, project, target.list_id)
    policy = (await accounts.profile(session, project)).resubscribe
    keys = [entry.address.key for entry in entries]
    found = await rows.locked(
        session, project, Subscriber.list_id == target.list_id, Subscriber.address_key.in_(keys)
    )
    known = {row.address_key: row for row in found}
    unknown = [key for key in keys if key not in known]
    reasons = await suppressed.project_reasons(session, vault, project.id, unknown) if unknown else {}
    wanted = [
        _wanted(target, policy, entry, known.get(entry.address.key), reasons.get(entry.address.key))
        for entry in entries
    ]
    needs = [
        status in COUNTED and (key not in known or known[key].status not in COUNTED)
        for key, status in zip(keys, wanted, strict=True)
    ]
    places = await quota.take(session, project, sum(needs), target.limit)
    work, results = _Work(), list[Result | None]()
    for entry, status, is_counted in zip(entries, wanted, needs, strict=True):
        if is_counted and places == 0:
            results.append(None)
            continue
        places -= is_counted
        key = entry.address.key
        if entry.consent and status is Status.active:
            work.agreed.append(key)
        if key in known:
            results.append(_update(work, target, entry, known[key], status))
        else:
            results.append(_create(work, target, entry, status, reasons.get(key)))
    await _write(session, vault, target, work)
    return results


def _wanted(
    target: Target, policy: Resubscribe, entry: Entry, row: Subscriber | None, reason: Reason | None
) -> Status:
    """The status that the entry comes to, if the plan has room for it."""
    if row is not None:
        may_change = target.reactivates and (entry.consent or not needs_consent(row.status, policy))
        return after(Cause.subscribe, row.status) if may_change else row.status
    if entry.status is Status.active and reason is Reason.erased and entry.consent is None:
        return Status.unsubscribed
    if entry.status is Status.active and reason in _TAKEN_OVER:
        return _TAKEN_OVER[reason]
    return entry.status


def _create(work: _Work, target: Target, entry: Entry, status: Status, reason: Reason | None) -> Result:
    now = clock.now()
    row = Subscriber(
        id=ids.uuid7(),
        project_id=target.project.id,
        list_id=target.list_id,
        email=entry.address.spelling,
        address_key=entry.address.key,
        tags=[],
        custom_fields={},
        status=status,
        subscribed_at=now if status is Status.active else None,
        unsubscribed_at=now if status is Status.unsubscribed else None,
        created_at=now,
        updated_at=now,
    )
    fill(row, entry.fields)
    work.new.append(row)
    evidence = entry.consent or Evidence("api", key_id=target.key_id)
    if status is not entry.status:
        evidence = Evidence(f"suppressed: {reason}", key_id=target.key_id)
    work.consents.append(Change(row, FIRST_ACTION[status], evidence))
    if status is Status.unsubscribed:
        work.left.append(row.address_key)
    return Result(row, is_new=True, is_reactivated=False)


def _update(work: _Work, target: Target, entry: Entry, row: Subscriber, status: Status) -> Result:
    is_reactivated = status is not row.status
    if is_reactivated:
        reactivate(row)
        evidence = entry.consent or Evidence("api", key_id=target.key_id)
        work.consents.append(Change(row, action_of(status), evidence))
        work.rejoined.append(row.address_key)
    if fill(row, entry.fields) or is_reactivated:
        row.updated_at = clock.now()
        work.changed.append(row)
    return Result(row, is_new=False, is_reactivated=is_reactivated)


async def _write(session: AsyncSession, vault: Vault, target: Target, work: _Work) -> None:
    project = target.project
    await rows.add(session, work.new)
    await rows.save(session, work.changed)
    await consents.record(session, work.consents)
    await suppressions.suppress(
        session,
        project_id=project.id,
        scope=suppressed.list_scope(target.list_id),
        address_keys=work.left,
        reason=Reason.unsubscribe,
        source="api",
    )
    await suppressions.lift(
        session,
        project_id=project.id,
        scope=suppressed.list_scope(target.list_id),
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


def reactivate(row: Subscriber) -> None:
    """Only the row: its place in the plan, consent and suppression are the caller's."""
    row.status = Status.active
    row.subscribed_at = clock.now()
    row.unsubscribed_at = None


def fill(row: Subscriber, fields: Mapping[str, Any]) -> bool:
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
