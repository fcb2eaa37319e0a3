"""``/suppressions``: addresses that must not be mailed."""

from dataclasses import asdict
from typing import Any

from litestar import Controller, Request, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody
from litestar.response import Stream

from newsletter.accounts.project import Principal
from newsletter.audience import access
from newsletter.feedback import pushing, sheet
from newsletter.feedback.schemas import (
    SuppressionBatch,
    SuppressionBatchOut,
    SuppressionCreate,
    SuppressionOut,
)
from newsletter.kit import address, ids, paging
from newsletter.kit.db import Database
from newsletter.kit.errors import ValidationFailed
from newsletter.kit.idempotency import Once
from newsletter.kit.schema import CursorMeta, CursorPage, Data
from newsletter.plans.catalogue import CallClass
from newsletter.settings import Settings
from newsletter.suppressions import queries
from newsletter.suppressions.models import Reason
from newsletter.suppressions.queries import Held, Level


class SuppressionController(Controller):
    path = "/suppressions"
    tags = ("Suppressions",)

    @post(
        operation_id="create_suppression",
        summary="Never mail an address again",
        description="Hard bounces and complaints also change the status of the address on every list, and "
        "unsubscribes end its subscriptions, unless they are of one sender domain.",
        opt={"scope": "suppressions:write"},
    )
    async def create(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        once: NamedDependency[Once],
        data: JSONBody[SuppressionCreate],
    ) -> Response[Data[SuppressionOut]]:
        """201 when it is new, 200 when the address was suppressed at that level before."""
        async with db.unit_of_work() as session:
            pushed = await pushing.suppress(session, principal, data)
            status = 201 if pushed.is_new else 200
            out = Data[SuppressionOut](data=SuppressionOut.of(pushed.held))
            await once.keep(session, status, out)
        return Response(out, status_code=status)

    @post(
        "/batch",
        operation_id="batch_suppressions",
        summary="Push up to 1,000 suppressions",
        description="Each row follows the rules of `POST /suppressions`; a bad row is skipped and counted.",
        status_code=200,
        opt={"scope": "suppressions:write", "calls": CallClass.batches},
    )
    async def batch(
        self,
        db: NamedDependency[Database],
        settings: NamedDependency[Settings],
        principal: NamedDependency[Principal],
        once: NamedDependency[Once],
        data: JSONBody[SuppressionBatch],
    ) -> Data[SuppressionBatchOut]:
        limit = settings.limits.batch_rows
        if not 1 <= len(data.suppressions) <= limit:
            raise ValidationFailed.of("suppressions", f"must have 1 to {limit:,} rows")
        async with db.unit_of_work() as session:
            done = await pushing.suppress_many(session, principal, data.suppressions)
            out = Data[SuppressionBatchOut](data=SuppressionBatchOut.model_validate(asdict(done)))
            await once.keep(session, 200, out)
        return out

    @get(
        operation_id="list_suppressions",
        summary="List suppressions, the newest first",
        description="Those of the whole installation are shown to who asks for their very address.",
        opt={"scope": "suppressions:read"},
    )
    async def index(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        email: FromQuery[str | None] = None,
        level: FromQuery[Level | None] = None,
        reason: FromQuery[Reason | None] = None,
        list_id: FromQuery[str | None] = None,
        cursor: FromQuery[str | None] = None,
        per_page: FromQuery[int] = 20,
    ) -> CursorPage[SuppressionOut]:
        rows, meta = await page(
            db,
            principal,
            email=email,
            level=level,
            reason=reason,
            list_id=list_id,
            cursor=cursor,
            per_page=per_page,
        )
        return CursorPage(data=[SuppressionOut.of(row) for row in rows], meta=meta)

    @post(
        "/import",
        operation_id="import_suppressions",
        summary="Push suppressions from a CSV file",
        description="With a line of names: `email`, and where wanted `reason`, `level`, `list_id`, `domain`, "
        "`source`. Each row follows the rules of `POST /suppressions`; a bad row is skipped and counted. A "
        "file of `GET /suppressions.csv` comes in as it is.",
        status_code=200,
        opt={"scope": "suppressions:write", "calls": CallClass.batches, "accepts": "text/csv"},
    )
    async def take_in(
        self,
        request: Request[Any, Any, Any],
        db: NamedDependency[Database],
        settings: NamedDependency[Settings],
        principal: NamedDependency[Principal],
        once: NamedDependency[Once],
    ) -> Data[SuppressionBatchOut]:
        rows = sheet.rows(await request.body(), settings.limits.import_rows)
        async with db.unit_of_work() as session:
            done = await pushing.suppress_many(session, principal, rows)
            out = Data[SuppressionBatchOut](data=SuppressionBatchOut.model_validate(asdict(done)))
            await once.keep(session, 200, out)
        return out

    @get(
        "/{id:str}",
        operation_id="get_suppression",
        summary="Read a suppression",
        opt={"scope": "suppressions:read"},
    )
    async def read(
        self, db: NamedDependency[Database], principal: NamedDependency[Principal], id: FromPath[str]
    ) -> Data[SuppressionOut]:
        async with db.read() as session:
            row = await queries.one(session, principal.project.id, ids.in_path("sup", id))
        allow(principal, row)
        return Data(data=SuppressionOut.of(row))

    @delete(
        "/{id:str}",
        operation_id="delete_suppression",
        summary="Allow an address to be mailed again",
        description="Puts nobody back on a list: who left, bounced or complained keeps that status.",
        opt={"scope": "suppressions:write"},
    )
    async def remove(
        self,
        request: Request[Any, Any, Any],
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        id: FromPath[str],
    ) -> None:
        ip = request.client.host if request.client else None
        async with db.unit_of_work() as session:
            row = await queries.one(session, principal.project.id, ids.in_path("sup", id))
            allow(principal, row)
            await pushing.lift(session, principal, row, ip=ip)


