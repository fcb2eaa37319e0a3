"""Delivery status notifications (RFC 3464), also those that came in another wrapping than RFC 6522's."""

import re

from newsletter.feedback.reports import causes, notices
from newsletter.feedback.reports.causes import Cause, Verdict
from newsletter.feedback.reports.opened import Fields, Opened, is_answer, returns_to_its_writer, sender
from newsletter.feedback.reports.report import Kind, Report

_ADDRESS = re.compile(r"[^\s<>\"';,:()\[\]@]{1,64}@[^\s<>\"';,:()\[\]@]{1,255}")
_IN_TEXT = re.compile(
    r"^[ \t>]*(?:Final-Recipient|Action|Diagnostic-Code|Status)[ \t]*:", re.IGNORECASE | re.MULTILINE
)
# Dovecot, and what filters by Sieve (RFC 5429): the reason is that of the mailbox itself.
_REJECTED = re.compile(r"was automatically rejected:\s*(?P<reason>.{1,500})", re.DOTALL)
# KDDI's gateways and others say first what they know, and quote a server that says less.
_FIRST = re.compile(r"^The user\(s\) account is .{1,60}$", re.MULTILINE)
_KNOWN_BETTER = (Cause.disabled, Cause.mailbox_full)
"""What such a writer says of a mailbox holds against a quoted "user unknown"."""
_NOT_FAILED = {"delivered", "relayed", "expanded"}
_OF_RECIPIENT = frozenset({"final-recipient", "original-recipient", "action", "diagnostic-code"})
"""The fields of RFC 3464 §2.3 by which a group is of a recipient; a ``status`` alone is no proof."""


def read(opened: Opened) -> Report | None:
    """None where it is no such report."""
    if _is_carried_along(opened):
        return None
    groups = [group for group in opened.status_groups if _is_of_recipient(group)]
    if not groups and notices.is_by_a_system(opened) and not notices.is_newsletter(opened):
        groups = _groups_in_text(opened.text)
    if not groups:
        return _of_receipt(opened) if opened.is_receipt else None
    reports = [_of_recipient(group, opened) for group in groups]
    # One line a mail: what must not be missed comes first.
    return min(reports, key=lambda report: list(Kind).index(report.kind))


def _is_carried_along(opened: Opened) -> bool:
    """A person who forwards a bounce may carry its parts along."""
    if opened.content_type == "multipart/report" or notices.is_by_a_system(opened):
        return False
    return returns_to_its_writer(opened) or is_answer(opened)


def _of_receipt(opened: Opened) -> Report:
    """RFC 8098. Who was shown the mail, or threw it away, has got it; a filter that refuses the mail for
    its owner may say so in this form (RFC 5429 §2.1.2)."""
    rejected = _REJECTED.search(opened.text)
    if rejected is None:
        return Report(Kind.other, "a receipt: the mail was shown or thrown away", recipient=sender(opened))
    told = causes.judge(rejected["reason"])
    cause = Cause.not_allowed if told.cause is Cause.unclear else told.cause
    return Report(
        Kind.soft, cause.value, told.status, sender(opened), cause, " ".join(rejected["reason"].split())
    )


def _is_of_recipient(group: Fields) -> bool:
    return bool(_OF_RECIPIENT & group.keys())


def _groups_in_text(text: str) -> list[Fields]:
    """The fields of a report that its writer put into the text."""
    if len(_IN_TEXT.findall(text)) < 2:
        return []
    fields: Fields = {}
    for line in text.splitlines():
        name, colon, value = line.strip().partition(":")
        if colon and name.lower() in _OF_RECIPIENT | {"status"}:
            fields.setdefault(name.lower(), value.strip())
    return [fields] if "status" in fields or "action" in fields else []


def _of_recipient(group: Fields, opened: Opened) -> Report:
    action = group.get("action", "failed").split(" ")[0].split(";")[0].lower()
    recipient = _address(group)
    status = next(iter(causes.statuses(group.get("status", ""))), None)
    if action in _NOT_FAILED or (status or "").startswith("2."):
        return Report(Kind.other, f"a report of success: {action}", status, recipient)
    diagnostic = _diagnostic(group)
    verdict = causes.judge(diagnostic, status, transcript=opened.text)
    if not diagnostic or verdict.cause in (Cause.unclear, Cause.system):
        # Where the diagnostic speaks of a fault, only words may say better, not the code beside it.
        beside = None if verdict.cause is Cause.system else status
        told = causes.judge(_words_about(recipient, opened.text), beside)
        if told.cause not in (Cause.unclear, Cause.system):
            verdict = told
    own = causes.judge(_own_words(opened.text)).cause
    if verdict.cause is Cause.no_mailbox and own in _KNOWN_BETTER:
        verdict = Verdict(own, verdict.status)
    is_hard = verdict.is_hard and not _is_delay(action, verdict.status)
    return Report(
        Kind.hard if is_hard else Kind.soft,
        verdict.cause.value,
        verdict.status or status,
        recipient,
        verdict.cause,
        diagnostic[:500] or None,
        is_final=action != "delayed",
    )


def _is_delay(action: str, status: str | None) -> bool:
    """RFC 3464 §2.3.3: a delayed message is still tried, whatever the server said so far."""
    return action == "delayed" and not (status or "").startswith("5")


def _diagnostic(group: Fields) -> str:
    """Without the type in front (``smtp;``, ``x-unix;``)."""
    text = group.get("diagnostic-code", "")
    return re.sub(r"^\s*[\w-]+\s*;\s*", "", text)


def _address(group: Fields) -> str | None:
    for name in ("final-recipient", "original-recipient", "x-actual-recipient"):
        found = _ADDRESS.search(group.get(name, "").partition(";")[2] or group.get(name, ""))
        if found:
            return found.group().strip("<>")
    return None


def _own_words(text: str) -> str:
    """What the writer says in a sentence of its own, in the forms that are known; else nothing."""
    rejected = _REJECTED.search(text)
    if rejected is not None:
        return rejected["reason"]
    first = _FIRST.search(text)
    return first.group() if first else ""


def _words_about(recipient: str | None, text: str) -> str:
    """What the human part says of this recipient: from its address on, else all of it."""
    place = text.lower().find(recipient.lower()) if recipient else -1
    return text[place:] if place >= 0 else text
