"""``/sending-domains``: register a domain, see what belongs into its DNS, and have that looked up."""

import asyncio
from typing import Any

from litestar import Controller, MediaType, Request, Response, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody

from newsletter.accounts.project import Principal
from newsletter.domains import queries, service, tracking, verifying
from newsletter.domains.resolver import Resolver
from newsletter.domains.schemas import DomainCreate, DomainOut, DomainUpdate
from newsletter.kit import ids, paging
from newsletter.kit.crypto import Vault
from newsletter.kit.db import Database
from newsletter.kit.errors import Forbidden, RateLimited
from newsletter.kit.idempotency import Once
from newsletter.kit.ratelimit import Limiter
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
            out = Data[DomainOut](data=DomainOut.of(row, settings))
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
            return Page(data=[DomainOut.of(row, settings) for row in rows], meta=meta)

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
            return Data(data=DomainOut.of(row, settings))

    @patch(
        "/{id:str}",
        operation_id="update_sending_domain",
        summary="Name a host of your own for tracked links",
        opt={"scope": "domains:write"},
    )
    async def update(
        self,
        db: NamedDependency[Database],
        settings: NamedDependency[Settings],
        principal: NamedDependency[Principal],
        id: FromPath[str],
        data: JSONBody[DomainUpdate],
    ) -> Data[DomainOut]:
        """The answer has the CNAME to publish; have it looked up then, and the links of mailings that start
        from then on lead there. A host belongs to one project."""
        domain_id = ids.in_path("dom", id)
        async with db.unit_of_work() as session:
            row = await queries.domain(session, principal.project, domain_id, lock=True)
            _check_restriction(principal, row.domain)
            await tracking.assign(session, principal.project, row, data.tracking_host, settings)
            return Data(data=DomainOut.of(row, settings))

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
            row = await queries.domain(session, principal.project, domain_id)
            _check_restriction(principal, row.domain)
        ip = request.client.host if request.client else None
        row = await verifying.verify(db, resolver, settings, principal, row, ip=ip)
        out = Data[DomainOut](data=DomainOut.of(row, settings))
        async with db.unit_of_work() as session:
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


@get("/tls/ask", include_in_schema=False)
async def tls_ask(
    db: NamedDependency[Database],
    limiter: NamedDependency[Limiter],
    settings: NamedDependency[Settings],
    domain: FromQuery[str] = "",
) -> Response[str]:
    """What a proxy asks before it gets a certificate for a host (Caddy's on-demand TLS): 200 for a verified
    tracking host, 404 for any other."""
    # Together, as it is the proxy who asks for everybody.
    verdict = await limiter.hit("tls-ask", settings.limits.tls_questions)
    if not verdict.is_allowed:
        raise RateLimited(retry_after=verdict.reset)
    async with db.read() as session:
        row = await queries.by_tracking_host(session, domain.lower().removesuffix(".").replace("\0", ""))
    is_known = row is not None and row.is_tracking_host_used
    return Response(
        "yes" if is_known else "no", status_code=200 if is_known else 404, media_type=MediaType.TEXT
    )


def _check_restriction(principal: Principal, domain: str) -> None:
    if not principal.may_send_from(domain):
        raise Forbidden("This key may not send from that domain.")
