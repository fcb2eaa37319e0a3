"""The packaged templates: complete, well described, small, and nothing from other hosts."""

import re
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

import pytest

from newsletter.kit.resources import Resources
from newsletter.templates import lint
from newsletter.templates.branding import Branding
from newsletter.templates.starters import Starter, load
from tests.templates.samples import BRANDING, LINKS, Page, assert_harmless, compiled

STARTERS = load(Resources("email_templates"))
GMAIL_CLIPS_AT = 102_000
BODY = (
    "<h1>What is new</h1><p>Hello {{ first_name | default: 'there' }},</p>"
    + "<h2>A story</h2><p>Some sentences that tell it, and where to read on.</p>"
    '<img src="https://acme.example.com/picture.png" alt="A hill">'
    "<ul><li>one</li><li>two</li></ul>"
    '<p><a href="https://acme.example.com/more">Read on</a></p>' * 8
)

by_slug = pytest.mark.parametrize("starter", STARTERS, ids=lambda starter: starter.slug)


def test_there_are_enough_and_one_is_the_default() -> None:
    assert len(STARTERS) >= 6
    assert STARTERS[0].name == "Minimal Digest"
    assert [starter.slug for starter in STARTERS if starter.is_default] == ["minimal-digest"]
    assert "Company Announcement" in {starter.name for starter in STARTERS}
    assert len({starter.id for starter in STARTERS}) == len(STARTERS)


def test_an_id_never_changes() -> None:
    assert STARTERS[0].id == UUID("ba25ba34-0a6b-551e-81ea-063ecfb37a7d")


@by_slug
def test_it_is_described_and_has_no_problem(starter: Starter) -> None:
    assert starter.category
    assert starter.description.endswith(".")
    assert lint.check(starter.source, (), starter.defaults) == []
    assert "[%" not in starter.source


@by_slug
@pytest.mark.parametrize(
    "branding",
    [BRANDING, Branding(""), Branding("Acme", logo_url="https://acme.example.com/logo.png", locale="ar")],
    ids=["full", "empty", "right-to-left"],
)
def test_it_compiles_to_a_small_mail_that_loads_nothing_from_other_hosts(
    starter: Starter, branding: Branding
) -> None:
    mail = compiled(BODY, layout=starter.source, branding=branding, defaults=starter.defaults)
    assert mail.is_plain
    merged = mail.merge(LINKS)
    page = assert_harmless(merged.html)
    assert len(merged.html.encode()) < GMAIL_CLIPS_AT / 2
    assert page.text.count("Unsubscribe") + page.text.count("إلغاء الاشتراك") == 1
    assert "Hello there" in page.text
    assert "Hello there" in merged.text
    hosts = {urlsplit(image["src"]).hostname for image in page.all("img")}
    assert hosts <= {"acme.example.com"}
    loaded = re.findall(r"url\(|@import|<link|background=\"", merged.html)
    assert loaded == []
    assert all("alt" in image for image in page.all("img"))
    assert not re.search(r"\{\{|\{%|nl[0-9a-f]{12}x", merged.html + merged.text + merged.subject)


@by_slug
def test_it_has_a_design_for_dark_inboxes_and_for_phones(starter: Starter) -> None:
    html = compiled(BODY, layout=starter.source, defaults=starter.defaults).merge(LINKS).html
    assert '<meta name="color-scheme" content="light dark">' in html
    assert '<meta name="supported-color-schemes" content="light dark">' in html
    assert "prefers-color-scheme" in html
    assert "(max-width: 480px)" in html


@by_slug
def test_every_variable_is_used_and_may_be_empty_or_hostile(starter: Starter) -> None:
    for variable in starter.variables:
        assert variable.name in starter.source
        assert variable.description
    for value in ("", 'A <b> & "c"', "javascript:alert(1)"):
        values = dict.fromkeys(starter.defaults, value)
        html = compiled(BODY, layout=starter.source, defaults=values).merge(LINKS).html
        assert_harmless(html)


def test_button_text_can_be_read_on_a_light_colour() -> None:
    html = (
        compiled(BODY, layout=STARTERS[0].source, branding=Branding("A", primary_colour="#ffe66d"))
        .merge(LINKS)
        .html
    )
    buttons = [link for link in Page(html).all("a") if link.get("class") == "button"]
    assert buttons
    assert all("color:#111214" in button["style"] for button in buttons)


def test_an_operators_folder_stands_in_for_a_packaged_file(tmp_path: Path) -> None:
    (tmp_path / "components").mkdir()
    (tmp_path / "components" / "header.mjml").write_text("<!-- our header -->", encoding="utf-8")
    replaced = load(Resources("email_templates", tmp_path))
    assert "<!-- our header -->" in replaced[0].source
    assert replaced[0].id == STARTERS[0].id


def test_a_description_that_is_not_complete_is_named(tmp_path: Path) -> None:
    (tmp_path / "starters").mkdir()
    (tmp_path / "starters" / "promotion.toml").write_text('name = "X"', encoding="utf-8")
    with pytest.raises(ValueError, match=r"starters/promotion\.toml: 'category' is missing"):
        load(Resources("email_templates", tmp_path))
