"""Pages for people: one frame, one style sheet, and headers that let nothing foreign in.

A slice keeps its pages in a folder ``pages/`` beside its code; they extend ``frame.html``.
The style sheet is written into each page: a page is one request, needs no route for files,
and the policy allows that one style by its hash. There is no script anywhere.
"""

import hashlib
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

_HERE = Path(__file__).parent
_STYLE = (_HERE / "pages.css").read_text(encoding="utf-8")
_STYLE_HASH = b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; img-src data:; frame-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    # Links of mails are secrets: no search engine keeps them, no other site is told.
    "X-Robots-Tag": "noindex, nofollow",
    "Referrer-Policy": "no-referrer",
}
"""Every answer with a page carries these."""

FOREIGN_HEADERS: Final[Mapping[str, str]] = {
    **HEADERS,
    "Content-Security-Policy": (
        # An origin of its own, no scripts, no forms; its links open beside it, as in a mail program.
        "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; "
        "img-src https: http: data:; style-src 'unsafe-inline'; font-src https: data:; "
        "form-action 'none'; base-uri 'none'; frame-ancestors 'self'"
    ),
}
"""For HTML that somebody else wrote, such as a mail: its look works, nothing in it runs."""


class Pages:
    """The pages of one slice. Values are escaped; a value that a page lacks is an error."""

    def __init__(self, folder: Path | None = None) -> None:
        folders = [folder, _HERE] if folder else [_HERE]
        self._environment = Environment(
            loader=FileSystemLoader(folders),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals["style"] = _STYLE

    def render(self, name: str, **values: object) -> str:
        return self._environment.get_template(name).render(values)

    def notice(self, heading: str, *paragraphs: str, note: str | None = None) -> str:
        """A page that only says something; ``note`` is the small print."""
        return self.render("notice.html", heading=heading, paragraphs=paragraphs, note=note)
