"""One mail in, one report out."""

from dataclasses import replace

from newsletter.feedback.reports import arf, dsn, notices, replies
from newsletter.feedback.reports.opened import Opened, open_mail
from newsletter.feedback.reports.report import Kind, Report

MAX_BYTES = 1_000_000
"""Of a mail, this much is read. A report says what it has to say before it returns the mail."""
MAX_LINES = 50_000
"""Of these, too: the parser asks of each line whether it ends one of the parts that it is in, so each
100,000 empty lines in 90 nested parts took 1.5 s."""
MAX_NESTING = 100
"""Mentions of parts that hold parts; the parser goes as deep as these lead it."""
MAX_ADDRESS = 320
"""Characters of an address (RFC 5321 §4.5.3.1); what is longer names nobody."""


def read(raw: bytes) -> Report:
    """What the mail is. Never raises, whatever ``raw`` holds; reads `MAX_BYTES` of it."""
    opened = taken_apart(raw)
    if opened is None:
        return Report(Kind.other, "the mail is nested without end")
    report = _read(opened)
    return replace(
        report,
        reason=_storable(report.reason),
        recipient=_address(report.recipient),
        diagnostic=report.diagnostic and _storable(report.diagnostic),
        message_id=_storable(opened.returned.get("message-id", "")) or None,
        return_path=_storable(opened.returned.get("return-path", "")) or None,
    )


def _address(found: str | None) -> str | None:
    return _storable(found) if found is not None and len(found) <= MAX_ADDRESS else None


def _storable(text: str) -> str:
    """Without what no database keeps: NUL, and halves of surrogate pairs, which a charset may hide."""
    return text.replace("\0", "").encode(errors="replace").decode()


def taken_apart(raw: bytes) -> Opened | None:
    """None for a mail that is nested without end. Never raises; reads `MAX_BYTES` and `MAX_LINES`."""
    raw = raw[:MAX_BYTES]
    if raw.count(b"\n") + raw.count(b"\r") > MAX_LINES:  # The parser takes either for the end of a line.
        raw = b"".join(raw.splitlines(keepends=True)[:MAX_LINES])
    lowered = raw.lower()
    is_endless = lowered.count(b"multipart/") + lowered.count(b"message/rfc822") > MAX_NESTING
    return None if is_endless else open_mail(raw)


def _read(opened: Opened) -> Report:
    # A complaint may quote a bounce, and a bounce is marked as an automatic reply by some servers
    # (Exim): so the forms that say what they are go first.
    report = arf.read(opened) or dsn.read(opened)
    if report is None:
        notice = notices.read(opened)
        reply = replies.read(opened)
        report = _of_two(opened, notice, reply)
    return report or Report(Kind.other, "ordinary mail")


def _of_two(opened: Opened, notice: Report | None, reply: Report | None) -> Report | None:
    """A null return path and a failed delivery in its text make no bounce of a person's reply."""
    if notice is None or reply is None:
        return notice or reply
    return notice if notices.is_signed_by_a_system(opened) else reply
