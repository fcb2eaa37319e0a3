"""Writes ``docs/errors.md`` from the catalogue of errors: ``make docs``."""

from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path

from litestar import Router

from newsletter import asgi  # noqa: F401 - every error registers itself when its module is imported
from newsletter.api import raises, routers
from newsletter.api.describe import Operation, errors_of
from newsletter.api.openapi import operations
from newsletter.kit.errors import InternalError, MethodNotAllowed, NewsletterError, UnknownCoding, catalogue

PATH = Path(__file__).parents[1] / "docs" / "errors.md"

INTRODUCTION = """\
# Errors

Every error of the API is `{"error": {"code", "message", "request_id", "errors"?}}` with the status
below. Decide by `code`: it is contract. `message` is for people and may be worded anew. `errors` comes
with 422 alone and names every bad field at once, nested ones as `ai.prompt` or `subscribers.3.email`.
Names in the query that the operation does not take are told in the same way, before fields are looked at.
Give `request_id` (also the header `X-Request-Id`) to whoever helps you.

A call that failed changed nothing, and its `Idempotency-Key` is free again. Where there is a header
`Retry-After`, the same call may succeed after so many seconds.

This page is made from the code by `make docs`.
"""

STATUSES: Mapping[int, str] = {
    400: "Bad request",
    401: "No valid key",
    402: "The plan does not include it",
    403: "The key may not",
    404: "Not found",
    405: "Wrong method",
    409: "In conflict with the state of things",
    410: "Gone",
    413: "Too large",
    415: "Wrong type of content",
    422: "Invalid",
    429: "Too much, for now",
    500: "Our mistake",
    501: "Not known here",
    502: "Somebody else's mistake",
    503: "Not now",
}
ANYWHERE = {*raises.ALWAYS, MethodNotAllowed, InternalError, UnknownCoding}


def render() -> str:
    router = Router("/api/v1", route_handlers=[*routers.V1, *routers.WITH_FILES])
    known = sorted(operations(router.routes), key=lambda one: one.id)
    parts = [INTRODUCTION]
    ours = [error for error in catalogue() if error.__module__.startswith("newsletter.")]
    for status, errors in groupby(ours, key=lambda error: error.status):
        rows = "\n".join(_row(error, known) for error in errors)
        parts.append(
            f"## {status}: {STATUSES[status]}\n\n| Code | What it says | Where |\n|---|---|---|\n{rows}\n"
        )
    return "\n".join(parts)


def _row(error: type[NewsletterError], known: list[Operation]) -> str:
    says = error.summary.replace("|", "&#124;").replace("<", "&lt;")
    return f"| `{error.code}` | {says} | {_places(error, known)} |"


def _places(error: type[NewsletterError], known: list[Operation]) -> str:
    if error in ANYWHERE:
        return "everywhere"
    if error in raises.WITH_BODY:
        return "wherever something is sent"
    if error in raises.WITH_ID:
        return "wherever the path holds an id"
    if error in raises.ON_POST:
        return "every POST"
    return ", ".join(_naming(error, known)) or "links of a mail, and `reports_url`"


def _naming(error: type[NewsletterError], known: list[Operation]) -> Iterator[str]:
    for each in known:
        if error in errors_of(each):
            yield f"`{each.id}`"


if __name__ == "__main__":
    PATH.write_text(render(), encoding="utf-8")
    print(f"wrote {PATH.relative_to(Path.cwd())}")
