"""The CSS of templates: what it may say, and that it stays inside the template."""

import pytest

from newsletter.templates.styles import StyleInvalid, clean_inline, scope


@pytest.mark.parametrize(
    ("css", "scoped"),
    [
        (".a{color:red}", ".nl-layout .a{color:red}\n"),
        ("a , p > b{color:red;;margin:0 !important;}",
         ".nl-layout a,.nl-layout p > b{color:red;margin:0 !important}\n"),
        ("*{color:red}", ".nl-layout *{color:red}\n"),
        ("body{color:red}", ".nl-layout{color:red}\n"),
        ("html body .a{color:red}", ".nl-layout .a{color:red}\n"),
        (":root.x > p{color:red}", ".nl-layout.x > p{color:red}\n"),
        ("body-x{color:red}", ".nl-layout body-x{color:red}\n"),
        ("[data-ogsc] .a{color:red}", "[data-ogsc] .nl-layout .a{color:red}\n"),
        ("/* } */ .a:hover{}", ".nl-layout .a:hover{}\n"),
        ("@media (max-width: 480px) { .a{display:none!important} }",
         "@media (max-width: 480px){.nl-layout .a{display:none!important}\n}\n"),
        ("", ""),
    ],
)  # fmt: skip
def test_rules_reach_the_template_alone(css: str, scoped: str) -> None:
    assert scope(css) == scoped


@pytest.mark.parametrize(
    "css",
    [
        "body ~ table{display:none}",
        "body + *{display:none}",
        "body.x~table{display:none}",
        "[data-ogsc] body ~ table{display:none}",
        "~ table{display:none}",
        "> table{display:none}",
        ".a:has(b){color:red}",
        ":is(table){color:red}",
        ":not(.a){color:red}",
        "a::before{color:red}",
        "\\62 ody{color:red}",
        "a{content:'x'}",
        "a{position:absolute}",
        "a{transform:scale(0)}",
        "a{margin:-1px}",
        "a{margin-top:calc(0px - 99px)}",
        "a{margin-top:0 -1px}",
        "a{background:url(https://x)}",
        "a{background:u\\72l(x)}",
        "a{color:expression(alert(1))}",
        "a{color:var(--x)}",
        "a{-moz-binding:x}",
        "@import 'https://x';",
        "@import url(x); a{color:red}",
        "@font-face{font-family:x}",
        "@media print{@media screen{a{color:red}}}",
        "@supports (x:y){a{color:red}}",
        "a{color:red",
        "a{color:red}}",
        "{color:red}",
        ",a{color:red}",
        "a{{color:red}}",
        "a{color:red}</style><script>",
        "a[x='}']{color:red}",
    ],
)
def test_what_could_reach_outside_load_or_hide_is_refused(css: str) -> None:
    with pytest.raises(StyleInvalid):
        scope(css)


@pytest.mark.parametrize(
    ("style", "cleaned"),
    [
        ("color:red; MARGIN : 0 auto", "color:red;margin:0 auto"),
        ("color:red;position:fixed;top:0", "color:red"),
        ("display:none", ""),
        ("display:block", "display:block"),
        ("letter-spacing:-0.5px", "letter-spacing:-0.5px"),
        ("margin:-5px;padding:0 -5px", ""),
        ("font-family:'A B',serif", "font-family:'A B',serif"),
        ("width:100px;behavior:url(x)", "width:100px"),
        ("color:re/**/d", ""),
        (";;;", ""),
    ],
)
def test_inline_styles_lose_what_is_not_allowed(style: str, cleaned: str) -> None:
    assert clean_inline(style) == cleaned


def test_an_endless_style_attribute_is_cut() -> None:
    assert clean_inline("color:red;" * 40_000).count("color") == 100
