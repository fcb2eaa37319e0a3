"""A mail taken apart: what it was made of comes out of it, to the letter."""

from email.message import EmailMessage
from email.policy import SMTP
from string import printable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from newsletter.delivery.headers import clean
from newsletter.providers.base import Permanent
from newsletter.providers.structured import Mailbox, Structured, take_apart
from tests.providers.mails import HTML, MESSAGE_ID, TEXT, UNSUBSCRIBE, content, envelope

TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), max_size=120)


@given(subject=TEXTS, name=TEXTS, to_name=TEXTS, extra=st.text(printable[:95], max_size=200), body=TEXTS)
@example(subject="a  b", name='"', to_name="\\", extra="x", body="")
@example(subject="=?utf-8?q?no?=", name="Grüße, Zoë", to_name="東京 " * 30, extra=" ", body="ü" * 50)
@example(
    subject="a b " * 40, name="<x@example.org>", to_name="a, b: c;", extra="=?utf-8?b?AA==?=", body="=\n."
)
def test_a_mail_that_we_wrote_is_taken_apart_into_what_it_was_made_of(
    subject: str, name: str, to_name: str, extra: str, body: str
) -> None:
    mail = take_apart(
        envelope(
            content=content(
                subject=subject,
                from_name=name,
                to_name=to_name,
                headers=(("X-Extra", extra),),
                html=f"<p>{body}</p>",
                text=body,
            )
        )
    )
    assert mail == Structured(
        sender=Mailbox("news@news.example.com", clean(name)),
        recipient=Mailbox("zoe@example.com", clean(to_name)),
        reply_to=(Mailbox("help@example.com"),),
        subject=clean(subject),
        html=f"<p>{body}</p>".replace("\n", "\r\n"),
        text=body.replace("\n", "\r\n"),
        message_id=f"<{MESSAGE_ID}@news.example.com>",
        headers=(
            ("List-Id", "The list <lst-1.news.example.com>"),
            ("List-Unsubscribe", f"<{UNSUBSCRIBE}>"),
            ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
            ("Feedback-ID", "c1:p1:campaign:acme"),
            ("X-Extra", clean(extra)),
        ),
        attachments=(),
    )


def test_attachments_and_pictures_inside_the_html_go_along() -> None:
    message = EmailMessage(policy=SMTP)
    message["From"], message["To"] = "news@example.com", "zoe@example.com"
    message["Subject"] = "With files"
    message.set_content("text")
    message.add_alternative('<img src="cid:logo@example.com">', subtype="html")
    html = message.get_payload()[1]  # type: ignore[index]
    assert isinstance(html, EmailMessage)
    html.add_related(b"\x89PNG", "image", "png", cid="<logo@example.com>", filename="logo.png")
    message.add_attachment("a,b\n1,2\n", subtype="csv", filename="Grüße.csv")
    message.add_attachment("not the body", filename="note.txt")
    mail = take_apart(envelope(content=message.as_bytes()))
    assert (mail.text, mail.html) == ("text\r\n", '<img src="cid:logo@example.com">\r\n')
    logo, table, note = mail.attachments
    assert (logo.name, logo.media_type, logo.content, logo.content_id) == (
        *("logo.png", "image/png", b"\x89PNG", "logo@example.com"),
    )
    assert (table.name, table.media_type, table.content_id) == ("Grüße.csv", "text/csv", None)
    assert (note.name, note.content) == ("note.txt", b"not the body\r\n")


def test_the_envelope_decides_who_gets_it() -> None:
    """A copy has another address in its To field, which must not get the mail twice."""
    mail = take_apart(envelope("copy@example.org", content=content("zoe@example.com")))
    assert mail.recipient == Mailbox("copy@example.org")
    assert take_apart(envelope("ZOE@example.com", content=content("zoe@example.com"))).recipient.name == "Zoë"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"Subject: no sender\r\n\r\nHello\r\n",
        b"From: news@example.com\r\nContent-Type: image/png\r\n\r\nx\r\n",
        b"From: nobody\r\n\r\nHello\r\n",
    ],
)
def test_what_cannot_be_said_in_fields_is_refused(raw: bytes) -> None:
    with pytest.raises(Permanent):
        take_apart(envelope(content=raw))


@pytest.mark.parametrize(
    ("box", "text"),
    [
        (Mailbox("a@example.com"), "a@example.com"),
        (Mailbox("a@example.com", "Ann"), '"Ann" <a@example.com>'),
        (Mailbox("a@example.com", 'A "B" \\C'), '"A \\"B\\" \\\\C" <a@example.com>'),
    ],
)
def test_a_name_is_quoted_where_an_api_takes_one_string(box: Mailbox, text: str) -> None:
    assert str(box) == text


def test_a_mail_in_a_charset_that_nobody_knows_is_still_read() -> None:
    raw = content().replace(b"charset=utf-8", b"charset=x-klingon")
    mail = take_apart(envelope(content=raw))
    assert (mail.html, mail.text) == (HTML, TEXT.replace("\n", "\r\n"))
    raw = content().replace(b"Subject: ", b"Subject: =?x-klingon?q?a?= ")
    assert take_apart(envelope(content=raw)).subject.startswith("=?x-klingon?q?a?=")
