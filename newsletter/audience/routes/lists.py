"""``/lists``."""

from litestar import Controller, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts.project import Principal
from newsletter.audience import queries, service
from newsletter.audience.access import list_of_path
from newsletter.audience.lists import ListUse
from newsletter.audience.models import MailingList
from newsletter.audience.schemas import ListCreate, ListOut, ListUpdate
from newsletter.kit import paging
from newsletter.kit.db import Database
from newsletter.kit.idempotency import Once
from newsletter.kit.schema import Data, Page


class ListController(Controller):
    path = "/lists"
    tags = ("Lists",)

    @get(operation_id="list_lists", summary="List the lists, the newest first", opt={"scope": "lists:read"})
    async def index(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        page: FromQuery[int] = 1,
        per_page: FromQuery[int] = 20,
    ) -> Page[ListOut]:
        async with db.read() as session:
            chosen = queries.lists(principal.project, principal.list_ids)
            found, meta = await paging.numbered(session, chosen, page, per_page)
            shown = await queries.summaries(session, found)
        return Page(data=[ListOut.model_validate(row) for row in shown], meta=meta)

    @post(operation_id="create_list", summary="Create a list", opt={"scope": "lists:write"})
    async def create(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        once: NamedDependency[Once],
        data: JSONBody[ListCreate],
    ) -> Data[ListOut]:
        principal.require_every_list()
        async with db.unit_of_work() as session:
            row = await service.create_list(session, principal.project, data)
            out = await _shown(session, row)
            await once.keep(session, 201, out)
        return out

    @get("/{list_id:str}", operation_id="get_list", summary="Read a list", opt={"scope": "lists:read"})
    async def read(
        self, db: NamedDependency[Database], principal: NamedDependency[Principal], list_id: FromPath[str]
    ) -> Data[ListOut]:
        wanted = list_of_path(principal, list_id)
        async with db.read() as session:
            return await _shown(session, await service.get_list(session, principal.project, wanted))

    @patch(
        "/{list_id:str}", operation_id="update_list", summary="Change a list", opt={"scope": "lists:write"}
    )
    async def update(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        list_id: FromPath[str],
        data: JSONBody[ListUpdate],
    ) -> Data[ListOut]:
        wanted = list_of_path(principal, list_id)
        async with db.unit_of_work() as session:
            row = await service.update_list(session, principal.project, wanted, data)
            return await _shown(session, row)

    @delete(
        "/{list_id:str}",
        operation_id="delete_list",
        summary="Delete a list with its subscribers",
        description="409 `list_in_use` while a campaign that is not over uses it, or conditions of a segment "
        "or an automation of another list ask for it.",
        opt={"scope": "lists:write"},
    )
    async def remove(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        list_use: NamedDependency[ListUse],
        list_id: FromPath[str],
    ) -> None:
        wanted = list_of_path(principal, list_id)
        async with db.unit_of_work() as session:
            await service.delete_list(session, principal.project, wanted, list_use)


async def _shown(session: AsyncSession, row: MailingList) -> Data[ListOut]:
    [summary] = await queries.summaries(session, [row])
    return Data(data=ListOut.model_validate(summary))
