"""What a call may name in its query: what its operation takes, and nothing else.

A misspelt name would otherwise mean its absence, which says more: `DELETE /subscribers/{email}` without a
``list_id`` is about every list, and an export without its filter holds everyone.
"""

from collections.abc import Sequence
from typing import Final

from litestar import Litestar, Request
from litestar.handlers import BaseRouteHandler
from litestar.routes import HTTPRoute
from litestar.types import Scope

from newsletter.api.errors import AnyRequest
from newsletter.kit.errors import ValidationFailed
from newsletter.kit.wording import listed

TAKEN: Final = "query"
"""Where the ``opt`` of a route has the names that it takes, in the order of the alphabet."""
KEY: Final = "api_key"
"""What a GET may bring beside them."""


def declare(app: Litestar) -> None:
    """Has each route say what it takes: the parameters of its handler and of all that this one depends on."""
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            for handler, parts in route.route_handler_map.values():
                handler.opt[TAKEN] = sorted(each.field_alias for each in parts.expected_query_params)


def refusal(scope: Scope, handler: BaseRouteHandler) -> ValidationFailed | None:
    """Names every parameter that the operation does not take; None where there is none."""
    if not scope["query_string"]:
        return None
    taken: Sequence[str] = handler.opt[TAKEN]
    request: AnyRequest = Request(scope)  # What it reads of the query, the handler does not read again.
    allowed = {*taken, KEY} if scope.get("method") == "GET" else taken
    unknown = [name for name in request.query_params if name not in allowed]
    if not unknown:
        return None
    takes = f"takes {listed(taken)}" if taken else "takes none in its query"
    text = f"is not a known parameter: this operation {takes}"
    return ValidationFailed(errors={name: [text] for name in unknown})
