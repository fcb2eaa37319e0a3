"""A layout, a project's look and a shorthand for compiling, shared by these tests."""

from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path

import pytest

from newsletter.templates import expressions, merge
from newsletter.templates.branding import Branding
from newsletter.templates.compile import Compiled, Content, compile_content

LAYOUT = """<mjml>
  <mj-body background-color="{{ background_colour }}">
    <mj-section>
      <mj-column>
        <mj-text css-class="content">{{ content }}</mj-text>
      </mj-column>
    </mj-section>
  </mj-body>
</mjml>
"""
BRANDING = Branding(
    "Acme & Sons",
    "https://acme.example.com",
    postal_address="1 Main Street\nSpringfield",
    social_links={"Photos": "https://photos.example.com/acme?a=1&b=2"},
)
LINKS = {
    "unsubscribe_url": "https://news.example.com/u/token?a=1&b=2",
    "view_in_browser_url": "https://news.example.com/v/token",
}
CORPORA = Path(__file__).resolve().parents[3] / "shared" / "corpora"


def corpus(name: str) -> str:
    path = CORPORA / name
    if not path.is_file():
        pytest.skip(f"the corpus {path} is not on this machine")
    return path.read_text(encoding="utf-8")


def compiled(
    body: str = "<p>Hello</p>",
    *,
    subject: str = "News",
    preheader: str = "",
    layout: str = LAYOUT,
    branding: Branding = BRANDING,
    fields: frozenset[str] = frozenset(),
    defaults: Mapping[str, str] | None = None,
) -> Compiled:
    return compile_content(Content(subject, preheader, body, layout, branding, fields, defaults or {}))


def html_of(body: str, values: Mapping[str, str] | None = None, **options: object) -> str:
    return compiled(body, **options).merge({**LINKS, **(values or {})}).html  # type: ignore[arg-type]


def names_used(text: str) -> set[str]:
    """The fields that the merge tags of a text read."""
    tags = (piece for piece in merge.split(text) if isinstance(piece, merge.Tag))
    return {name for tag in tags for name in expressions.names(tag.expression)}


class Page(HTMLParser):
    """What a reader's program sees: elements, attributes and text, read by another parser than ours."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def links(self) -> list[str]:
        return [attributes["href"] for attributes in self.all("a") if "href" in attributes]


RUNNING = {"script", "iframe", "object", "embed", "form", "base", "svg", "math", "link", "button", "input"}


def assert_harmless(html: str) -> Page:
    """Nothing that runs, loads a page or sends a form."""
    page = Page(html)
    for tag, attributes in page.elements:
        assert tag not in RUNNING, tag
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in ("href", "src", "action", "background", "formaction", "xlink:href", "srcdoc"):
                scheme = "".join(value.split()).lower().split(":")[0] if ":" in value else ""
                assert scheme in ("", "http", "https", "mailto", "tel"), value
            if name == "style":
                assert "expression" not in value.lower(), value
                assert "url(" not in value.lower(), value
    return page
