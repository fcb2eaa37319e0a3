"""``/inbound/{type}/{token}``: where providers report what became of the mail.

Public: the report itself is signed. The address is a server's ``reports_url``.
"""

from typing import Any

from litestar import Controller, Request, Response, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from newsletter.feedback import inbound
from newsletter.kit.crypto import Vault
from newsletter.kit.db import Database
from newsletter.providers.sns import Certificates
from newsletter.routing.reporting import Reporting


class InboundController(Controller):
    path = "/inbound"
    include_in_schema = False

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
