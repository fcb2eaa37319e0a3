"""``/inbound/…``: where providers report what became of the mail, and where returned mails are handed in.

Public: a report is signed by its provider, and a returned mail by its address, which we signed.
"""

from typing import Any

from litestar import Controller, Request, Response, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from newsletter.accounts.project import Principal
from newsletter.delivery.return_path import ReturnPaths
from newsletter.feedback import inbound, returned
from newsletter.feedback.inbound import BadReport
from newsletter.feedback.schemas import IntakeOut
from newsletter.kit.crypto import Vault
from newsletter.kit.db import Database
from newsletter.kit.idempotency import Once
from newsletter.kit.schema import Data
from newsletter.providers.sns import Certificates
from newsletter.routing.reporting import Reporting

MAIL = "message/rfc822"


class InboundController(Controller):
    path = "/inbound"
    include_in_schema = False

    @post("/mail/{address:str}", status_code=202)
    async def take_mail(
        self,
        request: Request[Any, Any, Any],
        db: NamedDependency[Database],
        return_paths: NamedDependency[ReturnPaths],
        address: FromPath[str],
    ) -> Response[dict[str, Any]]:
        """A whole mail (RFC 5322) that came to one of our return paths, which is the proof."""
        if not return_paths.is_ours(address):
            raise BadReport("This is not a return path of this service.")
        is_ours = await returned.receive(db, return_paths, await request.body(), recipient=address)
        return Response({"data": {"status": "accepted" if is_ours else "ignored"}}, status_code=202)

    @post("/{kind:str}/{token:str}", status_code=202)
    async def take(
        self,
        request: Request[Any, Any, Any],
        db: NamedDependency[Database],
        vault: NamedDependency[Vault],
        certificates: NamedDependency[Certificates],
        reporting: NamedDependency[Reporting],
        kind: FromPath[str],
        token: FromPath[str],
    ) -> Response[dict[str, Any]]:
        """202 also for a report that is known, so that its provider stops repeating it."""
        headers = {name.lower(): value for name, value in request.headers.items()}
        raw = await request.body()
        server_id = reporting.server_id(token)
        await inbound.receive(db, vault, certificates, kind, server_id, raw, headers)
        return Response({"data": {"status": "accepted"}}, status_code=202)


class IntakeController(Controller):
    path = "/inbound"
    tags = ("Suppressions",)

    @post(
        "/mail",
        operation_id="take_in_mail",
        summary="Hand in a mail that came back",
        description="A bounce or complaint as it came (RFC 5322), such as one from the mailbox of the "
        "sender's address. Its first megabyte is read. It is believed about the message whose signed "
        "name it returns, in the Message-ID or the return path, and about no other.",
        status_code=202,
        opt={"scope": "suppressions:write", "accepts": MAIL},
    )
    async def take(
        self,
        request: Request[Any, Any, Any],
        db: NamedDependency[Database],
        return_paths: NamedDependency[ReturnPaths],
        principal: NamedDependency[Principal],
        once: NamedDependency[Once],
        recipient: FromQuery[str | None] = None,
    ) -> Data[IntakeOut]:
        principal.require_every_list()
        raw = await request.body()
        message_id = await returned.proved(return_paths, raw, recipient)
        async with db.unit_of_work() as session:
            is_ours = message_id is not None and await returned.store(
                session, message_id, raw, principal.project.id
            )
            out = Data[IntakeOut](data=IntakeOut(status="accepted" if is_ours else "ignored"))
            await once.keep(session, 202, out)
        return out
