"""Finds the messages of a project, of campaigns and single ones alike, with what became of them.

Messages have no column for their project: their mailing has. So pages are read along an index of
mailings, of tags or of addresses, the newest first, and cost what they show.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, bindparam, select, true, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from newsletter.accounts.project import Project
from newsletter.delivery import rolls
from newsletter.delivery.models import (
    Content,
    Feedback,
    Mailing,
    MailingKind,
    MailingStatus,
    MailingTag,
    Message,
    MessageAttempt,
    MessagePart,
    Outcome,
    Role,
)
from newsletter.delivery.queries import MessageKey, is_erased, key_of, public_id
from newsletter.delivery.statuses import CANCELLED, MessageStatus, status_of
from newsletter.kit import ids
from newsletter.kit.db import db_now, is_postgresql
from newsletter.kit.errors import NotFound, ValidationFailed
from newsletter.kit.prepared import Prepared, pairs
from newsletter.providers.base import Purpose
from newsletter.templates.slots import MergeTemplate

Keys: TypeAlias = Select[UUID, int]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which messages to show; None does not filter."""

    status: MessageStatus | None = None
    tag: str | None = None
    address_key: str | None = None
    campaign_id: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None
    list_ids: Collection[UUID] = ()
    """Of a restricted key: only mail to these lists."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One message with what its mailing says of it."""

    mailing_id: UUID
    seq: int
    subscriber_id: UUID | None
    address: str
    outcome: Outcome
    reason: str | None
    feedback: Feedback | None
    attempts: int
    next_attempt_at: datetime | None
    decided_at: datetime | None
    server_id: UUID | None
    kind: MailingKind
    purpose: Purpose
    mailing_status: MailingStatus
    source_id: UUID
    list_id: UUID | None
    sender: Mapping[str, Any]
    created_at: datetime
    expires_at: datetime
    role: Role | None
    item: int | None
    tags: Sequence[str]
    variables: Mapping[str, str] | None
    own_subject: Any
    mailing_subject: Any
    now: datetime
    same_mail: Sequence[int] = ()
    """The numbers of all messages of the call or item that a single mail came from, itself included; where
    it was read alone."""

    @property
    def id(self) -> str:
        return public_id(self.mailing_id, self.seq)

    @property
    def status(self) -> MessageStatus:
        is_due = self.next_attempt_at is None or self.next_attempt_at <= self.now or self.attempts > 0
        return status_of(self.outcome, self.feedback, is_due=is_due, reason=self.reason)

    @property
    def campaign_id(self) -> UUID | None:
        return self.source_id if self.kind is MailingKind.campaign else None

    @property
    def is_erased(self) -> bool:
        return is_erased(self.address)

    @property
    def subject(self) -> str | None:
        """As a single mail's reader saw it; a campaign's without what it says of its reader."""
        written = self.own_subject or self.mailing_subject
        return MergeTemplate.from_json(written).merge(self.variables or {}) if written else None


@dataclass(frozen=True, slots=True)
class Attempt:
    """A try, and how it ended."""

    number: int
    at: datetime
    outcome: Outcome
    server_id: UUID | None
    code: int | None = None
    enhanced: str | None = None
    reason: str | None = None


def _entry(message: type[Message]) -> Select[*tuple[Any, ...]]:
    """The fields of an `Entry`, of messages that have a row or are on a roll."""
    part = and_(MessagePart.mailing_id == message.mailing_id, MessagePart.seq == message.seq)
    content = and_(Content.mailing_id == MessagePart.mailing_id, Content.number == MessagePart.content)
    return (
        select(
            message.mailing_id,
            message.seq,
            message.subscriber_id,
            message.address,
            message.outcome,
            message.reason,
            message.feedback,
            message.attempts,
            message.next_attempt_at,
            message.decided_at,
            message.server_id,
            Mailing.kind,
            Mailing.purpose,
            Mailing.status,
            Mailing.source_id,
            Mailing.list_id,
            Mailing.sender,
            Mailing.created_at,
            Mailing.expires_at,
            MessagePart.role,
            MessagePart.item,
            Mailing.tags,
            MessagePart.variables,
            Content.compiled["subject"],
            Mailing.content["subject"],
            db_now(),
        )
        .join(Mailing, Mailing.id == message.mailing_id)
        .outerjoin(MessagePart, part)
        .outerjoin(Content, content)
    )


