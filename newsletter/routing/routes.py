"""``/sending-servers`` and ``/routing``: servers, rules, and why a mail goes where it goes."""

from collections.abc import Sequence

from litestar import Controller, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts.project import Principal
from newsletter.kit import ids, paging
from newsletter.kit.address import ascii_domain_of, domain_of
from newsletter.kit.crypto import Vault
from newsletter.kit.db import Database, db_now
from newsletter.kit.idempotency import Once
from newsletter.kit.schema import Data, Page
from newsletter.providers.base import MailStream
from newsletter.providers.registry import ServerType
from newsletter.routing import breaker, explain, meter, queries, rules, service
from newsletter.routing.breaker import CLOSED
from newsletter.routing.meter import Used
from newsletter.routing.models import SendingServer
from newsletter.routing.reporting import Reporting
from newsletter.routing.schemas import (
    BreakerOut,
    ConsideredOut,
    Explain,
    Explained,
    RampOut,
    RuleCreate,
    RuleOut,
    RuleUpdate,
    ServerCreate,
    ServerOut,
    ServerTested,
    ServerUpdate,
    UsedOut,
)
from newsletter.routing.warmup import WarmUp
from newsletter.routing.workshop import Workshop
from newsletter.settings import Settings


async def _shown(
    session: AsyncSession, vault: Vault, reporting: Reporting, rows: Sequence[SendingServer]
) -> list[ServerOut]:
    """Servers with what went through them and whether they are left alone; never a secret."""
    server_ids = [row.id for row in rows]
    used = await meter.used(session, server_ids)
    breakers = await breaker.states(session, server_ids)
    now = (await session.execute(select(db_now()))).scalar_one()
    found = []
    for row in rows:
        state = breakers.get(row.id, CLOSED)
        found.append(
            ServerOut.model_validate(
                {
                    **{name: getattr(row, name) for name in ServerOut.model_fields if hasattr(row, name)},
                    "secrets": service.secrets_of(vault, row),
                    "reports_url": reporting.url(ServerType(row.type), row.id),
                    "warm_up": RampOut.model_validate(WarmUp.from_json(row.warm_up)) if row.warm_up else None,
                    "used": UsedOut.model_validate(used.get(row.id, Used())),
                    "breaker": BreakerOut(
                        state=state.state(now), open_until=state.open_until, reason=state.reason or None
                    ),
                }
            )
        )
    return found


class SendingServerController(Controller):
    path = "/sending-servers"
    tags = ("Sending servers",)

    @post(operation_id="create_sending_server", summary="Connect a server", opt={"scope": "servers:write"})
    async def create(
        self,
        db: NamedDependency[Database],
        vault: NamedDependency[Vault],
        reporting: NamedDependency[Reporting],
        settings: NamedDependency[Settings],
        principal: NamedDependency[Principal],
        once: NamedDependency[Once],
        data: JSONBody[ServerCreate],
    ) -> Data[ServerOut]:
        """It takes mail at once, unless ``is_active`` is false; test it before."""
        limit = settings.limits.sending_servers
        async with db.unit_of_work() as session:
            row = await service.create(session, vault, principal.project, data, limit=limit)
            out = Data[ServerOut](data=(await _shown(session, vault, reporting, [row]))[0])
            await once.keep(session, 201, out)
        return out

    @get(operation_id="list_sending_servers", summary="List the servers", opt={"scope": "servers:read"})
    async def index(
        self,
        db: NamedDependency[Database],
        vault: NamedDependency[Vault],
        reporting: NamedDependency[Reporting],
        principal: NamedDependency[Principal],
        page: FromQuery[int] = 1,
        per_page: FromQuery[int] = 20,
    ) -> Page[ServerOut]:
        async with db.read() as session:
            rows, meta = await paging.numbered(session, queries.servers(principal.project), page, per_page)
            return Page(data=await _shown(session, vault, reporting, rows), meta=meta)

    @get(
        "/{id:str}",
        operation_id="get_sending_server",
        summary="Read a server, what it was given, and whether it works",
        opt={"scope": "servers:read"},
    )
    async def read(
        self,
        db: NamedDependency[Database],
        vault: NamedDependency[Vault],
        reporting: NamedDependency[Reporting],
        principal: NamedDependency[Principal],
        id: FromPath[str],
    ) -> Data[ServerOut]:
        async with db.read() as session:
            row = await queries.server(session, principal.project, ids.in_path("srv", id))
            return Data(data=(await _shown(session, vault, reporting, [row]))[0])

    @patch(
        "/{id:str}",
        operation_id="update_sending_server",
        summary="Change a server",
        opt={"scope": "servers:write"},
    )
    async def update(
        self,
        db: NamedDependency[Database],
        vault: NamedDependency[Vault],
        reporting: NamedDependency[Reporting],
        principal: NamedDependency[Principal],
        id: FromPath[str],
        data: JSONBody[ServerUpdate],
    ) -> Data[ServerOut]:
        """Workers go by it within seconds; mails on their way go out as they were."""
        async with db.unit_of_work() as session:
            row = await service.update(session, vault, principal.project, ids.in_path("srv", id), data)
            return Data(data=(await _shown(session, vault, reporting, [row]))[0])

    @delete(
        "/{id:str}",
        operation_id="delete_sending_server",
        summary="Disconnect a server",
        opt={"scope": "servers:write"},
    )
    async def remove(
        self, db: NamedDependency[Database], principal: NamedDependency[Principal], id: FromPath[str]
    ) -> None:
        async with db.unit_of_work() as session:
            await service.remove(session, principal.project, ids.in_path("srv", id))

    @post(
        "/{id:str}/test",
        operation_id="test_sending_server",
        summary="Connect and sign in, without sending",
        status_code=200,
        opt={"scope": "servers:write"},
    )
    async def test(
        self,
        db: NamedDependency[Database],
        vault: NamedDependency[Vault],
        workshop: NamedDependency[Workshop],
        principal: NamedDependency[Principal],
        once: NamedDependency[Once],
        id: FromPath[str],
    ) -> Data[ServerTested]:
        """Also where the server is not active. What went wrong comes with how to mend it."""
        tested = await service.test(db, vault, workshop, principal.project, ids.in_path("srv", id))
        out = Data[ServerTested](data=ServerTested(found=tested.found, elapsed_ms=tested.elapsed_ms))
        async with db.unit_of_work() as session:
            await once.keep(session, 200, out)
        return out


