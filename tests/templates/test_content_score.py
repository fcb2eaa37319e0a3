"""The content score: what each check finds, what it lets pass, and the call."""

import pytest

from newsletter.settings import Settings
from newsletter.templates.content_score import score
from tests.client import Client

WORDS = "<p>" + "Words that say what the picture shows, for who does not see it. " * 5 + "</p>"


def checks(
    html: str = WORDS, subject: str = "Three things that changed", files: tuple[str, ...] = ()
) -> list[str]:
    return [each.check for each in score(subject, html, None, files).findings]


def test_a_mail_without_a_finding_has_a_hundred_points() -> None:
    fine = (
        WORDS + '<a href="https://www.example.com/a">example.com/a</a> <img src="a.png" alt="">'
        '<a href="https://links.example.com/x">www.example.com</a> <a href="https://nodejs.example.org">Node.js</a>'
        '<a href="mailto:a@example.com">example.org</a> <a href="{{ unsubscribe_url }}">example.org</a>'
        "<section><p>NASA, UNESCO<br>and the WHO</section>"
    )
    assert score("Re-opening on Monday!", fine, None, ("notes.pdf",)).findings == ()
    page = f"<!DOCTYPE html>\n<html lang='en'><head><title>x</title></head><body>{fine}</body></html>"
    assert score("Hello", page, None, ()).findings == ()
    assert score("Hello", None, "Only text.", ()).score == 100
    assert score("Hello", " <!-- nothing --> ", None, ()).score == 100


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        ("x" * 61, ["subject_long"]),
        ("HUGE SALE TODAY", ["subject_capitals"]),
        ("Now!!", ["subject_marks"]),
        ("Fwd: your order", ["subject_reply"]),
        ("RE: LAST CHANCE!!!", ["subject_capitals", "subject_reply", "subject_marks"]),
    ],
)
def test_what_a_subject_is_marked_down_for(subject: str, expected: list[str]) -> None:
    assert checks(subject=subject) == expected


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ('<a href="https://evil.example.org/">www.example.com</a>', "link_mismatch"),
        ('<a href="https://example.com.evil.example.org/">https://example.com/login</a>', "link_mismatch"),
        ('<a href="https://evil.example.org/"><b>bank</b>.com</a>', "link_mismatch"),
        ('<a href="https://bit.ly/x">Read</a>', "link_shortened"),
        ('<a href="https://192.0.2.1/x">Read</a>', "link_numeric"),
        ('<a href="https://[2001:db8::1]/x">Read</a>', "link_numeric"),
        ('<a href="http://example.com/x">Read</a>', "link_insecure"),
        ('<img src="a.png">', "alt_missing"),
        ("<form><input></form>", "markup_taken_out"),
        ("<table><tr><td>a</div></td></tr></table>", "markup_broken"),
        ("<p>" + "LOUD WORDS " * 60 + "</p>", "text_capitals"),
        (f"<p>{'é' * 51_001}</p>", "size_clipped"),
    ],
)
def test_what_html_is_marked_down_for(html: str, expected: str) -> None:
    assert checks(WORDS + html) == [expected]


def test_a_picture_is_no_text() -> None:
    assert checks('<style>p { color: red }</style><img src="a.png" alt="All of it">') == ["pictures_alone"]
    assert checks("<p>Hello</p>") == []


def test_files_that_others_refuse() -> None:
    assert checks(files=("invoice.pdf", "Setup.EXE")) == ["attachment_refused"]


def test_points_add_up_and_end_at_nothing() -> None:
    links = "".join(f'<a href="http://{host}">example.com</a>' for host in ("bit.ly", "192.0.2.1"))
    found = score("RE: LAST CHANCE!!!", f"{links}<script>x</script>" + "<img src=a>" * 9, None, ("a.js",))
    assert found.score == 0
    assert [each.points for each in found.findings] == sorted(
        (each.points for each in found.findings), reverse=True
    )
    assert next(each for each in found.findings if each.check == "alt_missing").points == 8


async def test_the_call_gives_reasons_and_advice(client: Client) -> None:
    mail = {"subject": "Hello", "html": WORDS + '<a href="https://bit.ly/x">Read</a>'}
    found = await client.data("POST", "/content-score", json=mail)
    assert found["score"] == 85
    [finding] = found["findings"]
    assert (finding["check"], finding["points"], finding["examples"]) == (
        "link_shortened",
        15,
        ["https://bit.ly/x"],
    )
    assert finding["reason"]
    assert finding["advice"]
    assert await client.data("POST", "/content-score", json=mail) == found


async def test_what_cannot_be_scored(client: Client, settings: Settings) -> None:
    attributes = "<p " + " ".join(f"a{number}" for number in range(5_000)) + ">"
    elements = "<b>" * (settings.limits.html_elements + 1)
    for body in (
        {},
        {"html": attributes},
        {"html": elements},
        {"html": "x" * (settings.limits.html_bytes + 1)},
    ):
        error = await client.expect_error(
            "POST", "/content-score", 422, "validation_failed", json={"subject": "Hello"} | body
        )
        assert set(error["errors"]) == {"html"}


def test_of_what_a_link_shows_the_beginning_is_read() -> None:
    """Unclosed links hold each other: read to their ends they took a time that grows with the square."""
    shown = "https://bank.example.com/" + "a" * 2_000 + " and so on"
    found = score("Hello", f'<p>{"word " * 40}<a href="https://example.org">{shown}</a></p>', None, [])
    assert [each.check for each in found.findings] == ["link_mismatch"]
