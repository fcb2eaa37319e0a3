"""A mail that was compiled lately is not compiled again, and what differs in anything is another mail."""

from dataclasses import replace
from typing import Any

import pytest

from newsletter.templates import remembered
from newsletter.templates.branding import Branding
from newsletter.templates.compile import Compiled, Content, TemplateInvalid, compile_content
from newsletter.templates.remembered import LARGEST, MOST, Remembered
from tests.client import Client

LAYOUT = (
    "<mjml><mj-body><mj-section><mj-column><mj-text>{{ content }}</mj-text>"
    "</mj-column></mj-section></mj-body></mjml>"
)
CONTENT = Content(
    "Hello {{ name }}", "", "<p>Dear {{ name }}</p>", LAYOUT, Branding("Acme"), frozenset({"name"})
)


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[Content]:
    """What was really compiled."""
    made: list[Content] = []

    def watched(content: Content) -> Compiled:
        made.append(content)
        return compile_content(content)

    monkeypatch.setattr(remembered, "compile_content", watched)
    return made


def test_the_same_mail_is_compiled_once_and_says_the_same(compiled: list[Content]) -> None:
    lately = Remembered()
    first, again = lately.compiled(CONTENT), lately.compiled(replace(CONTENT))
    assert first == again == compile_content(CONTENT)
    assert len(compiled) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"subject": "Good day {{ name }}"},
        {"preheader": "Soon"},
        {"body": "<p>Dear reader</p>"},
        {"layout": LAYOUT.replace("<mj-text>", '<mj-text color="#123456">')},
        {"branding": Branding("Other")},
        {"branding": Branding("Acme", social_links={"Fediverse": "https://social.example.com"})},
        {"fields": frozenset({"name", "city"})},
        {"defaults": {"name": "reader"}},
        {"has_footer": False},
    ],
)
def test_what_differs_in_anything_is_compiled_anew(compiled: list[Content], change: dict[str, Any]) -> None:
    lately = Remembered()
    other = replace(CONTENT, **change)
    lately.compiled(CONTENT)
    assert lately.compiled(other) == compile_content(other)
    assert compiled == [CONTENT, other]


def test_what_cannot_be_compiled_says_so_each_time(compiled: list[Content]) -> None:
    lately = Remembered()
    for _ in range(2):
        with pytest.raises(TemplateInvalid):
            lately.compiled(replace(CONTENT, layout="<mjml>"))
    assert len(compiled) == 2


def test_only_so_many_are_kept_and_no_large_ones(
    compiled: list[Content], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remembered, "MOST", 2)
    lately = Remembered()
    for subject in ("first", "second", "first", "third", "second", "third"):
        lately.compiled(replace(CONTENT, subject=subject))
    assert [content.subject for content in compiled] == ["first", "second", "third", "second"]
    large = replace(CONTENT, body="x" * LARGEST)
    for _ in range(2):
        lately.compiled(large)
    assert compiled[4:] == [large, large]
    assert MOST > 2


async def test_calls_with_a_template_share_it_until_it_is_changed(
    client: Client, compiled: list[Content]
) -> None:
    template = await client.data("POST", "/templates", 201, json={"name": "Own", "mjml": LAYOUT})
    body = {
        "to": "ada@example.com",
        "subject": "Order {{ number }}",
        "html": "<p>Order {{ number }} is on its way.</p>",
        "template_id": template["id"],
    }
    for number in range(3):
        await client.data("POST", "/send", 202, json=body | {"variables": {"number": number}})
    assert len(compiled) == 1
    changed = LAYOUT.replace("<mj-text>", '<mj-text color="#123456">')
    await client.data("PATCH", f"/templates/{template['id']}", json={"mjml": changed})
    await client.data("POST", "/send", 202, json=body | {"variables": {"number": 3}})
    assert "#123456" in compiled[-1].layout
