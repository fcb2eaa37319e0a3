"""Upserts straight to the database leave what the steps through a session leave."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from newsletter.accounts.models import Resubscribe
from newsletter.accounts.project import Project
from newsletter.audience import service, single, straight
from newsletter.audience.batch import BatchResult
from newsletter.audience.models import Consent, Subscriber
from newsletter.audience.schemas import ListCreate, ListSubscriberCreate
from newsletter.audience.single import Asked
from newsletter.audience.upsert import Result, Target
from newsletter.events import listening
from newsletter.events.models import Event
from newsletter.events.vocabulary import EventType
from newsletter.kit import ids
from newsletter.kit.errors import NewsletterError
from newsletter.kit.jobs import Job
from newsletter.plans.models import Counter
from newsletter.runtime import Runtime
from newsletter.suppressions import queries as suppressed
from newsletter.suppressions import service as suppressions
from newsletter.suppressions.models import Reason, Suppression
from tests.conftest import MakeProject

KEY = UUID(int=9)
AGREED = {
    "source": "form «A»",
    "ip": "192.0.2.1",
    "text": 'I agree:\n"yes", {a,b}\\',
    "at": "2020-11-01T08:00:00Z",
}
PLAIN: list[dict[str, Any]] = [
    {"email": "a@example.com"},
    {"email": "Zoë.B@Example.com", "first_name": "Zoë", "last_name": "O'Neil, \\N", "tags": ["x", 'y"z']},
    {"email": "c@example.com", "locale": "de-CH", "timezone": "Europe/Zurich", "first_name": ""},
    {"email": "d@example.com", "custom_fields": {"size": 3, "colour": "bl{a,b}u", "is_old": True}},
    {"email": "e@example.com", "consent": AGREED},
    {"email": "bounced@example.com"},
    {"email": "complained@example.com", "first_name": "C"},
]
AGAIN: list[dict[str, Any]] = [
    {"email": "a@example.com", "first_name": "A", "custom_fields": {"size": 1}},
    {"email": "A@example.com", "last_name": "Later", "tags": ["t"]},
    {"email": "zoë.b@example.com", "first_name": None, "tags": None},
    {"email": "d@example.com", "custom_fields": {"colour": None}, "consent": {"source": "shop"}},
    {"email": "c@example.com"},
    {"email": "new@example.com"},
    {"email": "NEW@example.com", "first_name": "Twice"},
    {"email": "bounced@example.com", "first_name": "B"},
]


@pytest.fixture(autouse=True)
def _has_a_straight_way(runtime: Runtime) -> None:
    if runtime.db.is_sqlite:
        pytest.skip("SQLite has the one way")


class Audience:
    """A list of a project of its own, on which the same calls are carried out one way or the other."""

    def __init__(self, runtime: Runtime, target: Target) -> None:
        self.runtime, self.target = runtime, target

    async def straight(self, bodies: Sequence[dict[str, Any]]) -> list[Any] | None:
        entries = [call.entry for call in self._asked(bodies)]
        db, vault = self.runtime.db, self.runtime.vault
        done = await straight.subscribe_all(db, vault, self.target, entries)
        return None if done is None else [_told(each) for each in done]

    async def step_by_step(self, bodies: Sequence[dict[str, Any]]) -> list[Any]:
        async with self.runtime.db.unit_of_work() as session:
            calls, limits = self._asked(bodies), self.runtime.settings.limits
            done = await single.subscribe_all(session, self.runtime.vault, self.target, calls, limits)
        return [_told(each) for each in done]

    async def sheet_straight(self, rows: Sequence[object]) -> BatchResult | None:
        sheet = service.read_batch(self.target, rows, self.runtime.settings.limits)
        return await straight.import_sheet(self.runtime.db, self.runtime.vault, self.target, sheet)

    async def sheet_step_by_step(self, rows: Sequence[object]) -> BatchResult:
        limits = self.runtime.settings.limits
        sheet = service.read_batch(self.target, rows, limits)
        async with self.runtime.db.unit_of_work() as session:
            return await service.import_batch(session, self.runtime.vault, self.target, sheet, limits)

    def _asked(self, bodies: Sequence[dict[str, Any]]) -> list[Asked]:
        limits = self.runtime.settings.limits
        return [service.asked(self.target, ListSubscriberCreate(**body), limits) for body in bodies]

    async def books(self) -> dict[str, list[Any]]:
        """All that a step may change, without ids and times that differ from run to run."""
        project = self.target.project
        async with self.runtime.db.read() as session:
            mine = list(await session.scalars(select(Subscriber).where(Subscriber.project_id == project.id)))
            names = {row.id: row.address_key for row in mine}
            consents = await session.scalars(select(Consent).where(Consent.project_id == project.id))
            events = await session.scalars(select(Event).where(Event.project_id == project.id))
            owner = Counter.owner_id == project.quota_owner_id
            counters = await session.execute(select(Counter.resource, Counter.used).where(owner))
            held = select(Suppression.address_key, Suppression.reason).where(
                Suppression.project_id == project.id
            )
            return {
                "subscribers": sorted(_row(row) for row in mine),
                "consents": sorted(
                    (
                        *(names.get(row.subscriber_id, "-"), row.address_key, row.action.value, row.source),
                        *(str(row.ip), str(row.text), str(row.key_id)),
                        row.at.year == 2020,
                        row.list_id == self.target.list_id,
                    )
                    for row in consents
                ),
                "events": sorted(
                    (
                        row.type,
                        *(str(row.data["subscriber"][name]) for name in ("email", "first_name", "status")),
                    )
                    for row in events
                ),
                "counters": sorted(tuple(row) for row in counters),
                "suppressions": sorted(len(key) for key, _ in await session.execute(held)),
            }


def _row(row: Subscriber) -> tuple[Any, ...]:
    texts = (row.email, row.address_key, row.first_name, row.last_name, row.locale, row.timezone)
    flags = (row.subscribed_at is not None, row.unsubscribed_at is not None, row.updated_at > row.created_at)
    return (*map(str, texts), str(row.tags), str(sorted(row.custom_fields.items())), row.status.value, *flags)


def _told(each: Result | NewsletterError | None) -> Any:
    if not isinstance(each, Result):
        return "no"
    row = each.row
    return row.email, row.first_name, row.tags, row.custom_fields, row.status, each.is_new


@pytest.fixture
def make_audience(runtime: Runtime, make_project: MakeProject) -> Any:
    async def make(limit: int | None = None) -> Audience:
        project: Project = await make_project()
        async with runtime.db.unit_of_work() as session:
            made = await service.create_list(session, project, ListCreate(name="x"))
            for name, reason in (("bounced", Reason.hard_bounce), ("complained", Reason.complaint)):
                await suppressions.suppress(
                    session,
                    project_id=project.id,
                    scope=suppressed.project_scope(project.id),
                    address_keys=[f"{name}@example.com"],
                    reason=reason,
                    source="test",
                )
        audience = Audience(runtime, Target(project, made.id, limit, KEY, Resubscribe.allow))
        # What has no straight way: the first of a counter, and of each custom field.
        fields = {"size": 1, "colour": "x", "is_old": False}
        assert await audience.straight([{"email": "first@example.com"}]) is None
        await audience.step_by_step([{"email": "first@example.com", "custom_fields": fields}])
        return audience

    return make


async def test_both_ways_leave_the_same(make_audience: Any) -> None:
    one, other = await make_audience(), await make_audience()
    for bodies in (PLAIN, AGAIN):
        told = await one.straight(bodies)
        assert told is not None
        assert told == await other.step_by_step(bodies)
        assert await one.books() == await other.books()


NEWCOMERS: list[Any] = [
    *(each for each in PLAIN if each["email"] not in ("bounced@example.com", "complained@example.com")),
    {"email": "tags@example.com", "tags": ["b", "a", "b"], "custom_fields": {"size": None, "colour": "x"}},
    {"email": "nothing@example.com", "tags": [], "custom_fields": {"size": None}, "first_name": None},
    {"email": "api@example.com", "consent": {"source": "api", "ip": "192.0.2.7"}},
    {"email": "no address"},
    {"email": "many@example.com", "tags": [f"t{number}" for number in range(200)]},
    "no row",
]


async def test_a_sheet_of_people_who_are_all_new_leaves_the_same_both_ways(make_audience: Any) -> None:
    one, other = await make_audience(), await make_audience()

    told = await one.sheet_straight(NEWCOMERS)

    assert told == await other.sheet_step_by_step(NEWCOMERS)
    assert (told.created, told.updated, told.invalid) == (8, 0, 3)
    assert await one.books() == await other.books()


@pytest.mark.parametrize(
    ("rows", "limit"),
    [
        ([*NEWCOMERS, {"email": "first@example.com", "first_name": "Known"}], None),
        ([*NEWCOMERS, {"email": "A@example.com", "last_name": "Twice"}], None),
        ([*NEWCOMERS, {"email": "bounced@example.com"}], None),
        (NEWCOMERS, 5),
        (NEWCOMERS, 9),
    ],
    ids=["one is known", "one comes twice", "one bounced before", "the plan is full", "just enough room"],
)
async def test_a_sheet_with_others_among_them_leaves_the_same_both_ways(
    make_audience: Any, rows: list[Any], limit: int | None
) -> None:
    one, other = await make_audience(limit=limit), await make_audience(limit=limit)

    told = await one.sheet_straight(rows)

    assert told is not None
    assert told == await other.sheet_step_by_step(rows)
    assert await one.books() == await other.books()


async def test_a_sheet_with_a_strange_text_goes_the_long_way_and_nothing_is_written(
    make_audience: Any,
) -> None:
    one = await make_audience()
    before = await one.books()
    strange = {"email": "strange@example.com", "consent": {"source": "form", "text": "a\x1fb"}}

    assert await one.sheet_straight([*NEWCOMERS, strange]) is None

    assert await one.books() == before


async def test_a_full_plan_refuses_the_same_calls(make_audience: Any) -> None:
    one, other = await make_audience(limit=4), await make_audience(limit=4)

    told = await one.straight(PLAIN)

    assert told == await other.step_by_step(PLAIN)
    assert told.count("no") == 2
    assert await one.books() == await other.books()


async def test_each_step_that_somebody_listens_to_has_one_job(
    make_audience: Any, runtime: Runtime, rings: Any
) -> None:
    one = await make_audience()
    async with runtime.db.unit_of_work() as session:
        await listening.listen(
            session, one.target.project.id, listening.WEBHOOKS, [EventType.subscriber_created]
        )
    rings.clear()

    await one.straight(PLAIN)

    async with runtime.db.read() as session:
        fanned = select(Job).where(Job.name == "webhooks.fan_out").order_by(Job.id.desc())
        job = (await session.scalars(fanned)).first()
        events = set(await session.scalars(select(Event.id).where(Event.project_id == one.target.project.id)))
    assert job is not None
    assert [ring.job_id for ring in rings] == [job.id]
    assert {UUID(text) for text in job.payload["event_ids"]} < events
    assert len(job.payload["event_ids"]) == len(PLAIN)
    assert (job.status, job.attempts, job.token, job.unique_key) == ("queued", 0, 0, None)
    assert job.run_at <= datetime.now(UTC)


async def test_what_nobody_listens_to_has_no_job(make_audience: Any, rings: Any) -> None:
    one = await make_audience()
    rings.clear()
    await one.straight(PLAIN)
    assert not rings


@pytest.mark.parametrize(
    "case", ["comes back", "is erased", "was erased and agreed", "has a new field", "has a strange text"]
)
async def test_what_is_rare_goes_the_long_way_and_nothing_is_written(
    make_audience: Any, runtime: Runtime, case: str
) -> None:
    one: Audience = await make_audience()
    body: dict[str, Any] = {"email": "first@example.com"}
    async with runtime.db.unit_of_work() as session:
        row = (
            await session.scalars(select(Subscriber).where(Subscriber.list_id == one.target.list_id))
        ).one()
        if case == "comes back":
            await service.unsubscribe(
                session, one.target.project, source="api", key_id=KEY, subscriber_id=row.id
            )
        elif case in ("is erased", "was erased and agreed"):
            await service.erase(session, runtime.vault, one.target.project, row.id, key_id=KEY)
    if case == "was erased and agreed":
        # On the list again already, while the stone of the erasure is still there.
        for _ in range(2):
            await one.step_by_step([body])
        body = body | {"consent": {"source": "form"}}
    elif case == "has a new field":
        body = body | {"custom_fields": {"unheard_of": 1}}
    elif case == "has a strange text":
        body = {"email": "strange@example.com", "consent": {"source": "form", "text": "a\x1fb"}}
    before = await one.books()

    assert await one.straight([{"email": "other@example.com"}, body]) is None

    assert await one.books() == before


async def test_a_list_that_is_gone_has_no_straight_way(make_audience: Any) -> None:
    one = await make_audience()
    one.target = Target(one.target.project, ids.uuid7(), None, KEY, Resubscribe.allow)
    assert await one.straight([{"email": "x@example.com"}]) is None
