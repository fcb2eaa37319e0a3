"""Starts mailings to the recipients that a call names: single mails, one or a thousand of them.

They are mailings like any other, with the same batches, ledger and workers. What one call hands
over becomes as few of them as possible, because each is claimed and closed by itself: items from
one sender share a mailing, even where they say different things (`models.Content`). Only an
address that occurs twice needs a second one, as a mailing mails an address once.

A thousand items are some dozens of statements.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts.project import Project
from newsletter.audience import queries as audience
from newsletter.delivery import announcing, queries, urgency
from newsletter.delivery.ledger import Decision
from newsletter.delivery.mime import File
from newsletter.delivery.models import (
    Attachment,
    Batch,
    BatchStatus,
    Content,
    Mailing,
    MailingKind,
    MailingStatus,
    MailingTag,
    Message,
    MessagePart,
    Outcome,
    Role,
    UnknownPolicy,
)
from newsletter.delivery.rounds import SUPPRESSED, UNSUBSCRIBED
from newsletter.delivery.service import UNTOUCHED, Sender, close_if_done, reserve_mails
from newsletter.events import listening
from newsletter.kit import clock, ids, jobs, prepared
from newsletter.kit.address import Address, domain_of
from newsletter.kit.bulk import Rows, insert_all
from newsletter.kit.jobs import Job
from newsletter.plans import service as plans
from newsletter.plans.catalogue import Resource
from newsletter.providers.base import Purpose
from newsletter.settings import DeliverySettings
from newsletter.suppressions import queries as suppressions
from newsletter.tallies import service as tallies
from newsletter.tallies.models import Metric
from newsletter.tallies.spans import quarter_of
from newsletter.templates.compile import Compiled


@dataclass(frozen=True, slots=True)
class Recipient:
    address: Address
    name: str | None = None
    role: Role = Role.to


@dataclass(frozen=True, slots=True, eq=False)
class Writing:
    """What a mail says. Items that hold the same object share what is stored of it."""

    compiled: Compiled
    reply_to: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    files: tuple[File, ...] = ()


@dataclass(frozen=True, slots=True)
class Origin:
    """What items must have in common to share a mailing."""

    sender: Sender
    purpose: Purpose
    tags: tuple[str, ...] = ()
    track_opens: bool = False
    track_clicks: bool = False
    is_to_many: bool = False
    """Of a call that names more than `urgency.FEW` recipients."""

    @property
    def job(self) -> str:
        """That sends it."""
        return urgency.of_call(self.purpose, is_to_many=self.is_to_many)


@dataclass(frozen=True, slots=True)
class Item:
    """One mail, to everybody whom its header names. Each address occurs once."""

    origin: Origin
    recipients: tuple[Recipient, ...]
    writing: Writing
    variables: Mapping[str, str] = field(default_factory=dict)
    due_at: datetime | None = None
    """Not before this moment; None: at once."""


@dataclass(frozen=True, slots=True)
class Posted:
    """A message as it was written down."""

    id: str
    recipient: Recipient
    outcome: Outcome
    due_at: datetime | None


async def post(
    session: AsyncSession,
    project: Project,
    items: Sequence[Item],
    *,
    mail_limit: int | None,
    settings: DeliverySettings,
) -> list[list[Posted]]:
    """Writes the mails down and wakes the workers; returns the messages of each item.

    Who may not be mailed gets a row that says so, and uses up nothing. Raises `QuotaExceeded` when
    the plan has fewer mails left than all items need; the transaction is then the caller's to
    roll back.
    """
    now = await prepared.now(session)
    blocked = await _blocked(session, project, items)
    drafts = _arranged(items)
    for draft in drafts:
        draft.number(blocked)
    period = plans.period_of(Resource.mails, now)
    contents, files = _contents(drafts)
    messages, parts = _messages(drafts, now)
    batches = _batches(drafts, now, settings.batch_size)
    await insert_all(
        session,
        [
            (Mailing, [_mailing(draft, project, period, now, settings) for draft in drafts]),
            (MailingTag, _tags(drafts, project)),
            (Content, contents),
            (Attachment, files),
            (Message, messages),
            (MessagePart, parts),
            (Batch, batches),
            (Job, _jobs(session, drafts, batches, now)),
        ],
    )
    await _tell_of_suppressed(session, project, drafts)
    for draft in drafts:
        if not draft.open_count:
            await close_if_done(session, draft.id)
    # Last: all calls and workers of an account queue for this row, until the commit of who has it.
    open_count = sum(draft.open_count for draft in drafts)
    await reserve_mails(session, project.quota_owner_id, open_count, mail_limit, period)
    found = {id(item): posted for draft in drafts for item, posted in draft.posted()}
    return [found[id(item)] for item in items]


@dataclass(slots=True)
class _Row:
    seq: int
    item: Item
    place: int
    """The item's place in its mailing."""
    content: int
    recipient: Recipient
    outcome: Outcome
    reason: str | None


