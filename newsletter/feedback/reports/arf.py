"""Complaints: the Abuse Reporting Format (RFC 5965) and what comes instead of it."""

import json
import re

from newsletter.feedback.reports import causes, phrases
from newsletter.feedback.reports.opened import Fields, Opened, is_answer, is_null, sender, submitted
from newsletter.feedback.reports.report import Asks, Kind, Report

_ABUSE, _OPT_OUT = "the reader called the mail spam", "the reader asked to get no more mail"
_TYPES = {
    "abuse": (_ABUSE, Asks.no_more_mail),
    "fraud": ("the reader called the mail a fraud", Asks.no_more_mail),
    "virus": ("the reader's system found a virus in the mail", Asks.no_more_mail),
    "miscategorized": ("the reader complained about the mail", Asks.no_more_mail),
    "other": ("the reader complained about the mail", Asks.no_more_mail),
    "opt-out": (_OPT_OUT, Asks.unsubscribe),
    "opt-out-list": (_OPT_OUT, Asks.unsubscribe),
    "auth-failure": ("the mail's authentication failed there; no reader complained", Asks.attention),
    "dkim": ("the mail's authentication failed there; no reader complained", Asks.attention),
}
"""The registered feedback types (RFC 5965 §7.3, RFC 6591), and those of the drafts before them, which are
still sent. ``not-spam`` (RFC 6430) is the one that objects to nothing."""
_SUBJECT = re.compile(r"^complaint about message from \d|^\[SpamCop \(", re.IGNORECASE)
"""Of services that send the message, and no report."""
_REPORTED = phrases.notices("complained")


def read(opened: Opened) -> Report | None:
    """None where it is no complaint and no report about one."""
    if opened.feedback is not None:
        return _of_report(opened.feedback)
    if _SUBJECT.match(opened.headers.get("subject", "")):
        # Microsoft's Junk Mail Reporting Program names the reader in a header.
        recipient = opened.returned.get("x-hmxmroriginalrecipient") or None
        return Report(Kind.complaint, _ABUSE, recipient=recipient)
    if _is_told_in_words(opened):
        return Report(Kind.complaint, _ABUSE)
    return _opt_out(opened) or _of_notification(opened.text)


def _is_told_in_words(opened: Opened) -> bool:
    """A machine that returns the mail and says that a reader called it spam. A server that refuses a mail
    may call it that, too, but speaks of no reader."""
    is_machine = is_null(opened) or submitted(opened).startswith("auto-")
    return (
        is_machine
        and bool(opened.returned)
        and not is_answer(opened)
        and _REPORTED.are_in(" ".join(opened.text.split()))
    )


def _of_report(fields: Fields) -> Report:
    kind = fields.get("feedback-type", "abuse").strip().lower()
    recipient = fields.get("original-rcpt-to") or fields.get("removal-recipient")
    recipient = recipient.strip("<> ") or None if recipient else None
    if kind in _TYPES:
        reason, asks = _TYPES[kind]
        return Report(Kind.complaint, reason, recipient=recipient, asks=asks)
    return Report(Kind.other, f"a feedback report of the type {kind[:50]}", recipient=recipient)


def _opt_out(opened: Opened) -> Report | None:
    """The mailbox's own button, which writes to a List-Unsubscribe address (RFC 2369)."""
    headers = opened.headers
    is_automatic = submitted(opened).startswith("auto-")
    if is_automatic and headers.get("subject", "").strip().lower() == "unsubscribe":
        return Report(Kind.complaint, _OPT_OUT, recipient=sender(opened), asks=Asks.unsubscribe)
    return None


def _of_notification(text: str) -> Report | None:
    """Amazon SES by way of SNS, subscribed by mail: the notification as JSON in the text."""
    if "notificationType" not in text[:5000]:
        return None
    # Mail programs break the long lines; JSON has none inside of a string.
    told = _object(text.replace("\n ", " ").replace("\n", ""))
    if told is not None and isinstance(told.get("Message"), str):
        told = _object(str(told["Message"]))
    return _of_json(told) if told is not None else None


def _object(text: str) -> dict[str, object] | None:
    start = text.find("{")
    try:
        told, _ = json.JSONDecoder(strict=False).raw_decode(text, max(start, 0))
    except (ValueError, RecursionError):
        return None
    return told if isinstance(told, dict) else None


def _of_json(told: dict[str, object]) -> Report | None:
    kind = str(told.get("notificationType", "")).lower()
    if kind == "complaint":
        complaint = told["complaint"] if isinstance(told.get("complaint"), dict) else {}
        feedback_type = complaint.get("complaintFeedbackType") if isinstance(complaint, dict) else None
        address = _first(told, "complaint").get("emailAddress", "")
        return _of_report({"feedback-type": str(feedback_type or "abuse"), "original-rcpt-to": address})
    if kind != "bounce":
        return Report(Kind.other, f"a notification of the type {kind[:50]}")
    first = _first(told, "bounce")
    verdict = causes.judge(first.get("diagnosticCode", ""), first.get("status"))
    return Report(
        Kind.hard if verdict.is_hard else Kind.soft,
        verdict.cause.value,
        verdict.status,
        first.get("emailAddress"),
        verdict.cause,
        first.get("diagnosticCode", "")[:500] or None,
    )


def _first(told: dict[str, object], kind: str) -> Fields:
    """The first recipient that the notification names."""
    inside = told.get(kind)
    people = (
        inside.get("bouncedRecipients" if kind == "bounce" else "complainedRecipients")
        if isinstance(inside, dict)
        else None
    )
    first = people[0] if isinstance(people, list) and people and isinstance(people[0], dict) else {}
    return {str(name): str(value) for name, value in first.items() if value is not None}
