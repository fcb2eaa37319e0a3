"""The footer that the law asks for: always there, once, readable, whatever the template says."""

import re
from urllib.parse import urlsplit

import pytest

from newsletter.templates.branding import Branding, colours, contrast
from newsletter.templates.compile import TemplateInvalid
from newsletter.templates.merge import MergeTagInvalid
from tests.templates.samples import LAYOUT, LINKS, Page, assert_harmless, compiled

HOSTILE_HEADS = [
    "<mj-style>* { display: none !important }</mj-style>",
    "<mj-style>table, td, p, a, div { visibility: hidden !important; opacity: 0 !important }</mj-style>",
    "<mj-style>.nl-footer, .nl-footer * { display: none !important; color: #f3f4f6 !important }</mj-style>",
    "<mj-style>body { display: none !important; opacity: 0; max-height: 0; overflow: hidden }</mj-style>",
    "<mj-style>@media (min-width: 1px) { table.nl-footer { display: none !important } }</mj-style>",
    "<mj-style>html { font-size: 0 } a { font-size: 0 !important; color: #ffffff !important }</mj-style>",
    '<mj-style inline="inline">p { display: none; color: #ffffff }</mj-style>',
    '<mj-attributes><mj-all color="#f3f4f6" font-size="0px" /><mj-text color="#f3f4f6" /></mj-attributes>',
    '<mj-attributes><mj-class name="nl-footer" color="#ffffff" /></mj-attributes>',
    "<mj-preview>&lt;!--</mj-preview><mj-title>&lt;/title&gt;&lt;!--</mj-title>",
]
HOSTILE_BODIES = [
    "<mj-text>&lt;!--</mj-text>",
    "<mj-text>&lt;style&gt;*{display:none}&lt;/style&gt;</mj-text>",
    "<mj-text><div style='display:none'>a</div><!-- --></mj-text>",
    "<mj-text><div style='position:fixed;top:0;width:100%;height:100%;background:#fff'>a</div></mj-text>",
    "<mj-text><p style='margin:0 0 -9999px'>a</p></mj-text>",
    "<mj-text css-class='nl-footer'>fake footer</mj-text>",
    "<mj-text><a href='{{ unsubscribe_url }}'>my own</a></mj-text>",
    "<mj-button href='https://example.com' name='--&gt;&lt;/div&gt;&lt;!--'>x</mj-button>",
    "<mj-image src='https://example.com/x.png' alt='--&gt;&lt;!--' title='&quot;&gt;&lt;!--' />",
]
REFUSED_BODIES = [
    "<mj-text><!-- </mj-text>",
    "<mj-text><div></mj-text>",
    "<mj-text></div></div></body></html></mj-text>",
    "<mj-text><style>*{display:none}</style></mj-text>",
    "<mj-text><template></template></mj-text>",
    "<mj-text><textarea></textarea></mj-text>",
    "<mj-text><noscript></noscript></mj-text>",
    "<mj-text color='#fff;position:fixed;top:0;bottom:0'>a</mj-text>",
    "<mj-spacer height='10px;margin-bottom:-9999px' />",
    "<mj-text><![CDATA[</div><!--]]></mj-text>",
]


def assert_has_footer(html: str) -> None:
    page = assert_harmless(html)
    footers = [
        attributes
        for tag, attributes in page.elements
        if attributes.get("class") == "nl-footer" and tag == "table"
    ]
    assert len(footers) == 1
    # It is the last thing in the body, a child of it and of no element of the template.
    footer = html[html.index('<table class="nl-footer"') :]
    assert footer.endswith("</td></tr></tbody></table></body></html>")
    before = re.sub(
        r"<!--.*?-->", "", html[html.index("<body") : html.index('<table class="nl-footer"')], flags=re.DOTALL
    )
    assert before.count("<div") == before.count("</div>")
    assert before.count("<table") == before.count("</table>")
    assert "<!--" not in footer
    assert "display:none" not in footer
    links = Page(footer).links
    assert LINKS["unsubscribe_url"] in links
    assert LINKS["view_in_browser_url"] in links
    assert "1 Main Street, Springfield" in Page(footer).text
    assert "Acme & Sons" in Page(footer).text


def assert_scoped(html: str) -> None:
    """Every rule of the template begins at the template's own element."""
    for sheet in re.findall(r"<style[^>]*>(.*?)</style>", html, re.DOTALL):
        if "nl-layout" in sheet:
            for selectors in re.findall(r"([^{}@]+)\{[^{}]*\}", re.sub(r"@media[^{]*\{", "", sheet)):
                assert all(one.strip().startswith(".nl-layout") for one in selectors.split(",")), selectors


