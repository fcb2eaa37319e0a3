"""An audience of its own, on which the same calls are carried out one way or another."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import select

from newsletter.accounts.models import Resubscribe
from newsletter.accounts.project import Project
from newsletter.audience import newcomers, service, single, straight
from newsletter.audience.batch import BatchResult
from newsletter.audience.models import Consent, Subscriber
from newsletter.audience.schemas import ListCreate, ListSubscriberCreate
from newsletter.audience.single import Asked
from newsletter.audience.upsert import Result, Target
from newsletter.events.models import Event
from newsletter.kit import clock
from newsletter.kit.errors import NewsletterError
from newsletter.plans.models import Counter
from newsletter.runtime import Runtime
from newsletter.suppressions import queries as suppressed
from newsletter.suppressions import service as suppressions
from newsletter.suppressions.models import Reason, Suppression

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
UNKNOWN = [each for each in PLAIN if each["email"] not in ("bounced@example.com", "complained@example.com")]


class Audience:
    """A list of a project of its own, on which the same calls are carried out one way or the other."""

    def __init__(self, runtime: Runtime, target: Target) -> None:
        self.runtime, self.target = runtime, target
        self.made_at = clock.now()

    async def straight(self, bodies: Sequence[dict[str, Any]]) -> list[Any] | None:
        entries = [call.entry for call in self._asked(bodies)]
        db, vault = self.runtime.db, self.runtime.vault
        done = await straight.subscribe_all(db, vault, self.target, entries)
        return None if done is None else [_told(each) for each in done]

    async def as_newcomers(self, bodies: Sequence[dict[str, Any]]) -> list[Any] | None:
        entries = [call.entry for call in self._asked(bodies)]
        db, vault = self.runtime.db, self.runtime.vault
        done = await newcomers.subscribe_all(db, vault, self.target, entries)
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


async def audience(runtime: Runtime, project: Project, limit: int | None = None) -> Audience:
    """With one subscriber and three custom fields, and two addresses that are suppressed."""
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
    mine = Audience(runtime, Target(project, made.id, limit, KEY, Resubscribe.allow))
    # What has no straight way: the first of a counter, and of each custom field.
    fields = {"size": 1, "colour": "x", "is_old": False}
    assert await mine.straight([{"email": "first@example.com"}]) is None
    await mine.step_by_step([{"email": "first@example.com", "custom_fields": fields}])
    return mine
