"""``/audit-log``."""

from collections.abc import AsyncIterator

from litestar import Controller, get
from litestar.di import NamedDependency, Provide
from litestar.params import FromQuery
from litestar.response import Stream

from newsletter.accounts.audit import queries
from newsletter.accounts.audit.calls import Calls
from newsletter.accounts.audit.queries import AuditFilters
from newsletter.accounts.audit.schemas import AuditEntryOut, AuditHeadOut, shown
from newsletter.accounts.project import Principal, Project
from newsletter.kit import ids, paging
from newsletter.kit.db import Database
from newsletter.kit.errors import NotFound, ValidationFailed
from newsletter.kit.schema import CursorMeta, CursorPage, Data, instant, without_nul
from newsletter.kit.sheets import JSON_LINES

ROWS_PER_READ = 1_000


def audit_filters(
    action: FromQuery[str | None] = None,
    subject: FromQuery[str | None] = None,
    key_id: FromQuery[str | None] = None,
    account_id: FromQuery[str | None] = None,
    project_id: FromQuery[str | None] = None,
    method: FromQuery[str | None] = None,
    route: FromQuery[str | None] = None,
    status: FromQuery[int | None] = None,
    ip: FromQuery[str | None] = None,
    node: FromQuery[str | None] = None,
    request_id: FromQuery[str | None] = None,
    since: FromQuery[str | None] = None,
    until: FromQuery[str | None] = None,
) -> AuditFilters:
    if status is not None and not 100 <= status <= 599:
        raise ValidationFailed.of("status", "must be between 100 and 599")
    return AuditFilters(
        action=without_nul("action", action),
        subject=without_nul("subject", subject),
        key_id=ids.in_query("key", "key_id", key_id),
        account_id=ids.in_query("acc", "account_id", account_id),
        project_id=ids.in_query("prj", "project_id", project_id),
        method=without_nul("method", method),
        route=without_nul("route", route),
        status=status,
        ip=without_nul("ip", ip),
        node=without_nul("node", node),
        request_id=without_nul("request_id", request_id),
        since=instant("since", since),
        until=instant("until", until),
    )


class AuditController(Controller):
    path = "/"
    tags = ("Account",)
    dependencies = {"filters": Provide(audit_filters, sync_to_thread=False)}  # noqa: RUF012

    @get(
        "/audit-log",
        operation_id="list_audit_entries",
        summary="All calls and acts, the newest first",
        opt={"scope": "audit:read"},
    )
    async def index(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        calls: NamedDependency[Calls],
        filters: NamedDependency[AuditFilters],
        cursor: FromQuery[str | None] = None,
        per_page: FromQuery[int] = 20,
    ) -> CursorPage[AuditEntryOut]:
        """Of the project. Entries are only ever added, in a chain that shows whether one was changed or
        removed."""
        paging.check(1, per_page)
        principal.require_every_list()
        before = paging.read_number(cursor)
        await calls.flush()  # Who asks sees what they did before.
        async with db.read() as session:
            rows = await queries.entries(session, principal.project, filters, before=before, limit=per_page)
        more = str(rows[-1].seq) if len(rows) == per_page else None
        listed = [AuditEntryOut.model_validate(row) for row in rows]
        return CursorPage(data=listed, meta=CursorMeta(per_page=per_page, next_cursor=more))

    @get(
        "/audit-log.jsonl",
        operation_id="export_audit_entries",
        summary="The same as JSON lines, in the order of the chain",
        opt={"scope": "audit:read", "media": JSON_LINES},
    )
    async def download(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        calls: NamedDependency[Calls],
        filters: NamedDependency[AuditFilters],
        after_seq: FromQuery[int] = 0,
    ) -> Stream:
        """All that match, or those behind the number ``after_seq``, where an earlier export ended. Each line
        is in its canonical form; without filters they can be verified as they are."""
        if not 0 <= after_seq <= paging.MAX_NUMBER:
            raise ValidationFailed.of("after_seq", f"must be between 0 and {paging.MAX_NUMBER}")
        principal.require_every_list()
        await calls.flush()
        return Stream(
            _lines(db, principal.project, filters, after_seq),
            media_type=JSON_LINES,
            headers={"Content-Disposition": 'attachment; filename="audit-log.jsonl"'},
        )

    @get(
        "/audit-log/head",
        operation_id="get_audit_head",
        summary="The signed end of the chain",
        opt={"scope": "audit:read"},
    )
    async def head(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        calls: NamedDependency[Calls],
    ) -> Data[AuditHeadOut]:
        """What an export ends with must be what this says, or come later. Keep it where this service cannot
        reach it."""
        principal.require_every_list()
        await calls.flush()
        async with db.read() as session:
            found = await queries.head(session, principal.project.id)
        if found is None:
            raise NotFound("Nothing was noted yet.")
        return Data(data=shown(found))


async def _lines(
    db: Database, project: Project, filters: AuditFilters, after_seq: int
) -> AsyncIterator[bytes]:
    """Each page is read by itself: a slow reader holds no transaction open."""
    while True:
        async with db.read() as session:
            rows = await queries.entries_after(session, project, filters, after_seq, ROWS_PER_READ)
        if rows:
            yield b"".join([row.line() for row in rows])
        if len(rows) < ROWS_PER_READ:
            return
        after_seq = rows[-1].seq
