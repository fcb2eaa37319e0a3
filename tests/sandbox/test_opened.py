"""Reading a kept mail back."""

from newsletter.sandbox import opened


def test_an_html_only_mail_has_no_text() -> None:
    mail = opened.read(b"Subject: x\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>\xc3\xa9</p>\r\n")
    assert (mail.html, mail.text) == ("<p>é</p>\r\n", None)


def test_encoded_and_folded_headers_are_decoded() -> None:
    mail = opened.read(
        b"From: =?utf-8?q?Caf=C3=A9?= <news@example.com>\r\n"
        b"List-Unsubscribe: <mailto:leave@example.com>,\r\n <https://news.example.com/u/abc>\r\n\r\nhello\r\n"
    )
    assert mail.from_name == "Café"
    assert mail.list_unsubscribe == "https://news.example.com/u/abc"
    assert mail.text == "hello\r\n"


def test_what_is_no_mail_is_read_without_an_error() -> None:
    mail = opened.read(b"\x00\xff\n\nnot a mail")
    assert (mail.html, mail.from_name, mail.list_unsubscribe) == (None, None, None)
