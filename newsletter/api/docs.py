"""``/api/docs``: the API's document to browse and try, with nothing loaded from another host.

Swagger UI is vendored in ``static/`` as its package has it; ``VENDORED.json`` says which
release, and the checksums. Files are asked for by their hash, so browsers keep them for good.
"""

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from litestar import MediaType, Request, Response, get
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath

from newsletter.kit.errors import NotFound
from newsletter.settings import Settings

_STATIC: Final = Path(__file__).parent / "static"
_TYPES: Final = {
    "swagger-ui.css": "text/css",
    "docs.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "docs.js": "text/javascript",
}
_ICON: Final = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'%3E"
    "%3Crect width='32' height='32' rx='8' fill='%232f5d50'/%3E"
    "%3Cpath d='M8 11h16v11H8zm0 0 8 7 8-7' fill='none' stroke='%23fff' stroke-width='2'/%3E%3C/svg%3E"
)
_PAGE: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Newsletter API</title>
<link rel="icon" href="{icon}">
<link rel="stylesheet" href="{swagger-ui.css}">
<link rel="stylesheet" href="{docs.css}">
</head>
<body>
<div id="docs"></div>
<noscript>This page needs JavaScript. The document is <a href="openapi.json">openapi.json</a>.</noscript>
<script src="{swagger-ui-bundle.js}"></script>
<script src="{docs.js}"></script>
</body>
</html>
"""


@dataclass(frozen=True, slots=True)
class Asset:
    """One file of the page, as it is and compressed."""

    content: bytes
    compressed: bytes
    media_type: str
    digest: str


@cache
def asset(name: str) -> Asset:
    """Raises `NotFound` for what the page has no use for."""
    if name not in _TYPES:
        raise NotFound("There is no such file.")
    content = (_STATIC / name).read_bytes()
    digest = hashlib.sha256(content).hexdigest()[:16]
    return Asset(content, gzip.compress(content, 6, mtime=0), _TYPES[name], digest)


@get("/api/docs", include_in_schema=False, sync_to_thread=True)
def docs(settings: NamedDependency[Settings]) -> Response[str]:
    page = _PAGE.replace("{icon}", escape(_ICON))
    for name in _TYPES:
        page = page.replace(f"{{{name}}}", f"docs/{asset(name).digest}/{name}")
    return Response(page, media_type=MediaType.HTML, headers={"Content-Security-Policy": _policy(settings)})


@get("/api/docs/{digest:str}/{name:str}", include_in_schema=False, sync_to_thread=True)
def static(
    request: Request[object, object, State], digest: FromPath[str], name: FromPath[str]
) -> Response[bytes]:
    found = asset(name)
    if digest != found.digest:
        # Of another release: kept for good under this name, it would be wrong for good.
        raise NotFound("There is no such file.")
    headers = {"Cache-Control": "public, max-age=31536000, immutable", "Vary": "Accept-Encoding"}
    content = found.content
    if "gzip" in request.headers.get("accept-encoding", ""):
        content, headers["Content-Encoding"] = found.compressed, "gzip"
    return Response(content, media_type=found.media_type, headers=headers)


def _policy(settings: Settings) -> str:
    """Calls go to this page's host, or to the public URL where that is another one."""
    parts = urlsplit(settings.public_url)
    return (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        f"font-src data:; connect-src 'self' {parts.scheme}://{parts.netloc}; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
