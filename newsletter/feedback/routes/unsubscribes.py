"""``/unsubscribes``: who left, from where, and how we know."""

from dataclasses import replace
from typing import Any

from litestar import Controller, Request, Response, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts.project import Principal
from newsletter.feedback import pushing
from newsletter.feedback.routes.suppressions import allow, page
from newsletter.feedback.schemas import UnsubscribeCreate, UnsubscribeOut, UnsubscribeUpdate
from newsletter.kit import ids
from newsletter.kit.db import Database
from newsletter.kit.errors import NotFound
from newsletter.kit.idempotency import Once
from newsletter.kit.schema import CursorPage, Data
from newsletter.suppressions import queries, service
from newsletter.suppressions.models import Reason
from newsletter.suppressions.queries import Held


class UnsubscribeResourceController(Controller):
    path = "/unsubscribes"
    tags = ("Suppressions",)

    @post(
        operation_id="create_unsubscribe",
        summary="Take an address off one list, or off all",
        opt={"scope": "suppressions:write"},
    )
    async def create(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        once: NamedDependency[Once],
        data: JSONBody[UnsubscribeCreate],
    ) -> Response[Data[UnsubscribeOut]]:
        """201 when it is new, 200 when the address had left before. It need not be a subscriber's:
        then it is kept off from the start."""
        async with db.unit_of_work() as session:
            pushed = await pushing.unsubscribe(session, principal, data.email, data.list_id, data.source)
            status = 201 if pushed.is_new else 200
            out = Data[UnsubscribeOut](data=_shown(pushed.held))
            await once.keep(session, status, out)
        return Response(out, status_code=status)

    @get(
        operation_id="list_unsubscribes",
        summary="List unsubscribes, the newest first",
        opt={"scope": "suppressions:read"},
    )
    async def index(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        email: FromQuery[str | None] = None,
        list_id: FromQuery[str | None] = None,
        cursor: FromQuery[str | None] = None,
        per_page: FromQuery[int] = 20,
    ) -> CursorPage[UnsubscribeOut]:
        rows, meta = await page(
            db,
            principal,
            email=email,
            reason=Reason.unsubscribe,
            list_id=list_id,
            cursor=cursor,
            per_page=per_page,
        )
        return CursorPage(data=[_shown(row) for row in rows], meta=meta)

    @get(
        "/{id:str}",
        operation_id="get_unsubscribe",
        summary="Read an unsubscribe",
        opt={"scope": "suppressions:read"},
    )
    async def read(
        self, db: NamedDependency[Database], principal: NamedDependency[Principal], id: FromPath[str]
    ) -> Data[UnsubscribeOut]:
        async with db.read() as session:
            return Data(data=_shown(await _one(session, principal, id)))

    @patch(
        "/{id:str}",
        operation_id="update_unsubscribe",
        summary="Correct where an unsubscribe came from",
        opt={"scope": "suppressions:write"},
    )
    async def update(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        id: FromPath[str],
        data: JSONBody[UnsubscribeUpdate],
    ) -> Data[UnsubscribeOut]:
        async with db.unit_of_work() as session:
            held = await _one(session, principal, id)
            await service.correct(session, held.id, data.source)
            return Data(data=_shown(replace(held, source=data.source)))

    @delete(
        "/{id:str}",
        operation_id="delete_unsubscribe",
        summary="Forget an unsubscribe",
        description="The address may be mailed again once it is subscribed again; this subscribes nobody.",
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
            await pushing.lift(session, principal, await _one(session, principal, id), ip=ip)


async def _one(session: AsyncSession, principal: Principal, text: str) -> Held:
    held = await queries.one(session, principal.project.id, ids.in_path("sup", text))
    if held.reason is not Reason.unsubscribe:
        raise NotFound()
    allow(principal, held)
    return held


def _shown(held: Held) -> UnsubscribeOut:
    return UnsubscribeOut(
        id=held.id,
        email=held.address_key,
        list_id=held.reach.list_id,
        source=held.source,
        created_at=held.created_at,
    )