class SuppressionSheetController(Controller):
    path = "/suppressions.csv"
    tags = ("Suppressions",)

    @get(
        operation_id="export_suppressions",
        summary="The same as a CSV file",
        opt={"scope": "suppressions:read", "media": "text/csv"},
    )
    async def download(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        level: FromQuery[Level | None] = None,
        reason: FromQuery[Reason | None] = None,
        list_id: FromQuery[str | None] = None,
        raw: FromQuery[bool] = False,
    ) -> Stream:
        """All that match, in UTF-8 with a line of names, the newest first. Cells that a spreadsheet would
        take for a formula begin with an apostrophe, unless ``raw`` is true."""
        wanted = access.list_of_query(principal, list_id)
        found = sheet.lines(
            db,
            principal.project,
            level=level,
            reason=reason,
            list_ids=access.chosen_lists(principal, wanted) or (),
            is_raw=raw,
        )
        return Stream(
            found,
            media_type="text/csv; header=present",
            headers={"Content-Disposition": 'attachment; filename="suppressions.csv"'},
        )


async def page(
    db: Database,
    principal: Principal,
    *,
    email: str | None,
    level: Level | None = None,
    reason: Reason | None,
    list_id: str | None,
    cursor: str | None,
    per_page: int,
) -> tuple[list[Held], CursorMeta]:
    """One page by the parameters of a call. Raises `ValidationFailed`, and `Forbidden` for a list
    outside of the key's."""
    paging.check(1, per_page)
    wanted = access.list_of_query(principal, list_id)
    async with db.read() as session:
        rows = await queries.listed(
            session,
            principal.project.id,
            address_key=address.key_in_query("email", email),
            level=level,
            reason=reason,
            list_ids=access.chosen_lists(principal, wanted) or (),
            after=paging.read_cursor(cursor),
            limit=per_page,
        )
    next_cursor = paging.next_cursor([row.id for row in rows], per_page)
    return rows, CursorMeta(per_page=per_page, next_cursor=next_cursor)


def allow(principal: Principal, held: Held) -> None:
    """Raises `Forbidden` for what is outside of a restricted key."""
    if held.reach.list_id is None:
        principal.require_every_list()
    else:
        access.allow(principal, held.reach.list_id)
