"""What may be said of a subscriber, as one tree of typed conditions, and as SQL.

It has one home and one meaning: a condition is always evaluated by the database, for some subscribers by
their ids or for a whole list. What is not known is not so: a field that nobody filled in equals nothing,
is above nothing and contains nothing, and ``none`` of these is then true.
"""

from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    model_validator,
)
from sqlalchemy import (
    ColumnElement,
    Float,
    Numeric,
    Select,
    and_,
    case,
    cast,
    exists,
    false,
    func,
    not_,
    null,
    or_,
    select,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute, aliased

from newsletter.accounts.project import Principal, Project
from newsletter.audience import queries
from newsletter.audience.models import Status, Subscriber
from newsletter.audience.schemas import MAX_VALUE, ListId, Tag, field_name
from newsletter.kit import anycase
from newsletter.kit.address import DomainName
from newsletter.kit.bulk import among
from newsletter.kit.db import db_in, is_postgresql
from newsletter.kit.ids import IdField
from newsletter.kit.schema import Body, Switch, Time, absent

_BUILT_IN = {
    "email": Subscriber.email,
    "first_name": Subscriber.first_name,
    "last_name": Subscriber.last_name,
    "locale": Subscriber.locale,
    "timezone": Subscriber.timezone,
}

_FAR = 2**60
MAX_CHOICES = 100
"""The most values of one ``one_of``."""
MAX_PARTS = 500
"""The most conditions of one tree, itself included, before any of them is looked at: a body has room for some
ten thousands, and only to read that many domains would keep everybody else waiting for half a minute."""


def _known(name: str) -> str:
    return name if name in _BUILT_IN else field_name(name)


def _without_nul(text: str) -> str:
    # Inside of a list, where `Body` does not look.
    if "\0" in text:
        raise ValueError("must not contain the NUL character")
    return text


def _number(value: object) -> object:
    # Pydantic's own strict types are lax where Litestar asks them to be, as of `kit.schema.Switch`.
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("must be a number")
    return value


def _finite(value: bool | int | float | str) -> bool | int | float | str:
    if isinstance(value, int) and abs(value) > 2**53:
        raise ValueError("must be a number of at most 2^53")
    if isinstance(value, float) and not abs(value) <= 2**53:
        raise ValueError("must be a finite number of at most 2^53")
    return value


Text = Annotated[StrictStr, Field(min_length=1, max_length=MAX_VALUE), AfterValidator(_without_nul)]
Number = Annotated[StrictInt | StrictFloat, BeforeValidator(_number), AfterValidator(_finite)]
Days = Annotated[int, BeforeValidator(_number), Field(ge=1, le=3_650)]
Value = Annotated[StrictBool | StrictInt | StrictFloat | Text, AfterValidator(_finite)]
CampaignId = Annotated[UUID, IdField("cmp")]


def _exactly_one(body: Body, *names: str) -> None:
    if sum(getattr(body, name) is not None for name in names) != 1:
        raise ValueError(f"must have exactly one of {', '.join(names)}")


class FieldCondition(Body):
    """A field of the subscriber, and exactly one thing that is said of its value."""

    name: Annotated[str, AfterValidator(_known), Field(examples=["city"])]
    """A custom field, or ``email``, ``first_name``, ``last_name``, ``locale``, ``timezone``."""
    equals: Value | None = absent()
    """The same text, letter by letter, the same number, or the same of true and false."""
    one_of: Annotated[list[Value], Field(min_length=1, max_length=MAX_CHOICES)] | None = absent()
    """Any of these, as in ``equals``."""
    contains: Text | None = absent()
    """A part of the text, in any case."""
    starts_with: Text | None = absent()
    """The beginning of the text, in any case: ``de`` as the ``locale`` is German anywhere."""
    above: Number | None = absent()
    below: Number | None = absent()
    is_set: Switch | None = absent()
    """Whether it has a value at all."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        _exactly_one(self, "equals", "one_of", "contains", "starts_with", "above", "below", "is_set")
        return self

    @property
    def texts(self) -> Iterator[tuple[str, str]]:
        """The texts that it holds, and below which name each stands."""
        for name in ("equals", "contains", "starts_with"):
            if isinstance(getattr(self, name), str):
                yield name, getattr(self, name)
        for place, value in enumerate(self.one_of or ()):
            if isinstance(value, str):
                yield f"one_of.{place}", value


class When(Body):
    """Exactly one thing that is said of a moment."""

    before: Time | None = absent()
    after: Time | None = absent()
    """This moment itself is neither before nor after."""
    within_days: Days | None = absent()
    """Within so many times 24 hours up to now; ``none`` of it is longer ago."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        _exactly_one(self, "before", "after", "within_days")
        return self


class Activity(Body):
    """That a person did something with a mail; machines do not count."""

    campaign_id: CampaignId | None = absent()
    step: Annotated[str, Field(max_length=40, examples=["welcome"])] | None = absent()
    """In an automation: the mail of this earlier step of the same run."""
    days: Days | None = absent()
    """Within so many days; null: ever."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        _exactly_one(self, "campaign_id", "step")
        return self


_MEMBERS = (
    *("all", "any", "none", "tag", "list_id", "field"),
    *("status", "created_at", "subscribed_at", "domain", "opened", "clicked"),
)


class Condition(Body):
    """Exactly one of its members: something that is known of a subscriber, or several conditions."""

    all: Annotated[list["Condition"], Field(min_length=1, max_length=20)] | None = absent()
    any: Annotated[list["Condition"], Field(min_length=1, max_length=20)] | None = absent()
    none: Annotated[list["Condition"], Field(min_length=1, max_length=20)] | None = absent()
    """Not one of these is true."""
    tag: Tag | None = absent()
    """Has this tag."""
    list_id: ListId | None = absent()
    """The same address is active on this list, too."""
    field: FieldCondition | None = absent()
    status: Status | None = absent()
    """Stands so on the list. Campaigns and automations reach those alone who are ``active``."""
    created_at: When | None = absent()
    subscribed_at: When | None = absent()
    """When they last joined; of who never did, nothing is true."""
    domain: DomainName | None = absent()
    """The domain of the address, without those below it."""
    opened: Activity | None = absent()
    clicked: Activity | None = absent()

    @model_validator(mode="before")
    @classmethod
    def _few(cls, value: object) -> object:
        waiting, number = [value], 0
        while waiting:
            part = waiting.pop()
            number += 1
            if number > MAX_PARTS:
                raise ValueError(f"must be at most {MAX_PARTS} conditions")
            if isinstance(part, dict):
                inside = (part.get(name) for name in ("all", "any", "none"))
                waiting += [each for parts in inside if isinstance(parts, list) for each in parts]
        return value

    @model_validator(mode="after")
    def _one(self) -> Self:
        _exactly_one(self, *_MEMBERS)
        return self

    @property
    def parts(self) -> Sequence["Condition"]:
        """The conditions inside, of which one that is known has none."""
        return self.all or self.any or self.none or ()

    @property
    def depth(self) -> int:
        """1 for what is known, and one more for each level around it."""
        return 1 + max((part.depth for part in self.parts), default=0)

    def each(self, place: str) -> Iterator[tuple[str, "Condition"]]:
        """All that is inside, and where it stands: ``when.all.1.tag``."""
        yield place, self
        for name in ("all", "any", "none"):
            for number, part in enumerate(getattr(self, name) or ()):
                yield from part.each(f"{place}.{name}.{number}")


def activities(condition: Condition) -> list[tuple[str, Activity]]:
    """With where each stands below the condition."""
    found = (
        (f"{place}.{name}", getattr(part, name))
        for place, part in condition.each("")
        for name in ("opened", "clicked")
    )
    return [(place, activity) for place, activity in found if activity is not None]


ListsOfCampaigns = Callable[[AsyncSession, Project, Collection[UUID]], Awaitable[Mapping[UUID, UUID]]]
"""The lists of those of these campaigns that are there. Campaigns are known above this slice."""


async def strangers(
    session: AsyncSession,
    principal: Principal,
    placed: Iterable[tuple[str, Condition]],
    lists_of: ListsOfCampaigns,
    campaigns: Mapping[str, UUID],
) -> dict[str, list[str]]:
    """What is wrong with what these conditions name, by its place, and with ``campaigns`` that are named
    beside them. What is not of this project is as unknown as what never was, and so is what belongs to a list
    outside the key's: who opened a campaign would tell about that list."""
    campaigns = dict(campaigns)
    lists: dict[str, UUID] = {}
    for place, condition in placed:
        for below, part in condition.each(""):
            if part.list_id is not None:
                lists[f"{place}{below}.list_id"] = part.list_id
        for below, activity in activities(condition):
            if activity.campaign_id is not None:
                campaigns[f"{place}{below}.campaign_id"] = activity.campaign_id
    known = await lists_of(session, principal.project, set(campaigns.values())) if campaigns else {}
    errors = {
        place: ["is not a campaign of this project"]
        for place, campaign_id in campaigns.items()
        if campaign_id not in known or not principal.may_use_list(known[campaign_id])
    }
    for place, list_id in lists.items():
        is_theirs = principal.may_use_list(list_id)
        if not is_theirs or not await queries.has_list(session, principal.project, list_id):
            errors[place] = ["is not a list of this project"]
    return errors


Acted = Callable[
    [Activity, bool, InstrumentedAttribute[UUID], InstrumentedAttribute[str]], ColumnElement[bool]
]
"""Whether a subscriber, given by the columns of id and address key, did it; true: clicked, false: opened.
Mails are known above this slice."""
Acts = Callable[[AsyncSession, Project, Iterable[Condition | None]], Awaitable[Acted]]
"""What makes it for some conditions."""


def matching(
    session: AsyncSession,
    project: Project,
    list_id: UUID,
    condition: Condition | None,
    acted: Acted,
    *,
    subscriber_ids: Collection[UUID] | None = None,
    between: tuple[UUID | None, UUID | None] = (None, None),
) -> Select[UUID]:
    """The ids of those active on the list who meet the condition, in order; None: all. Of all of the list,
    of ``subscriber_ids``, of which there are some hundreds, or of those behind the first id of ``between``
    up to the second, itself included."""
    statement = select(Subscriber.id).where(
        # The project in a form that fits no index, as in `rows.locked`.
        (Subscriber.project_id == project.id).is_(True),
        Subscriber.list_id == list_id,
        Subscriber.status == Status.active,
    )
    if subscriber_ids is not None:
        statement = statement.where(among(session, Subscriber.id, subscriber_ids))
    after, last = between
    if after is not None:
        statement = statement.where(Subscriber.id > after)
    if last is not None:
        statement = statement.where(Subscriber.id <= last)
    if condition is not None:
        statement = statement.where(holds(session, project, condition, acted))
    return statement.order_by(Subscriber.id)


def holds(session: AsyncSession, project: Project, condition: Condition, acted: Acted) -> ColumnElement[bool]:
    """The condition for a ``WHERE`` over subscribers: true or false, never NULL. All that a caller wrote is a
    bound parameter, but for the names of fields, which have nothing but letters, digits and ``_``."""
    inside = [holds(session, project, part, acted) for part in condition.parts]
    if condition.all is not None:
        return and_(*inside)
    if condition.any is not None:
        return or_(*inside)
    if condition.none is not None:
        return not_(or_(*inside))
    if condition.tag is not None:
        return queries.has_tag(session, condition.tag)
    if condition.list_id is not None:
        other = aliased(Subscriber)
        return exists().where(
            (other.project_id == project.id).is_(True),
            other.list_id == condition.list_id,
            other.address_key == Subscriber.address_key,
            other.status == Status.active,
        )
    if condition.field is not None:
        return func.coalesce(_compared(session, condition.field), false())
    if condition.status is not None:
        return Subscriber.status == condition.status
    if condition.created_at is not None:
        return _timed(Subscriber.created_at, condition.created_at)
    if condition.subscribed_at is not None:
        return func.coalesce(_timed(Subscriber.subscribed_at, condition.subscribed_at), false())
    if condition.domain is not None:
        return Subscriber.address_key.endswith(f"@{condition.domain}", autoescape=True)
    activity = condition.opened or condition.clicked
    assert activity is not None  # Exactly one member is there.
    return acted(activity, condition.clicked is not None, Subscriber.id, Subscriber.address_key)


def _timed(column: InstrumentedAttribute[Any], when: When) -> ColumnElement[bool]:
    if when.within_days is not None:
        # By the database's clock, as everything that is asked about time.
        return column >= db_in(-86_400.0 * when.within_days)
    return column < when.before if when.before is not None else column > when.after


def _compared(session: AsyncSession, wanted: FieldCondition) -> ColumnElement[bool]:
    built_in = _BUILT_IN.get(wanted.name)
    # What a built-in field is not, is compared as what nobody has.
    text: ColumnElement[str] | InstrumentedAttribute[Any]
    text, number, truth = _custom(session, wanted.name) if built_in is None else (built_in, null(), null())
    if wanted.is_set is not None:
        known: ColumnElement[bool] = or_(text.is_not(None), number.is_not(None), truth.is_not(None))
        return known if wanted.is_set else not_(known)
    if wanted.contains is not None:
        return anycase.contains(text, wanted.contains)
    if wanted.starts_with is not None:
        return anycase.starts_with(text, wanted.starts_with)
    values = wanted.one_of if wanted.equals is None else [wanted.equals]
    if values is not None:
        return _one_of(text, number, truth, values)
    return number > float(wanted.above) if wanted.above is not None else number < float(wanted.below or 0)


def _one_of(
    text: Any, number: Any, truth: Any, values: Sequence[bool | int | float | str]
) -> ColumnElement[bool]:
    kinds: dict[str, tuple[Any, list[Any]]] = {}
    for value in values:
        if isinstance(value, str):
            kinds.setdefault("text", (text, []))[1].append(value)
        elif isinstance(value, bool):
            kinds.setdefault("truth", (truth, []))[1].append(str(value).lower())
        else:
            kinds.setdefault("number", (number, []))[1].append(float(value))
    # Each by itself is NULL where the value is of another kind.
    return or_(*(func.coalesce(column.in_(wanted), false()) for column, wanted in kinds.values()))


def _custom(
    session: AsyncSession, name: str
) -> tuple[ColumnElement[str], ColumnElement[float], ColumnElement[str]]:
    """A custom field as text, as number and as ``true`` or ``false``; NULL where it is something else. Each
    value is only read as what it is: of a text PostgreSQL makes no number, and fails."""
    value = Subscriber.custom_fields[name]
    if is_postgresql(session):
        kind = func.jsonb_typeof(value)
        # An integer may have hundreds of digits, which PostgreSQL makes no float, and fails. No condition
        # asks beyond 2^53, and so all beyond 2^60 are alike.
        number = cast(func.least(func.greatest(cast(value.as_string(), Numeric), -_FAR), _FAR), Float)
        truth = case((kind == "boolean", value.as_string()))
    else:
        # Its JSON has the name of a type for each of true and false.
        kind = func.json_type(Subscriber.custom_fields, f'$."{name}"')
        truth = case((kind.in_(("true", "false")), kind))
        # Not by way of its text, which is "Inf" for such an integer, and as a number 0.
        number = value.as_float()
    text = case((kind.in_(("string", "text")), value.as_string()))
    return text, case((kind.in_(("number", "integer", "real")), number)), truth