@pytest.mark.parametrize("head", HOSTILE_HEADS)
def test_no_head_hides_the_footer(head: str) -> None:
    layout = LAYOUT.replace("<mjml>", f"<mjml><mj-head>{head}</mj-head>")
    html = compiled("<p>x</p>", layout=layout).merge(LINKS).html
    assert_has_footer(html)
    assert_scoped(html)
    footer = html[html.index('<table class="nl-footer"') :]
    plain = compiled("<p>x</p>").merge(LINKS).html
    assert footer == plain[plain.index('<table class="nl-footer"') :]


@pytest.mark.parametrize("markup", HOSTILE_BODIES)
def test_no_body_hides_the_footer(markup: str) -> None:
    layout = LAYOUT.replace("</mj-text>\n", f"</mj-text>{markup}\n")
    html = compiled("<p>x</p>", layout=layout).merge(LINKS).html
    assert_has_footer(html)


@pytest.mark.parametrize("markup", REFUSED_BODIES)
def test_a_template_that_would_swallow_the_footer_does_not_compile(markup: str) -> None:
    with pytest.raises((TemplateInvalid, MergeTagInvalid)):
        compiled("<p>x</p>", layout=LAYOUT.replace("</mj-text>\n", f"</mj-text>{markup}\n"))


@pytest.mark.parametrize(
    "body",
    [
        "<!--",
        "<div><div><div>",
        "</div></td></tr></table></body></html>",
        "<style>*{display:none}</style><p>x",
        "<table><tr><td>",
        "<p style='display:none'>x</p><a href='#'>",
        "<plaintext>",
        "<xmp>",
        "<noembed>",
        "<textarea>",
        "<title>",
        "<svg><style>",
        "<math><mi><!--",
        "<![CDATA[",
        "<?",
    ],
)
def test_no_copy_hides_the_footer(body: str) -> None:
    assert_has_footer(compiled(f"<p>x</p>{body}").merge(LINKS).html)


def test_the_plain_text_part_has_it_too() -> None:
    text = compiled("<p>x</p>").merge(LINKS).text
    assert text.endswith(
        "\n\n-- \nAcme & Sons\n1 Main Street\nSpringfield\n\n"
        "Photos: https://photos.example.com/acme?a=1&b=2\n\n"
        "You receive this because you subscribed to Acme & Sons.\n"
        f"Unsubscribe: {LINKS['unsubscribe_url']}\n"
        f"View in browser: {LINKS['view_in_browser_url']}\n"
    )


def test_it_speaks_the_projects_language() -> None:
    html = compiled("<p>x</p>", branding=Branding("Acme", locale="de-AT")).merge(LINKS).html
    assert ">Abmelden</a>" in html


def test_social_links_are_words_without_pictures_of_other_hosts_and_bad_ones_are_left_out() -> None:
    social = {
        "X": "javascript:alert(1)",
        "Y": 'https://y.example.com/"onclick=',
        "": "https://z.example.com",
        "Z": "https://z.example.com",
    }
    page = Page(compiled("<p>x</p>", branding=Branding("Acme", social_links=social)).merge(LINKS).html)
    assert page.all("img") == []
    assert [urlsplit(link).hostname for link in page.links] == [
        "z.example.com",
        "news.example.com",
        "news.example.com",
    ]


def test_a_projects_own_words_stay_words() -> None:
    branding = Branding(
        "<b>{{first_name}}",
        postal_address="<script>\n{% if x %}",
        social_links={"<i>": "https://a.example.com"},
    )
    merged = compiled("<p>{{ brand_name }}</p>", branding=branding).merge(LINKS)
    assert_harmless(merged.html)
    for text in (merged.html, merged.text):
        assert "{{" not in text
        assert "{%" not in text
    assert "&lt;b&gt;first_name" in merged.html


@pytest.mark.parametrize(
    "primary", ["#ffffff", "#000000", "#ffc53d", "#2f5bea", "#7f7f7f", "#fff", "red", "", "#12345"]
)
@pytest.mark.parametrize("page", ["#ffffff", "#000000", "#808080", "#f6f5f1"])
def test_words_can_be_read_whatever_the_projects_colours_are(primary: str, page: str) -> None:
    palette = colours(Branding("A", primary_colour=primary, background_colour=page, text_colour=primary))

    def ratio(ink: str, ground: str) -> float:
        one, other = (
            tuple(int(palette[name][at : at + 2], 16) for at in (1, 3, 5)) for name in (ink, ground)
        )
        return contrast(one, other)  # type: ignore[arg-type]

    for ink, ground in [
        ("on_primary_colour", "primary_colour"),
        ("on_dark_primary_colour", "dark_primary_colour"),
        ("link_colour", "surface_colour"),
        ("text_colour", "surface_colour"),
        ("muted_colour", "background_colour"),
        ("dark_text_colour", "dark_surface_colour"),
        ("dark_muted_colour", "dark_surface_colour"),
        ("dark_link_colour", "dark_surface_colour"),
    ]:
        assert ratio(ink, ground) >= 4.5, (ink, ground, palette)
