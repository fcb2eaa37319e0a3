"""Mails that are made to hurt: nothing raises, nothing runs away."""

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from newsletter.feedback.reports import Kind, Report, read
from newsletter.feedback.reports.opened import MAX_FIELD, MAX_FIELDS, MAX_PARTS, open_mail
from tests.feedback.reports import samples

HEAD = (
    b"From: MAILER-DAEMON@mx.example.net\r\nReturn-Path: <>\r\nSubject: failure notice\r\n\r\nnot delivered "
)
PIECES = [
    b"user ",
    b"550 ",
    b"mailbox is ",
    b"the host does not ",
    b"x",
    b"a@a ",
    b"from ",
    b"\n",
    b"-",
    b"original ",
    b"speicher",
    b"nie mo ",
    "домен".encode(),
    "превы".encode(),
    "容量".encode(),
]


@pytest.mark.parametrize("piece", PIECES, ids=repr)
def test_no_text_makes_the_rules_run_away(piece: bytes) -> None:
    # Each of these took minutes with an unbounded repetition in one rule; now it is milliseconds.
    started = time.process_time()
    read(HEAD + piece * (200_000 // len(piece)))
    assert time.process_time() - started < 20


def _nested(depth: int) -> bytes:
    level = b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n"
    return b"".join(level % (n, n) for n in range(depth)) + b"Content-Type: text/plain\r\n\r\n"


@pytest.mark.parametrize(
    "raw",
    [
        b"Content-Type: text/plain; charset=punycode\r\n\r\n-" + b"aa" * 400_000,
        b"Content-Type: text/html\r\n\r\n<p>" + (b"<style></style>" + b"a" * 30) * 18_000,
        _nested(90) + b"\n" * 800_000,
    ],
    ids=["punycode", "styles", "lines"],
)
def test_no_form_of_a_mail_takes_longer_than_its_size_says(raw: bytes) -> None:
    # Much shorter ones took seconds, and their time grew faster than they did.
    started = time.process_time()
    read(raw)
    assert time.process_time() - started < 4


def test_what_styles_and_scripts_hold_is_not_the_mail_s_text() -> None:
    page = b"<head><title>t</title></head><p>one<style>x</style> two<script>y</script> three</p>"
    assert open_mail(b"Content-Type: text/html\r\n\r\n" + page).text.split() == ["one", "two", "three"]


def test_a_mail_of_20_megabytes_is_read_in_part() -> None:
    assert read(samples.dsn() + b"x" * 20_000_000).kind is Kind.hard


@pytest.mark.parametrize(
    "level",
    [
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n",
        b"Content-Type: Multipart/Mixed; boundary=b\r\n\r\n--b\r\n",
        b"Content-Type: message/rfc822\r\n\r\n",
    ],
)
def test_nesting_without_end_is_ordinary_mail(level: bytes) -> None:
    assert read(level * 5_000).kind is Kind.other


@pytest.mark.parametrize("charset", ["no-such-charset", "utf-7", "unicode_escape", "iso-2022-jp", "\x00"])
def test_broken_charsets_give_less_text_and_no_error(charset: str) -> None:
    raw = samples.dsn().replace(b"us-ascii", charset.encode()).replace(b"Your message", b"\xff\xfe\x1b$B")
    assert read(raw).kind is Kind.hard


def check(report: Report) -> None:
    """A kind, and texts that both databases keep."""
    assert report.kind in Kind
    for text in (report.reason, report.recipient, report.diagnostic, report.message_id, report.return_path):
        assert text is None or (text == text.encode().decode() and "\0" not in text)


@given(st.binary(max_size=3_000))
@settings(max_examples=200)
def test_no_octets_raise(raw: bytes) -> None:
    check(read(raw))


@pytest.mark.parametrize(
    "answer",
    [
        b"smtp; 550 no\0such user",
        b"smtp; 550 \xff\xfe user unknown",
        b"smtp; =?utf-7?q?550_+2AA-_no_such_user?=",
    ],
    ids=repr,
)
def test_what_no_database_keeps_is_left_out(answer: bytes) -> None:
    raw = samples.dsn(diagnostic="HERE").replace(b"HERE", answer)
    check(read(raw))
    assert read(raw).diagnostic


def test_what_is_longer_than_an_address_names_nobody() -> None:
    fits, too_long = f"{'a' * 64}@{'b' * 240}.test", f"{'a' * 1_000}@example.org"
    found = [
        read(samples.arf(f"abuse\nRemoval-Recipient: {each}").replace(b"Original-Rcpt-To", b"X-To")).recipient
        for each in (fits, too_long)
    ]
    assert found == [fits, None]


def test_a_field_that_python_would_not_write_is_read() -> None:
    # Found by fuzzing: to write a part back as text raised for a field with a line end inside.
    check(read(samples.arf("abuse").replace(b"\r\nUser-Agent", b"\x0bUser-Agent")))


@given(st.data())
@settings(max_examples=300)
def test_a_mail_with_holes_cuts_and_repeats_raises_nothing(data: st.DataObject) -> None:
    raw = data.draw(
        st.sampled_from([samples.dsn(), samples.arf("abuse"), samples.QMAIL, samples.EXIM, samples.SNS])
    )
    for _ in range(data.draw(st.integers(1, 6))):
        start, end = sorted(data.draw(st.tuples(st.integers(0, len(raw)), st.integers(0, len(raw)))))
        raw = (
            raw[:start]
            + data.draw(st.sampled_from([b"", raw[start:end] * 2, b"\xff\x00", b"=?utf-8?b?"]))
            + raw[end:]
        )
    check(read(raw))


def test_the_practice_set_is_told_apart() -> None:
    folder = Path(__file__).parents[3].parent / "shared" / "corpora" / "bounces"
    if not folder.is_dir():
        pytest.skip("the corpora are not at ../shared/corpora")
    from bench.bounces import accuracy

    figures = accuracy(folder)
    assert figures.by_kind >= 0.98
    assert figures.by_hardness >= 0.96
    assert figures.false_bounces == 0


def test_fields_and_parts_are_read_as_far_as_the_limits() -> None:
    opened = open_mail(
        b"Subject: " + b"a" * 100_000 + b"\r\n" + b"".join(b"X-%d: a\r\n" % n for n in range(5_000))
    )
    assert (len(opened.headers["subject"]), len(opened.headers)) == (MAX_FIELD, MAX_FIELDS)
    report = samples.dsn().replace(b"Action: failed", b"Action: failed\r\n\r\nAction: failed" * 1_000)
    assert 0 < len(open_mail(report).status_groups) <= MAX_PARTS