@dataclass(slots=True)
class _Draft:
    """A mailing that is being put together."""

    origin: Origin
    items: list[Item]
    id: UUID = field(default_factory=ids.uuid7)
    contents: list[tuple[Writing, Item]] = field(default_factory=list)
    rows: list[_Row] = field(default_factory=list)

    def number(self, blocked: "_Blocked") -> None:
        """Gives each recipient a number: those that are due together one after the other, so that
        batches stay ranges."""
        known: dict[tuple[int, int], int] = {}
        self.items.sort(key=lambda item: (item.due_at is not None, item.due_at or _NEVER))
        for place, item in enumerate(self.items, 1):
            # Several recipients are shown in the header, which nobody else's mail may have.
            key = (id(item.writing), place if _shows_all(item) else 0)
            if key not in known:
                self.contents.append((item.writing, item))
                known[key] = len(self.contents)
            for recipient in item.recipients:
                reason = blocked.get((self.origin, recipient.address.key))
                outcome = Outcome.pending if reason is None else Outcome.suppressed
                row = _Row(len(self.rows) + 1, item, place, known[key], recipient, outcome, reason)
                self.rows.append(row)

    @property
    def open_count(self) -> int:
        return sum(row.outcome is Outcome.pending for row in self.rows)

    def posted(self) -> list[tuple[Item, list[Posted]]]:
        public = queries.public_ids(self.id)
        found: dict[int, tuple[Item, list[Posted]]] = {}
        for row in self.rows:
            posted = Posted(public(row.seq), row.recipient, row.outcome, row.item.due_at)
            found.setdefault(row.place, (row.item, []))[1].append(posted)
        return list(found.values())


_NEVER = datetime.max.replace(tzinfo=UTC)
_Blocked = Mapping[tuple[Origin, str], str]


def _arranged(items: Sequence[Item]) -> list[_Draft]:
    """Items of one origin in one mailing, but each in one that does not know its addresses yet."""
    drafts: dict[tuple[Origin, int], _Draft] = {}
    times: Counter[tuple[Origin, str]] = Counter()
    for item in items:
        keys = [(item.origin, each.address.key) for each in item.recipients]
        turn = max(times[key] for key in keys)
        times.update({key: turn + 1 - times[key] for key in keys})
        drafts.setdefault((item.origin, turn), _Draft(item.origin, [])).items.append(item)
    return list(drafts.values())


def _shows_all(item: Item) -> bool:
    return len(item.recipients) > 1 or item.recipients[0].role is not Role.to


async def _blocked(session: AsyncSession, project: Project, items: Sequence[Item]) -> _Blocked:
    """Why which addresses may not be mailed, for each origin."""
    by_origin: dict[Origin, set[str]] = {}
    for item in items:
        by_origin.setdefault(item.origin, set()).update(each.address.key for each in item.recipients)
    found: dict[tuple[Origin, str], str] = {}
    for origin, keys in by_origin.items():
        domain = domain_of(origin.sender.from_email)
        held = await suppressions.reasons(
            session, project.id, None, domain, keys, is_marketing=origin.purpose is Purpose.marketing
        )
        found |= {(origin, key): f"{SUPPRESSED}: {reason}" for key, reason in held.items()}
        if origin.purpose is Purpose.marketing:
            for key in await audience.left_everything(session, project, keys):
                found.setdefault((origin, key), UNSUBSCRIBED)
    return found


def _mailing(
    draft: _Draft, project: Project, period: str, now: datetime, settings: DeliverySettings
) -> dict[str, object]:
    late = [item.due_at - now for item in draft.items if item.due_at]
    return {
        "id": draft.id,
        "project_id": project.id,
        "kind": MailingKind.transactional,
        "purpose": draft.origin.purpose,
        "source_id": draft.id,
        "list_id": None,
        "status": MailingStatus.running,
        "policy": UnknownPolicy.resend_once,
        "content": {},
        "sender": asdict(draft.origin.sender),
        "tags": list(draft.origin.tags),
        "is_test": project.is_test,
        "track_opens": draft.origin.track_opens,
        "track_clicks": draft.origin.track_clicks,
        "quota_owner_id": project.quota_owner_id,
        "quota_period": period,
        "recipient_count": len(draft.rows),
        "sent": 0,
        "failed": 0,
        "suppressed": 0,
        "skipped": 0,
        "unknown": 0,
        # What is due last has as long for its retries as what goes out at once.
        "expires_at": now + timedelta(hours=settings.transactional_hours) + max([timedelta(0), *late]),
        "created_at": now,
    }


