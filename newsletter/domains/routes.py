"""``/sending-domains``: register a domain, and see what belongs into its DNS."""

import asyncio

from litestar import Controller, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody

from newsletter.accounts.project import Principal
from newsletter.domains import queries, service
from newsletter.domains.schemas import DomainCreate, DomainOut
from newsletter.kit import ids, paging
from newsletter.kit.crypto import Vault
from newsletter.kit.db import Database
from newsletter.kit.errors import Forbidden
from newsletter.kit.idempotency import Once
from newsletter.kit.schema import Data, Page
from newsletter.settings import Settings


class SendingDomainController(Controller):
    path = "/sending-domains"
    tags = ("Sending domains",)

    @post(operation_id="create_sending_domain", summary="Register a domain", opt={"scope": "domains:write"})
    async def create(
        self,
        db: NamedDependency[Database],
        vault: NamedDependency[Vault],
        settings: NamedDependency[Settings],
        principal: NamedDependency[Principal],
        once: NamedDependency[Once],
        data: JSONBody[DomainCreate],
    ) -> Data[DomainOut]:
        """Makes its keys and answers with the DNS records to publish. The private keys are stored
        encrypted and shown to nobody. Mailings that start from now on are signed."""
        _check_restriction(principal, data.domain)
        keys = await asyncio.to_thread(service.make_keys, data.mode)
        async with db.unit_of_work() as session:
            row = await service.create(
                session, vault, principal.project, data.domain, keys, limit=settings.limits.sending_domains
            )
            out = Data[DomainOut](data=DomainOut.model_validate(row))
            await once.keep(session, 201, out)
        return out

    @get(operation_id="list_sending_domains", summary="List the domains", opt={"scope": "domains:read"})
    async def index(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        page: FromQuery[int] = 1,
        per_page: FromQuery[int] = 20,
    ) -> Page[DomainOut]:
        async with db.read() as session:
            rows, meta = await paging.numbered(session, queries.domains(principal.project), page, per_page)
            return Page(data=[DomainOut.model_validate(row) for row in rows], meta=meta)

    @get(
        "/{id:str}",
        operation_id="get_sending_domain",
        summary="Read a domain and its DNS records",
        opt={"scope": "domains:read"},
    )
    async def read(
        self, db: NamedDependency[Database], principal: NamedDependency[Principal], id: FromPath[str]
    ) -> Data[DomainOut]:
        async with db.read() as session:
            row = await queries.domain(session, principal.project, ids.in_path("dom", id))
            return Data(data=DomainOut.model_validate(row))

    @delete(
        "/{id:str}",
        operation_id="delete_sending_domain",
        summary="Delete a domain and its keys",
        opt={"scope": "domains:write"},
    )
    async def remove(
        self, db: NamedDependency[Database], principal: NamedDependency[Principal], id: FromPath[str]
    ) -> None:
        """Mailings that start from now on are not signed here."""
        async with db.unit_of_work() as session:
            row = await queries.domain(session, principal.project, ids.in_path("dom", id))
            _check_restriction(principal, row.domain)
            await service.remove(session, principal.project, row.id)


def _check_restriction(principal: Principal, domain: str) -> None:
    if not principal.may_send_from(domain):
        raise Forbidden("This key may not send from that domain.")
