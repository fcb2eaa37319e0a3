"""``/sandbox/messages``: the mail of a test project, which is kept instead of sent."""

from typing import Literal, TypeAlias

from litestar import Controller, Response, delete, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from newsletter.accounts.project import Principal
from newsletter.kit import ids, paging
from newsletter.kit.db import Database
from newsletter.kit.errors import NotFound, ValidationFailed
from newsletter.kit.schema import CursorMeta, CursorPage, Data
from newsletter.sandbox import opened, queries, service
from newsletter.sandbox.models import SandboxMessage
from newsletter.sandbox.schemas import SandboxMessageOut, SandboxMessageSummary

Format: TypeAlias = Literal["json", "raw"]


class SandboxController(Controller):
    path = "/sandbox/messages"
    tags = ("Sandbox",)

    @get(
        operation_id="list_sandbox_messages",
        summary="List the mails of a test project, the newest first",
        description="`to` is a whole address. 409 `not_a_test_project` with the key of a live project.",
        opt={"scope": "sandbox:read"},
    )
    async def index(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        to: FromQuery[str | None] = None,
        per_page: FromQuery[int] = 20,
        cursor: FromQuery[str | None] = None,
    ) -> CursorPage[SandboxMessageSummary]:
        principal.require_every_list()
        service.require_sandbox(principal.project)
        paging.check(1, per_page)
        if to is not None and "\0" in to:
            raise ValidationFailed.of("to", "must be an e-mail address")
        chosen = queries.listed(principal.project, to=to, after=paging.read_cursor(cursor))
        async with db.read() as session:
            rows = (await session.scalars(chosen.limit(per_page))).all()
        following = paging.next_cursor([row.id for row in rows], per_page)
        return CursorPage(
            data=[SandboxMessageSummary.model_validate(row) for row in rows],
            meta=CursorMeta(per_page=per_page, next_cursor=following),
        )

    @get(
        "/{id:str}",
        operation_id="get_sandbox_message",
        summary="Read one mail of a test project",
        description="`format=raw` answers with the mail itself, as `message/rfc822`.",
        opt={"scope": "sandbox:read"},
    )
    async def read(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        id: FromPath[str],
        format: FromQuery[Format] = "json",
    ) -> Response[Data[SandboxMessageOut]] | Response[bytes]:
        principal.require_every_list()
        service.require_sandbox(principal.project)
        async with db.read() as session:
            row = await queries.find(session, principal.project, ids.in_path("sbx", id))
        if row is None:
            raise NotFound()
        content = opened.inflate(row.raw)
        if format == "raw":
            return Response(content, media_type="message/rfc822")
        return Response(Data[SandboxMessageOut](data=_shown(row, content)))

    @delete(
        operation_id="clear_sandbox",
        summary="Delete all mails of a test project",
        description="What campaigns report stays as it is.",
        opt={"scope": "sandbox:write"},
    )
    async def clear(self, db: NamedDependency[Database], principal: NamedDependency[Principal]) -> None:
        principal.require_every_list()
        service.require_sandbox(principal.project)
        async with db.unit_of_work() as session:
            await service.clear(session, principal.project)


def _shown(row: SandboxMessage, content: bytes) -> SandboxMessageOut:
    mail = opened.read(content)
    return SandboxMessageOut.model_validate(
        {
            **dict(SandboxMessageSummary.model_validate(row)),
            "from_name": mail.from_name,
            "headers": [{"name": name, "value": value} for name, value in mail.headers],
            "html": mail.html,
            "text": mail.text,
            "list_unsubscribe": mail.list_unsubscribe,
            "size": mail.size,
        }
    )
