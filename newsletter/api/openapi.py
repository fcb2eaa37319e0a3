"""``/api/openapi.json``: the OpenAPI 3.1 document of the API, made from its routes."""

import json
from pathlib import Path
from typing import Any

from litestar import MediaType, Request, Router
from litestar.exceptions import NotFoundException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme, Server, Tag
from litestar.routes import HTTPRoute

from newsletter import __version__
from newsletter.api.describe import JSON, Operation, describe, operation
from newsletter.api.errors import AnyRequest
from newsletter.api.generators import for_generators
from newsletter.plans.catalogue import CallClass, Catalogue

PATH = "/api/openapi.json"
_INTRODUCTION = Path(__file__).with_name("introduction.md")

TAGS = (
    Tag("Campaigns", "Write them from a topic or from HTML, preview, test, send, schedule, cancel."),
    Tag("Automations", "Steps that subscribers take by themselves: mails, waits, branches, tags."),
    Tag("Single mails", "One mail to one person, or many at once; what became of each; keys for SMTP."),
    Tag("Subscribers", "Addresses on lists: one by one or many at once, with their consent on record."),
    Tag("Lists", "Who gets what. A subscriber is one address on one list."),
    Tag("Segments", "Conditions on the subscribers of a list, for campaigns to those who meet them."),
    Tag("Suppressions", "Who must never be mailed, who left, and mail that came back."),
    Tag("Analytics", "Counts, reports, the raw log of events, and the health of your sending."),
    Tag("Brand voice", "How your newsletters sound; every generation names the version that it used."),
    Tag("Templates", "The frame around the body, in MJML: those of the service and your own."),
    Tag("Sending domains", "What your mail is signed for, and what belongs into the DNS."),
    Tag("Sending servers", "What your mail goes through, and the rules that choose among them."),
    Tag("Webhooks", "Calls to your endpoints when something happened, signed and tried again."),
    Tag("Sandbox", "The mail of a test project, which is kept instead of sent."),
    Tag("Project", "The sender, the branding and the rules of a project."),
    Tag("Account", "The plan, and what is used of it."),
)


def configured(public_url: str, plans: Catalogue) -> OpenAPIConfig:
    return OpenAPIConfig(
        title="Newsletter API",
        version=__version__,
        description=_INTRODUCTION.read_text(encoding="utf-8").replace("{rate_limits}", _table(plans)),
        servers=[Server(url=public_url, description="This installation")],
        tags=list(TAGS),
        components=Components(
            security_schemes={
                "bearer": SecurityScheme(
                    type="http", scheme="bearer", description="`Authorization: Bearer nl_live_…`"
                ),
                "header": SecurityScheme(
                    type="apiKey",
                    name="X-API-Key",
                    security_scheme_in="header",
                    description="The same key in a header of its own.",
                ),
                "query": SecurityScheme(
                    type="apiKey",
                    name="api_key",
                    security_scheme_in="query",
                    description="For a look from a browser: on GET, with the key of a test project only.",
                ),
            }
        ),
        use_handler_docstrings=True,
        render_plugins=[_Document(path="/openapi.json", media_type=MediaType.JSON)],
        openapi_router=Router(
            "/api", route_handlers=[], include_in_schema=False, before_request=_only_the_document
        ),
    )


class _Document(JsonRenderPlugin):
    """The framework's document, described in full when it is first asked for."""

    _rendered: bytes | None = None

    def render(self, request: Request[Any, Any, Any], openapi_schema: JSON) -> bytes:
        if self._rendered is None:
            # Copied, as the framework keeps its own.
            document = json.loads(super().render(request, openapi_schema))
            described = for_generators(describe(document, operations(request.app.routes)))
            self._rendered = json.dumps(described, ensure_ascii=False).encode()
        return self._rendered


def operations(routes: list[Any]) -> list[Operation]:
    """The routes that are in the document."""
    return [
        operation(handler, route.path_format)
        for route in routes
        if isinstance(route, HTTPRoute)
        for handler in route.route_handlers
        if handler.operation_id and handler.resolve_include_in_schema()
    ]


def _only_the_document(request: AnyRequest) -> None:
    """The framework would also answer at ``/api`` and show a page of its own for unknown paths."""
    if request.scope["path"] != PATH:
        raise NotFoundException


def _table(plans: Catalogue) -> str:
    rows = [["class", *plans], ["---"] * (len(plans) + 1)]
    rows += [[f"`{kind.value}`", *(f"{plan.calls[kind]:,}" for plan in plans.values())] for kind in CallClass]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