_SIBLING = aliased(MessagePart)
# A row for each message of the same mail: one round trip less than to ask for them.
_ONE = Prepared(
    lambda _: (
        _entry(Message)
        .add_columns(_SIBLING.seq)
        .outerjoin(
            _SIBLING, and_(_SIBLING.mailing_id == MessagePart.mailing_id, _SIBLING.item == MessagePart.item)
        )
        .where(
            Message.mailing_id == bindparam("mailing_id"),
            Message.seq == bindparam("seq"),
            Mailing.project_id == bindparam("project_id"),
        )
        .order_by(_SIBLING.seq)
    )
)
_SOME = Prepared(lambda among: _entry(Message).where(among.pairs((Message.mailing_id, Message.seq), "keys")))


async def one(
    session: AsyncSession, project: Project, message_id: str, list_ids: Collection[UUID] = ()
) -> Entry:
    """Raises `NotFound`, also for a message of another project or outside of a key's lists."""
    mailing_id, seq = read_id(message_id)
    key = {"mailing_id": mailing_id, "seq": seq, "project_id": project.id}
    entry = _with_siblings(await _ONE.rows(session, **key))
    if entry is None and is_postgresql(session):
        on_roll = await _on_rolls(session, [(mailing_id, seq)], Mailing.project_id == project.id)
        # Written out in between: its row is there now.
        entry = Entry(*on_roll[0]) if on_roll else _with_siblings(await _ONE.rows(session, **key))
    if entry is None or (list_ids and entry.list_id not in list_ids):
        raise NotFound("There is no such message in this project.")
    return entry


def _with_siblings(rows: Sequence[Sequence[Any]]) -> Entry | None:
    """Of the rows of `_ONE`, which differ in their last column alone."""
    numbers = [row[-1] for row in rows if row[-1] is not None]
    return Entry(*(*rows[0][:-1], numbers)) if rows else None


def read_id(message_id: str) -> MessageKey:
    """Raises `NotFound` for what is no id of a message."""
    try:
        return key_of(message_id)
    except ValueError:
        raise NotFound("There is no such message in this project.") from None


def _mine(project: Project, list_ids: Collection[UUID]) -> list[ColumnElement[bool]]:
    return [Mailing.project_id == project.id, *([Mailing.list_id.in_(list_ids)] if list_ids else [])]


async def listed(
    session: AsyncSession, project: Project, wanted: Wanted, *, after: str | None, limit: int
) -> list[Entry]:
    """The newest mailing first, in it the last recipient first. ``after`` is the id that a page ended
    with. Raises `ValidationFailed` for a cursor that we did not make."""
    behind = _cursor(after)
    conditions, inside = _of_mailing(project, wanted, behind), _of_message(wanted, behind)
    if wanted.tag is not None:
        conditions += [MailingTag.project_id == project.id, MailingTag.tag == wanted.tag]
    ways: list[Keys]
    if wanted.address_key is not None:
        ways = [_single_ones().where(*inside), _in_campaigns().where(*inside)]
    elif is_postgresql(session):
        ways = [_mailing_by_mailing(inside, limit)]
    else:
        ways = [_KEYS.join(Mailing, Mailing.id == Message.mailing_id).where(*inside)]
    if wanted.tag is not None:
        ways = [keys.join(MailingTag, MailingTag.mailing_id == Mailing.id) for keys in ways]
    found = set[MessageKey]()
    if is_postgresql(session) and wanted.tag is None and wanted.status in (None, MessageStatus.queued):
        # Before the messages: what a worker writes out meanwhile is found here or there. (No campaign has
        # tags, and only campaigns are on rolls.)
        found.update(await rolls.listed(session, conditions, wanted.address_key, behind, limit))
    for keys in ways:
        rows = await session.execute(keys.where(*conditions).limit(limit))
        found.update((mailing_id, seq) for mailing_id, seq in rows)
    return await _entries(session, sorted(found, reverse=True)[:limit])


def _cursor(after: str | None) -> MessageKey | None:
    if after is None:
        return None
    try:
        return read_id(after)
    except NotFound:
        raise ValidationFailed.of("cursor", "must be the next_cursor of an earlier page") from None


_KEYS = select(Message.mailing_id, Message.seq).order_by(Message.mailing_id.desc(), Message.seq.desc())


def _single_ones() -> Keys:
    """What was sent by calls, along the index of its addresses."""
    mine = Message.subscriber_id.is_(None)
    return _KEYS.join(Mailing, Mailing.id == Message.mailing_id).where(mine)


def _in_campaigns() -> Keys:
    """What campaigns sent: one look into each for the address."""
    mine = Mailing.kind != MailingKind.transactional, Message.subscriber_id.is_not(None)
    return _KEYS.join(Mailing, Mailing.id == Message.mailing_id).where(*mine)


