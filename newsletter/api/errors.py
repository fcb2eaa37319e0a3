"""Turns every error into the one envelope: ``{"error": {code, message, request_id, errors?}}``."""

from collections.abc import Iterator, Mapping
from enum import Enum
from itertools import islice
from typing import Any, Final, Literal, TypeAlias, get_args, get_origin

import structlog
from litestar import Request, Response
from litestar.exceptions import (
    ClientException,
    HTTPException,
    MethodNotAllowedException,
    NotFoundException,
    ValidationException,
)
from litestar.handlers import BaseRouteHandler
from litestar.types import ExceptionHandlersMap, Receive, Scope, Send
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from newsletter.api.error_pages import error_page
from newsletter.kit.db import is_disk_full, is_outage
from newsletter.kit.errors import (
    InternalError,
    MalformedJSON,
    MethodNotAllowed,
    NewsletterError,
    NotFound,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UnsupportedMedia,
    ValidationFailed,
)
from newsletter.kit.wording import of_body, one_of, plain

# A body may hold a hundred thousand wrong names, each as long as the body: the answer stays short.
MAX_NAMED: Final = 100
MAX_NAME: Final = 200

log = structlog.get_logger(__name__)

AnyRequest = Request[Any, Any, Any]
Answer: TypeAlias = Response[dict[str, object]] | Response[str]


def envelope(error: NewsletterError, request_id: str) -> dict[str, object]:
    body: dict[str, object] = {
        "code": error.code,
        "message": error.message,
        "request_id": request_id,
    }
    if error.errors:
        body["errors"] = _named(error.errors)
        if len(error.errors) > MAX_NAMED:
            body["message"] = f"{error.message} The first {MAX_NAMED} of {len(error.errors):,} are named."
    return {"error": body}


def _named(errors: Mapping[str, list[str]]) -> dict[str, list[str]]:
    return {
        name if len(name) <= MAX_NAME else f"{name[:MAX_NAME]}…": texts
        for name, texts in islice(errors.items(), MAX_NAMED)
    }


def respond(request: AnyRequest, error: NewsletterError) -> Answer:
    headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    request_id = str(request.scope.get("request_id", ""))
    if _answers_with_pages(request):
        page = error_page(error, request_id)
        page.headers.update(headers)
        return page
    return Response(
        envelope(error, request_id),
        status_code=error.status,
        headers=headers,
        media_type="application/json",
    )


def _answers_with_pages(request: AnyRequest) -> bool:
    """Links of mails are opened by people: their routes say so in ``opt``."""
    # A path without a route has no handler, whatever the scope's type says.
    handler: object = request.scope.get("route_handler")
    return isinstance(handler, BaseRouteHandler) and handler.opt.get("answers") == "page"


async def send_error(scope: Scope, receive: Receive, send: Send, error: NewsletterError) -> None:
    """Answers from a middleware, where raising would bypass the headers of the layers around."""
    request: AnyRequest = Request(scope, receive, send)
    await respond(request, error).to_asgi_response(app=None, request=request)(scope, receive, send)


def _ours(request: AnyRequest, error: NewsletterError) -> Answer:
    return respond(request, error)


def _validation(request: AnyRequest, error: ValidationException) -> Answer:
    """Litestar's 400 for parameters and bodies becomes our 422, with every bad field at once."""
    problems = error.extra if isinstance(error.extra, list) else []
    fields: dict[str, list[str]] = {}
    for problem in problems:
        # Pydantic's mark of a bad name, as against a bad value under it.
        field = str(problem.get("key", "data")).removesuffix(".[key]")
        if field == "data":  # The whole body, which Litestar calls so.
            fields["body"] = [of_body(str(problem.get("message", "")))]
        else:
            text = str(problem.get("message", "is invalid"))
            choices = _choices(request, field) if text.startswith("Invalid enum value") else []
            fields.setdefault(field, []).append(one_of(choices) if choices else plain(text))
    if not fields:
        fields["body"] = [plain(str(error.detail))]
    return respond(request, ValidationFailed(errors=fields))


def _choices(request: AnyRequest, field: str) -> list[str]:
    """The values that a parameter may have, of the handler or of what it depends on: the framework's
    message names the bad one alone."""
    handler = request.scope["route_handler"]
    provided = (each.parsed_fn_signature for each in handler.resolve_dependencies().values())
    for signature in (handler.parsed_fn_signature, *provided):
        if field in signature.parameters:
            return list(_values(signature.parameters[field].annotation))
    return []


def _values(annotation: object) -> Iterator[str]:
    """Of an enumeration or a literal, wherever it stands in a type."""
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        yield from (str(member.value) for member in annotation)
    for part in get_args(annotation):
        yield from [part] if get_origin(annotation) is Literal else _values(part)


def _client(request: AnyRequest, error: ClientException) -> Answer:
    if error.status_code == 413:
        return respond(request, TooLarge())
    if error.status_code == 415:
        return respond(request, UnsupportedMedia())
    if error.detail == "Invalid host header":
        return respond(request, MalformedJSON("The Host header is not valid."))
    # What is left of Litestar's own 400s are bodies that it could not decode.
    return respond(request, MalformedJSON())


def _malformed(request: AnyRequest, error: RecursionError | UnicodeDecodeError) -> Answer:
    if isinstance(error, UnicodeDecodeError):
        return respond(request, MalformedJSON())
    return respond(request, MalformedJSON("The body nests too deeply."))


def _http(request: AnyRequest, error: HTTPException) -> Answer:
    if isinstance(error, NotFoundException):
        return respond(request, NotFound("There is nothing at this path."))
    if isinstance(error, MethodNotAllowedException):
        answer = respond(request, MethodNotAllowed())
        answer.headers.update(error.headers or {})  # Allow, which RFC 9110 asks for.
        return answer
    if error.status_code < 500:
        return _client(request, ClientException(status_code=error.status_code))
    if error.detail == "client disconnected prematurely":  # Not our fault, and nobody hears the answer.
        return respond(request, MalformedJSON("The body ended before it was complete."))
    return _unexpected(request, error)


def _database(request: AnyRequest, error: Exception) -> Answer:
    """The database is away, full or read-only: nothing was written, the call may be repeated."""
    if not is_outage(error):
        return _unexpected(request, error)
    log.error("the database refused", exc_info=error)
    text = "The database cannot take this call now; nothing was written."
    if is_disk_full(error):
        text = "The disk is full; nothing was written. Whoever runs this service must make room."
    return respond(request, Unavailable(text, retry_after=5))


def _unexpected(request: AnyRequest, error: Exception) -> Answer:
    log.error("unhandled error", exc_info=error)
    return respond(request, InternalError())


HANDLERS: ExceptionHandlersMap = {
    NewsletterError: _ours,
    ValidationException: _validation,
    # Both are client exceptions too; the nearest class in this table handles an error.
    NotFoundException: _http,
    MethodNotAllowedException: _http,
    ClientException: _client,
    HTTPException: _http,
    # Only a body can nest deeper than the decoder goes, or have bytes that are no text.
    RecursionError: _malformed,
    UnicodeDecodeError: _malformed,
    PoolTimeout: _database,
    DBAPIError: _database,
    OSError: _database,
    Exception: _unexpected,
}


def answer_to(request: AnyRequest, error: Exception) -> Answer:
    """What the table makes of an error, for who answers beside the framework."""
    kind = next(kind for kind in type(error).__mro__ if kind in HANDLERS)
    answer: Answer = HANDLERS[kind](request, error)
    return answer
