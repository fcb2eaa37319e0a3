"""Reads lists, subscribers and consents."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Select, Text, case, cast, exists, func, literal, or_, select, true
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from newsletter.accounts.project import Project
from newsletter.audience.models import Consent, CustomField, MailingList, Segment, Status, Subscriber
from newsletter.kit import anycase
from newsletter.kit.address import Address
from newsletter.kit.bulk import each_of
from newsletter.kit.db import Instant, is_postgresql


@dataclass(frozen=True, slots=True)
class ListSummary:
    """A list with its numbers of this moment."""

    id: UUID
    name: str
    description: str | None
    opt_in: str
    total_subscribers: int
    active_subscribers: int
    segment_count: int
    created_at: datetime
    updated_at: datetime


NO_FIELDS: Mapping[str, Any] = MappingProxyType({})


class MergeRow(NamedTuple):
    """What a mail may say about its reader, as it is now."""

    status: Status
    email: str
    first_name: str | None
    last_name: str | None
    custom_fields: Mapping[str, Any]

    @property
    def is_active(self) -> bool:
        return self.status is Status.active


@dataclass(frozen=True, slots=True)
class Standing:
    """How a person stands on a list: what a page says to who clicked a link of a mail."""

    project_id: UUID
    list_name: str
    email: str
    status: Status

    @property
    def has_left(self) -> bool:
        return self.status is Status.unsubscribed


@dataclass(frozen=True, slots=True)
class Filters:
    """Which subscribers to show; None does not filter."""

    list_ids: Collection[UUID] | None = None
    status: Status | None = None
    tag: str | None = None
    search: str | None = None


def lists(project: Project, allowed: Collection[UUID] = ()) -> Select[MailingList]:
    """The newest first; of a restricted key, those that it may use."""
    statement = select(MailingList).where(MailingList.project_id == project.id)
    if allowed:
        statement = statement.where(MailingList.id.in_(allowed))
    return statement.order_by(MailingList.id.desc())


async def find_list(
    session: AsyncSession, project: Project, list_id: UUID, *, share: bool = False
) -> MailingList | None:
    """``share`` keeps the list from being deleted until the transaction ends."""
    statement = select(MailingList).where(MailingList.project_id == project.id, MailingList.id == list_id)
    if share:
        statement = statement.with_for_update(read=True)
    return (await session.scalars(statement)).one_or_none()


async def has_list(session: AsyncSession, project: Project, list_id: UUID) -> bool:
    statement = select(MailingList.id).where(MailingList.project_id == project.id, MailingList.id == list_id)
    return (await session.execute(statement)).first() is not None


async def summaries(session: AsyncSession, rows: Sequence[MailingList]) -> list[ListSummary]:
    """These lists with their numbers, in one query for all, and in another one for their segments."""
    is_active = Subscriber.status == Status.active
    counted = (
        select(Subscriber.list_id, func.count(), func.count().filter(is_active))
        # All that there are: the index of statuses has every column that is needed here.
        .where(Subscriber.status.in_(list(Status)), Subscriber.list_id.in_([row.id for row in rows]))
        .group_by(Subscriber.list_id)
    )
    numbers = {list_id: (total, active) for list_id, total, active in await session.execute(counted)}
    named = select(Segment.list_id, func.count()).where(Segment.list_id.in_([row.id for row in rows]))
    segments = dict((await session.execute(named.group_by(Segment.list_id))).all())
    return [
        ListSummary(
            row.id,
            row.name,
            row.description,
            "single",
            *numbers.get(row.id, (0, 0)),
            segments.get(row.id, 0),
            row.created_at,
            row.updated_at,
        )
        for row in rows
    ]


def subscribers(session: AsyncSession, project: Project, filters: Filters) -> Select[Subscriber]:
    """The newest first. The session only tells which database it is written for."""
    statement = select(Subscriber).where(Subscriber.project_id == project.id)
    if filters.list_ids is not None:
        statement = statement.where(Subscriber.list_id.in_(filters.list_ids))
    if filters.status is not None:
        statement = statement.where(Subscriber.status == filters.status)
    if filters.tag is not None:
        statement = statement.where(has_tag(session, filters.tag))
    if filters.search:
        statement = statement.where(_mentions(filters.search))
    return statement.order_by(Subscriber.id.desc())


def has_tag(session: AsyncSession, tag: str) -> ColumnElement[bool]:
    """A condition for a ``WHERE`` over subscribers."""
    if is_postgresql(session):
        return cast(Subscriber.tags, JSONB).contains([tag])
    each = func.json_each(Subscriber.tags).table_valued("value")
    return exists(select(1).select_from(each).where(each.c.value == tag))


def _mentions(text: str) -> ColumnElement[bool]:
    full_name = func.coalesce(Subscriber.first_name, "") + " " + func.coalesce(Subscriber.last_name, "")
    return or_(
        anycase.contains(Subscriber.email, text),
        anycase.contains(full_name, text),
    )


async def find_subscriber(session: AsyncSession, project: Project, subscriber_id: UUID) -> Subscriber | None:
    statement = select(Subscriber).where(Subscriber.project_id == project.id, Subscriber.id == subscriber_id)
    return (await session.scalars(statement)).one_or_none()


async def on_list(
    session: AsyncSession,
    project: Project,
    list_id: UUID,
    *,
    subscriber_id: UUID | None = None,
    email: Address | None = None,
) -> UUID | None:
    """The id of the list's subscriber that is named by one of the two; None where there is none."""
    statement = select(Subscriber.id).where(
        Subscriber.project_id == project.id, Subscriber.list_id == list_id
    )
    is_theirs = Subscriber.address_key == email.key if email else Subscriber.id == subscriber_id
    return (await session.scalars(statement.where(is_theirs))).one_or_none()