def _mailing_by_mailing(conditions: Sequence[ColumnElement[bool]], limit: int) -> Keys:
    """Stops as soon as a page is full. (A plain join would be sorted as a whole: a page of a project
    with one campaign to a million readers read all of them.)"""
    inside = (
        select(Message.seq)
        .where(Message.mailing_id == Mailing.id, *conditions)
        .order_by(Message.seq.desc())
        .limit(limit)
        .lateral("inside")
    )
    keys = select(Mailing.id, inside.c.seq).select_from(Mailing).join(inside, true())
    return keys.order_by(Mailing.id.desc(), inside.c.seq.desc())


def _of_mailing(project: Project, wanted: Wanted, behind: MessageKey | None) -> list[ColumnElement[bool]]:
    found = _mine(project, wanted.list_ids)
    if wanted.campaign_id is not None:
        found += [Mailing.kind == MailingKind.campaign, Mailing.source_id == wanted.campaign_id]
    if wanted.since is not None:
        found.append(Mailing.id >= ids.first_of(wanted.since))
    if wanted.until is not None:
        found.append(Mailing.id < ids.first_of(wanted.until))
    if behind is not None:
        found.append(Mailing.id <= behind[0])
    return found


def _of_message(wanted: Wanted, behind: MessageKey | None) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.address_key is not None:
        found.append(Message.address_key == wanted.address_key)
    if wanted.status is not None:
        found.append(_IN_STATUS[wanted.status])
    if behind is not None:
        found.append(rolls.is_behind(Message.mailing_id, Message.seq, behind))
    return found


_IS_WAITING = and_(
    Message.attempts == 0, Message.next_attempt_at.is_not(None), Message.next_attempt_at > db_now()
)
_IS_CANCELLED = and_(Message.outcome == Outcome.skipped, Message.reason == CANCELLED)
_IN_STATUS: Mapping[MessageStatus, ColumnElement[bool]] = {
    **{MessageStatus(each.value): Message.feedback == each for each in Feedback},
    **{
        MessageStatus(each.value): and_(Message.outcome == each, Message.feedback.is_(None))
        for each in Outcome
        if each is not Outcome.pending
    },
    MessageStatus.queued: and_(Message.outcome == Outcome.pending, ~_IS_WAITING),
    MessageStatus.scheduled: and_(Message.outcome == Outcome.pending, _IS_WAITING),
    MessageStatus.skipped: and_(
        Message.outcome == Outcome.skipped, Message.reason.is_distinct_from(CANCELLED)
    ),
    MessageStatus.cancelled: _IS_CANCELLED,
}
"""`status_of` as conditions."""


async def _entries(session: AsyncSession, keys: Sequence[MessageKey]) -> list[Entry]:
    """In the order of ``keys``, of which there are a page."""
    if not keys:
        return []
    rows = list(await _SOME.rows(session, **pairs("keys", keys)))
    if len(rows) < len(keys) and is_postgresql(session):
        missing = set(keys) - {(row[0], row[1]) for row in rows}
        rows += await _on_rolls(session, missing)
        # Written out in between: their rows are there now.
        rows += await _SOME.rows(session, **pairs("keys", missing))
    found = {(row[0], row[1]): Entry(*row) for row in rows}
    return [found[key] for key in keys if key in found]


async def _on_rolls(
    session: AsyncSession, keys: Collection[MessageKey], *conditions: ColumnElement[bool]
) -> Sequence[Sequence[Any]]:
    """The fields of those whose mailing has not come to them yet."""
    waiting = rolls.as_messages(rolls.holding(keys))
    among = tuple_(waiting.mailing_id, waiting.seq).in_(list(keys))
    rows: Sequence[Sequence[Any]] = (await session.execute(_entry(waiting).where(among, *conditions))).all()
    return rows


_ATTEMPTS = Prepared(
    lambda _: (
        select(
            MessageAttempt.attempt,
            MessageAttempt.at,
            MessageAttempt.outcome,
            MessageAttempt.server_id,
            MessageAttempt.code,
            MessageAttempt.enhanced,
            MessageAttempt.reason,
        )
        .where(MessageAttempt.mailing_id == bindparam("mailing_id"), MessageAttempt.seq == bindparam("seq"))
        .order_by(MessageAttempt.attempt)
    )
)


async def attempts(session: AsyncSession, entry: Entry) -> list[Attempt]:
    """The tries behind a message, the first one first: those that were refused, and the last."""
    rows = await _ATTEMPTS.rows(session, mailing_id=entry.mailing_id, seq=entry.seq) if entry.attempts else ()
    found = [Attempt(*row) for row in rows]
    if entry.outcome is Outcome.sent and entry.decided_at is not None:
        found.append(Attempt(entry.attempts, entry.decided_at, Outcome.sent, entry.server_id))
    return found
