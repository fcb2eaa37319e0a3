"""``/analytics/…``, ``/stats``, ``/health-score`` and ``/campaigns/{id}/report``."""

from datetime import date

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, FromQuery
from litestar.response import Stream

from newsletter.accounts.project import Principal
from newsletter.analytics import export, history, queries, scope, scoring
from newsletter.analytics.history import Asked
from newsletter.analytics.schemas import (
    DeliveryStats,
    EventOut,
    Grouping,
    HealthDay,
    HealthHistory,
    HealthOut,
    Report,
    Stats,
    Summary,
)
from newsletter.analytics.scope import Sought
from newsletter.campaigns import queries as campaigns
from newsletter.campaigns.access import campaign_of_path
from newsletter.events.vocabulary import EventType
from newsletter.kit import paging, sheets
from newsletter.kit.db import Database
from newsletter.kit.errors import ValidationFailed
from newsletter.kit.idempotency import Once
from newsletter.kit.schema import CursorMeta, CursorPage, Data
from newsletter.kit.sheets import JSON_LINES
from newsletter.settings import Settings


def asked_of(
    type: FromQuery[list[EventType] | None] = None,
    campaign_id: FromQuery[str | None] = None,
    message_id: FromQuery[str | None] = None,
    email: FromQuery[str | None] = None,
    tag: FromQuery[str | None] = None,
    since: FromQuery[str | None] = None,
    until: FromQuery[str | None] = None,
) -> Asked:
    """The events that a page or a file is to hold."""
    return Asked(type, campaign_id, message_id, email, tag, since, until)


def sought_of(
    since: FromQuery[date | None] = None,
    until: FromQuery[date | None] = None,
    group_by: FromQuery[Grouping] = Grouping.day,
    campaign_id: FromQuery[str | None] = None,
    tag: FromQuery[str | None] = None,
    domain: FromQuery[str | None] = None,
    sending_server_id: FromQuery[str | None] = None,
) -> Sought:
    """What a summary is to hold."""
    return Sought(since, until, group_by, campaign_id, tag, domain, sending_server_id)


_ASKED = {
    "asked": Provide(asked_of, sync_to_thread=False),
    "sought": Provide(sought_of, sync_to_thread=False),
}


class AnalyticsController(Controller):
    path = "/analytics"
    tags = ("Analytics",)
    dependencies = _ASKED

    @get(
        "/summary",
        operation_id="get_summary",
        summary="What was sent, came back and was read",
        opt={"scope": "analytics:read"},
    )
    async def summary(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        settings: NamedDependency[Settings],
        sought: NamedDependency[Sought],
    ) -> Data[Summary]:
        """Days, hours and months are those of the project's time zone; without dates, the last 30 days.
        Of one campaign, tag, domain or server by period, or of all of them side by side."""
        return Data(data=await _summary(db, principal, settings, sought))

    @get(
        "/summary.csv",
        operation_id="export_summary",
        summary="The rows of a summary as a CSV file",
        opt={"scope": "analytics:read", "media": "text/csv"},
    )
    async def summary_csv(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        settings: NamedDependency[Settings],
        sought: NamedDependency[Sought],
        raw: FromQuery[bool] = False,
    ) -> Response[bytes]:
        """In UTF-8 with a line of names. Cells that a spreadsheet would take for a formula begin with an
        apostrophe, unless ``raw`` is true."""
        found = await _summary(db, principal, settings, sought)
        return _file(export.summary_csv(found.rows, is_raw=raw), "text/csv; header=present", "summary.csv")

    @get(
        "/summary.jsonl",
        operation_id="export_summary_lines",
        summary="The rows of a summary as JSON lines",
        opt={"scope": "analytics:read", "media": JSON_LINES},
    )
    async def summary_lines(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        settings: NamedDependency[Settings],
        sought: NamedDependency[Sought],
    ) -> Response[bytes]:
        found = await _summary(db, principal, settings, sought)
        lines = sheets.json_lines(row.model_dump(mode="json") for row in found.rows)
        return _file(lines, JSON_LINES, "summary.jsonl")

    @get(
        "/delivery-stats",
        operation_id="get_delivery_stats",
        summary="What was sent and came back, day by day",
        opt={"scope": "analytics:read"},
    )
    async def delivery_stats(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        settings: NamedDependency[Settings],
        since: FromQuery[date | None] = None,
        until: FromQuery[date | None] = None,
    ) -> Data[DeliveryStats]:
        scope.allow_everything(principal)
        async with db.read() as session:
            zone = await queries.zone_of(session, principal.project)
            days = scope.days(since, until, zone, settings.limits)
            return Data(data=await queries.delivery_stats(session, principal.project, days))

    @get(
        "/events",
        operation_id="list_events",
        summary="Single events, the newest first",
        opt={"scope": "events:read"},
    )
    async def events(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        asked: NamedDependency[Asked],
        cursor: FromQuery[str | None] = None,
        per_page: FromQuery[int] = 20,
    ) -> CursorPage[EventOut]:
        """As webhooks send them, with who opened and clicked. Where types or a tag are asked for, a page
        may hold fewer than ``per_page``, or none: go on for as long as there is a ``next_cursor``."""
        paging.check(1, per_page)
        history.allow(principal)
        async with db.read() as session:
            sought = await history.wanted(session, principal, asked)
            before = paging.read_cursor(cursor)
            shown, more = await history.page(
                session, principal.project, sought, before=before, limit=per_page
            )
        return CursorPage(data=shown, meta=CursorMeta(per_page=per_page, next_cursor=more))

    @get(
        "/events.csv",
        operation_id="export_events",
        summary="Single events as a CSV file",
        opt={"scope": "events:read", "media": "text/csv"},
    )
    async def events_csv(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        asked: NamedDependency[Asked],
        raw: FromQuery[bool] = False,
    ) -> Stream:
        """All that match, the newest first, in UTF-8 with a line of names. Cells that a spreadsheet would
        take for a formula begin with an apostrophe, unless ``raw`` is true."""
        return await _events_file(db, principal, asked, as_csv=True, is_raw=raw)

    @get(
        "/events.jsonl",
        operation_id="export_event_lines",
        summary="Single events as JSON lines",
        opt={"scope": "events:read", "media": JSON_LINES},
    )
    async def event_lines(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        asked: NamedDependency[Asked],
    ) -> Stream:
        return await _events_file(db, principal, asked, as_csv=False)