async def end_of_window(session: AsyncSession, list_id: UUID, after: UUID | None, size: int) -> UUID | None:
    """Who is the last of the next ``size`` active subscribers of the list behind ``after``, in order of their
    ids; None where there are fewer. Read from an index alone, so the caller has made sure that the list is
    the project's."""
    statement = select(Subscriber.id).where(Subscriber.list_id == list_id, Subscriber.status == Status.active)
    if after is not None:
        statement = statement.where(Subscriber.id > after)
    return (await session.scalars(statement.order_by(Subscriber.id).offset(size - 1).limit(1))).first()


def consents(project: Project, subscriber_id: UUID) -> Select[Consent]:
    """The history of one subscriber, the newest first."""
    return (
        select(Consent)
        .where(Consent.project_id == project.id, Consent.subscriber_id == subscriber_id)
        .order_by(Consent.id.desc())
    )


async def custom_field_names(session: AsyncSession, project: Project) -> frozenset[str]:
    """The custom fields that merge tags of the project may use."""
    statement = select(CustomField.name).where(CustomField.project_id == project.id)
    return frozenset(await session.scalars(statement))


@dataclass(frozen=True, slots=True)
class Moments:
    """When readers of which time zones are due, and all others."""

    by_moment: Mapping[datetime, Sequence[str]]
    otherwise: datetime

    def column(self) -> ColumnElement[datetime]:
        choices = [
            (Subscriber.timezone.in_(zones), literal(moment, Instant()))
            for moment, zones in self.by_moment.items()
            if zones and moment != self.otherwise
        ]
        otherwise = literal(self.otherwise, Instant())
        return case(*choices, else_=otherwise) if choices else otherwise


def recipients(project: Project, list_id: UUID, moments: Moments | None = None) -> Select[*tuple[Any, ...]]:
    """(subscriber id, email, address_key) of those active on the list: one row per address.

    With ``moments``, a fourth column ``due_at`` says when each is due. Composable:
    `suppressions.queries.without` takes away who must not be mailed.
    """
    due_at = [moments.column().label("due_at")] if moments else []
    return select(Subscriber.id, Subscriber.email, Subscriber.address_key, *due_at).where(
        Subscriber.project_id == project.id,
        Subscriber.list_id == list_id,
        Subscriber.status == Status.active,
    )


async def time_zones(session: AsyncSession, project: Project, list_id: UUID) -> set[str | None]:
    """The zones of those active on the list; None stands for who has none. Reads the whole list."""
    statement = select(Subscriber.timezone).where(
        Subscriber.project_id == project.id,
        Subscriber.list_id == list_id,
        Subscriber.status == Status.active,
    )
    return set(await session.scalars(statement.distinct()))


async def merge_data(
    session: AsyncSession, project_id: UUID, subscriber_ids: Collection[UUID]
) -> dict[UUID, MergeRow]:
    """For one block of a mailing: one indexed query. Who was erased is missing."""
    statement = select(
        Subscriber.id,
        Subscriber.status,
        Subscriber.email,
        Subscriber.first_name,
        Subscriber.last_name,
        Subscriber.custom_fields,
    ).where(Subscriber.project_id == project_id, Subscriber.id.in_(subscriber_ids))
    return {subscriber_id: MergeRow(*values) for subscriber_id, *values in await session.execute(statement)}