class RoutingController(Controller):
    path = "/routing"
    tags = ("Sending servers",)

    @post(
        "/rules",
        operation_id="create_routing_rule",
        summary="Add a rule",
        opt={"scope": "routing:write"},
    )
    async def create(
        self,
        db: NamedDependency[Database],
        settings: NamedDependency[Settings],
        principal: NamedDependency[Principal],
        once: NamedDependency[Once],
        data: JSONBody[RuleCreate],
    ) -> Data[RuleOut]:
        limit = settings.limits.routing_rules
        async with db.unit_of_work() as session:
            row = await rules.create(session, principal.project, data, limit=limit)
            out = Data[RuleOut](data=RuleOut.model_validate(row))
            await once.keep(session, 201, out)
        return out

    @get(
        "/rules",
        operation_id="list_routing_rules",
        summary="List the rules in the order in which they are tried",
        opt={"scope": "routing:read"},
    )
    async def index(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        page: FromQuery[int] = 1,
        per_page: FromQuery[int] = 20,
    ) -> Page[RuleOut]:
        async with db.read() as session:
            rows, meta = await paging.numbered(session, queries.rules(principal.project), page, per_page)
            return Page(data=[RuleOut.model_validate(row) for row in rows], meta=meta)

    @get(
        "/rules/{id:str}",
        operation_id="get_routing_rule",
        summary="Read a rule",
        opt={"scope": "routing:read"},
    )
    async def read(
        self, db: NamedDependency[Database], principal: NamedDependency[Principal], id: FromPath[str]
    ) -> Data[RuleOut]:
        async with db.read() as session:
            row = await queries.rule(session, principal.project, ids.in_path("rul", id))
            return Data(data=RuleOut.model_validate(row))

    @patch(
        "/rules/{id:str}",
        operation_id="update_routing_rule",
        summary="Change a rule",
        opt={"scope": "routing:write"},
    )
    async def update(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        id: FromPath[str],
        data: JSONBody[RuleUpdate],
    ) -> Data[RuleOut]:
        async with db.unit_of_work() as session:
            row = await rules.update(session, principal.project, ids.in_path("rul", id), data)
            return Data(data=RuleOut.model_validate(row))

    @delete(
        "/rules/{id:str}",
        operation_id="delete_routing_rule",
        summary="Delete a rule",
        opt={"scope": "routing:write"},
    )
    async def remove(
        self, db: NamedDependency[Database], principal: NamedDependency[Principal], id: FromPath[str]
    ) -> None:
        async with db.unit_of_work() as session:
            await rules.remove(session, principal.project, ids.in_path("rul", id))

    @post(
        "/explain",
        operation_id="explain_routing",
        summary="Say which server would take a mail now, and why each other would not",
        status_code=200,
        opt={"scope": "routing:read"},
    )
    async def explain(
        self,
        db: NamedDependency[Database],
        settings: NamedDependency[Settings],
        principal: NamedDependency[Principal],
        once: NamedDependency[Once],
        data: JSONBody[Explain],
    ) -> Data[Explained]:
        """Sends nothing. The same message always has the same order of servers, so a retry goes
        where this says while nothing changes."""
        stream = MailStream(
            project_id=principal.project.id,
            is_test=principal.project.is_test,
            purpose=data.purpose,
            list_id=data.list_id,
            sender_domain=ascii_domain_of(data.from_),
        )
        async with db.unit_of_work() as session:
            await rules.require_known(session, principal.project, list_id=data.list_id)
            found = await explain.explain(
                session,
                stream,
                to_domain=domain_of(data.to),
                key=data.message_id or data.to,
                has_default=settings.smtp.url is not None,
            )
            out = Data[Explained](
                data=Explained(
                    server_id=found.server_id,
                    server_name=found.server_name,
                    rule_id=found.rule_id,
                    text=found.text,
                    retry_after=found.retry_after,
                    considered=[ConsideredOut.model_validate(each) for each in found.considered],
                )
            )
            await once.keep(session, 200, out)
        return out