class StatsController(Controller):
    path = "/stats"
    tags = ("Analytics",)

    @get(
        "/",
        operation_id="get_stats",
        summary="The numbers of the account at a glance",
        opt={"scope": "analytics:read"},
    )
    async def read(self, db: NamedDependency[Database], principal: NamedDependency[Principal]) -> Data[Stats]:
        scope.allow_everything(principal)
        async with db.read() as session:
            return Data(data=await queries.stats(session, principal.project))


class HealthController(Controller):
    path = "/health-score"
    tags = ("Analytics",)

    @get(
        operation_id="get_health_score",
        summary="How well the project sends, from 0 to 100",
        opt={"scope": "analytics:read"},
    )
    async def read(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        settings: NamedDependency[Settings],
    ) -> Data[HealthOut]:
        """As it was calculated last, which is done each day; of the last 30 days."""
        scope.allow_everything(principal)
        async with db.read() as session:
            return Data(data=HealthOut.of(await scoring.newest(session, principal.project, settings)))

    @get(
        "/history",
        operation_id="get_health_history",
        summary="The health scores of the last days",
        opt={"scope": "analytics:read"},
    )
    async def history(
        self, db: NamedDependency[Database], principal: NamedDependency[Principal], days: FromQuery[int] = 30
    ) -> Data[HealthHistory]:
        scope.allow_everything(principal)
        if not 1 <= days <= scoring.HISTORY_DAYS:
            raise ValidationFailed.of("days", f"must be between 1 and {scoring.HISTORY_DAYS}")
        async with db.read() as session:
            rows = await scoring.history(session, principal.project, days)
        shown = [HealthDay.of(row) for row in rows]
        return Data(data=HealthHistory(period_days=days, history=shown))

    @post(
        "/refresh",
        operation_id="refresh_health_score",
        summary="Calculate today's health score anew",
        opt={"scope": "analytics:read"},
        status_code=200,
    )
    async def refresh(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        settings: NamedDependency[Settings],
        once: NamedDependency[Once],
    ) -> Data[HealthOut]:
        """With what has been counted up to now. It takes the place of today's in the history."""
        scope.allow_everything(principal)
        async with db.unit_of_work() as session:
            row = await scoring.refresh(session, principal.project, settings)
            out = Data[HealthOut](data=HealthOut.of(row))
            await once.keep(session, 200, out)
        return out


class ReportController(Controller):
    path = "/campaigns"
    tags = ("Campaigns",)

    @get(
        "/{campaign_id:str}/report",
        operation_id="get_campaign_report",
        summary="What became of a campaign",
        opt={"scope": "campaigns:read"},
    )
    async def read(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        campaign_id: FromPath[str],
    ) -> Data[Report]:
        """Its outcomes, what came back, who opened and clicked, and all of it day by day."""
        async with db.read() as session:
            campaign = await campaign_of_path(session, principal, campaign_id)
            shown = await campaigns.shown(session, campaign)
            return Data(data=await queries.report(session, principal.project, shown, campaign.mailing_id))


async def _summary(db: Database, principal: Principal, settings: Settings, sought: Sought) -> Summary:
    scope.allow_everything(principal)
    async with db.read() as session:
        zone = await queries.zone_of(session, principal.project)
        days = scope.days(sought.since, sought.until, zone, settings.limits)
        scope.check_rows(sought.group_by, days, settings.limits)
        part = await scope.part(session, principal, sought)
        most = settings.limits.summary_rows
        return await queries.summary(session, principal.project, days, sought.group_by, part, most=most)


async def _events_file(
    db: Database, principal: Principal, asked: Asked, *, as_csv: bool, is_raw: bool = False
) -> Stream:
    history.allow(principal)
    async with db.read() as session:
        sought = await history.wanted(session, principal, asked)
    name, media = ("events.csv", "text/csv; header=present") if as_csv else ("events.jsonl", JSON_LINES)
    return Stream(
        history.lines(db, principal.project, sought, as_csv=as_csv, is_raw=is_raw),
        media_type=media,
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def _file(content: bytes, media_type: str, name: str) -> Response[bytes]:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(content, media_type=media_type, headers=headers)