def _tags(drafts: Sequence[_Draft], project: Project) -> Rows:
    return [
        {"project_id": project.id, "tag": tag, "mailing_id": draft.id}
        for draft in drafts
        for tag in draft.origin.tags
    ]


def _contents(drafts: Sequence[_Draft]) -> tuple[Rows, Rows]:
    """What the mails say, and the files that go with it."""
    compiled: dict[int, dict[str, object]] = {}
    contents: list[dict[str, object]] = []
    files: list[dict[str, object]] = []
    for draft in drafts:
        for number, (writing, item) in enumerate(draft.contents, 1):
            if id(writing) not in compiled:
                compiled[id(writing)] = writing.compiled.to_json()
            head: dict[str, object] = {"reply_to": writing.reply_to, "headers": writing.headers}
            if _shows_all(item):
                head |= {role.value: _shown(item, role) for role in (Role.to, Role.cc)}
            contents.append(
                {"mailing_id": draft.id, "number": number, "compiled": compiled[id(writing)], "head": head}
            )
            files += [
                {"mailing_id": draft.id, "content": number, "position": position, **asdict(file)}
                for position, file in enumerate(writing.files)
            ]
    return contents, files


def _shown(item: Item, role: Role) -> list[tuple[str, str | None]]:
    return [(each.address.spelling, each.name) for each in item.recipients if each.role is role]


def _messages(drafts: Sequence[_Draft], now: datetime) -> tuple[Rows, Rows]:
    rows = [(draft.id, row) for draft in drafts for row in draft.rows]
    messages = [
        {
            "mailing_id": mailing_id,
            "seq": row.seq,
            "address": row.recipient.address.spelling,
            "address_key": row.recipient.address.key,
            "outcome": row.outcome,
            "reason": row.reason,
            "attempts": 0,
            "next_attempt_at": row.item.due_at if row.outcome is Outcome.pending else None,
            "decided_at": None if row.outcome is Outcome.pending else now,
        }
        for mailing_id, row in rows
    ]
    parts = [
        {
            "mailing_id": mailing_id,
            "seq": row.seq,
            "item": row.place,
            "content": row.content,
            "role": row.recipient.role,
            "name": row.recipient.name,
            "variables": dict(row.item.variables),
        }
        for mailing_id, row in rows
    ]
    return messages, parts


async def _tell_of_suppressed(session: AsyncSession, project: Project, drafts: Sequence[_Draft]) -> None:
    """Counts and announces them as a worker does, who finds out later."""
    if not any(row.outcome is Outcome.suppressed for draft in drafts for row in draft.rows):
        return
    quarter = quarter_of(clock.now())
    counts = []
    listened = await listening.listened(session, project.id)
    for draft in drafts:
        suppressed = [
            Decision(row.seq, row.outcome, row.reason)
            for row in draft.rows
            if row.outcome is Outcome.suppressed
        ]
        counts.append(tallies.Count(draft.id, None, quarter, Metric.suppressed, len(suppressed)))
        await announcing.announce_outcomes(session, listened, draft.id, suppressed)
    await tallies.add(session, project.id, counts)


def _batches(drafts: Sequence[_Draft], now: datetime, size: int) -> list[dict[str, Any]]:
    batches: list[dict[str, Any]] = []
    for draft in drafts:
        for due_at, wave in groupby(draft.rows, lambda row: row.item.due_at):
            rows = list(wave)
            for start in range(0, len(rows), size):
                part = rows[start : start + size]
                is_open = any(row.outcome is Outcome.pending for row in part)
                batches.append(
                    {
                        **UNTOUCHED,
                        "id": ids.uuid7(),
                        "mailing_id": draft.id,
                        "first_seq": part[0].seq,
                        "last_seq": part[-1].seq,
                        "status": BatchStatus.waiting if is_open else BatchStatus.done,
                        "due_at": due_at or now,
                        "suppressed": sum(row.outcome is Outcome.suppressed for row in part),
                    }
                )
    return batches


def _jobs(
    session: AsyncSession, drafts: Sequence[_Draft], batches: Sequence[Mapping[str, Any]], now: datetime
) -> Rows:
    """Those that send the batches, each when it is due."""
    names = {draft.id: draft.origin.job for draft in drafts}
    due: dict[tuple[str, datetime], list[dict[str, str]]] = {}
    for batch in batches:
        if batch["status"] is BatchStatus.waiting:
            key = names[batch["mailing_id"]], batch["due_at"]
            due.setdefault(key, []).append({"batch_id": str(batch["id"])})
    return [
        row
        for (name, due_at), payloads in due.items()
        for row in jobs.rows(session, name, payloads, now, run_at=None if due_at == now else due_at)
    ]