def with_merge_data(
    statement: Select[*tuple[Any, ...]],
    subscriber_id: InstrumentedAttribute[UUID | None],
    project_id: ColumnElement[UUID],
) -> Select[*tuple[Any, ...]]:
    """The statement with the fields of `MergeRow` behind its own, for `merge_row`.

    Custom fields come as the text of their JSON: most people have none, and finding that out by
    parsing took a fifth of the time of reading a batch.

    The project is asked for in a form that fits no index. In its plain form it does, and a planner
    without fresh statistics then reads all subscribers of the project for each row of the
    statement: 587 ms for 500 of 6,000, and the square of that for larger lists.
    """
    mine = (Subscriber.id == subscriber_id) & (Subscriber.project_id == project_id).is_(true())
    return statement.add_columns(
        Subscriber.status,
        Subscriber.email,
        Subscriber.first_name,
        Subscriber.last_name,
        cast(Subscriber.custom_fields, Text),
    ).outerjoin(Subscriber, mine)


def merge_row(
    status: Status | None,
    email: str,
    first_name: str | None,
    last_name: str | None,
    custom_fields: str,
) -> MergeRow | None:
    """What `with_merge_data` has read of one person; None for who was erased."""
    if status is None:
        return None
    fields = NO_FIELDS if custom_fields == "{}" else json.loads(custom_fields)
    return MergeRow(status, email, first_name, last_name, fields)


def is_active(subscriber_id: ColumnElement[UUID] | InstrumentedAttribute[UUID | None]) -> ColumnElement[bool]:
    """A condition for a ``WHERE``: this subscriber is still there, and active.

    The status is compared outside of the look-up, so that the key alone finds the row. With both in one
    ``EXISTS``, PostgreSQL took the index of statuses for as good while the table was small, and a worker
    kept that plan when it had grown: for each mail all active subscribers were read, and 20,000 mails
    cost the server 565 µs each instead of 73.
    """
    theirs = select(Subscriber.status).where(Subscriber.id == subscriber_id).scalar_subquery()
    return func.coalesce(theirs, "") == Status.active


def active_sql(subscriber_id: str) -> str:
    """`is_active` as text, for a statement written by hand: the name of the column."""
    theirs = f"SELECT p.status FROM subscribers p WHERE p.id = {subscriber_id}"  # noqa: S608
    return f"coalesce(({theirs}), '') = '{Status.active}'"


_ON_LISTS = (Status.active, Status.pending)


async def left_everything(session: AsyncSession, project: Project, address_keys: Collection[str]) -> set[str]:
    """Those of these addresses that left a list of the project and are on none of it any more."""
    is_there = Subscriber.status.in_(_ON_LISTS)
    statement = (
        select(Subscriber.address_key)
        .where(
            each_of(
                session,
                Subscriber.address_key,
                address_keys,
                lambda one: (one.project_id == project.id).is_(true()),
            )
        )
        .group_by(Subscriber.address_key)
        .having(
            func.sum(case((is_there, 1), else_=0)) == 0,
            func.sum(case((Subscriber.status == Status.unsubscribed, 1), else_=0)) > 0,
        )
    )
    return set(await session.scalars(statement))


def has_left(
    address_key: ColumnElement[str] | InstrumentedAttribute[str], project_id: UUID
) -> ColumnElement[bool]:
    """`left_everything` as a condition for a ``WHERE``, on the address in this column."""
    theirs = exists().where(Subscriber.project_id == project_id, Subscriber.address_key == address_key)
    return theirs.where(Subscriber.status == Status.unsubscribed) & ~theirs.where(
        Subscriber.status.in_(_ON_LISTS)
    )


def has_left_sql(address_key: str, project_id: str) -> str:
    """`has_left` as text, for a statement written by hand: the name of the column, and an expression."""
    on_lists = ", ".join(f"'{each}'" for each in _ON_LISTS)
    theirs = (
        f"SELECT 1 FROM subscribers p WHERE p.project_id = {project_id} AND p.address_key = {address_key}"  # noqa: S608
    )
    return (
        f"EXISTS ({theirs} AND p.status = '{Status.unsubscribed}')"
        f" AND NOT EXISTS ({theirs} AND p.status IN ({on_lists}))"
    )


async def standing(session: AsyncSession, subscriber_id: UUID) -> Standing | None:
    """None for who was erased. For signed links alone, whose token names no project."""
    statement = (
        select(Subscriber.project_id, MailingList.name, Subscriber.email, Subscriber.status)
        .join(MailingList, MailingList.id == Subscriber.list_id)
        .where(Subscriber.id == subscriber_id)
    )
    row = (await session.execute(statement)).one_or_none()
    return Standing(*row) if row else None
