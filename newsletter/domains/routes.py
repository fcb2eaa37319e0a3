"""``/sending-domains``: register a domain, see what belongs into its DNS, and have that looked up."""

import asyncio
from typing import Any

from litestar import Controller, Request, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody

from newsletter.accounts.project import Principal
from newsletter.domains import queries, service, verifying
from newsletter.domains.resolver import Resolver
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
            out = Data[DomainOut](data=DomainOut.of(row, settings.dns))
            await once.keep(session, 201, out)
        return out

    @get(operation_id="list_sending_domains", summary="List the domains", opt={"scope": "domains:read"})
    async def index(
        self,
        db: NamedDependency[Database],
        settings: NamedDependency[Settings],
        principal: NamedDependency[Principal],
        page: FromQuery[int] = 1,
        per_page: FromQuery[int] = 20,
    ) -> Page[DomainOut]:
        async with db.read() as session:
            rows, meta = await paging.numbered(session, queries.domains(principal.project), page, per_page)
            return Page(data=[DomainOut.of(row, settings.dns) for row in rows], meta=meta)

    @get(
        "/{id:str}",
        operation_id="get_sending_domain",
        summary="Read a domain, its DNS records, and whether they were found",
        opt={"scope": "domains:read"},
    )
    async def read(
        self,
        db: NamedDependency[Database],
        settings: NamedDependency[Settings],
        principal: NamedDependency[Principal],
        id: FromPath[str],
    ) -> Data[DomainOut]:
        async with db.read() as session:
            row = await queries.domain(session, principal.project, ids.in_path("dom", id))
            return Data(data=DomainOut.of(row, settings.dns))

    @post(
        "/{id:str}/verify",
        operation_id="verify_sending_domain",
        summary="Look its records up in the DNS",
        status_code=200,
        opt={"scope": "domains:write"},
    )
    async def verify(
        self,
        request: Request[Any, Any, Any],
        db: NamedDependency[Database],
        resolver: NamedDependency[Resolver],
        settings: NamedDependency[Settings],
        principal: NamedDependency[Principal],
        once: NamedDependency[Once],
        id: FromPath[str],
    ) -> Data[DomainOut]:
        """Takes as long as the DNS does, some seconds at most, and says of each record whether it was found.
        Verified domains are looked at daily by themselves."""
        domain_id = ids.in_path("dom", id)
        async with db.read() as session:
            _check_restriction(
                principal, (await queries.domain(session, principal.project, domain_id)).domain
            )
        ip = request.client.host if request.client else None
        await verifying.verify(db, resolver, principal, domain_id, ip=ip)
        async with db.unit_of_work() as session:
            row = await queries.domain(session, principal.project, domain_id)
            out = Data[DomainOut](data=DomainOut.of(row, settings.dns))
            await once.keep(session, 200, out)
        return out

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
