"""Bounces that are no DSN: what mail systems write to people instead, in words of their own.

Such a mail counts as a bounce only where its writer is a mail system *and* it says that a mail was
not delivered; a person who writes about bounces, and a newsletter about them, are neither.
"""

import re

from newsletter.feedback.reports import causes, phrases
from newsletter.feedback.reports.causes import Cause, Verdict
from newsletter.feedback.reports.opened import (
    Opened,
    is_answer,
    is_by_a_daemon,
    is_delivery_status,
    is_null,
    returns_to_its_writer,
    submitted,
)
from newsletter.feedback.reports.report import Kind, Report

_SYSTEM = phrases.notices("system")
_UNANSWERED = phrases.notices("unanswered")
_LIST_MANAGER = phrases.notices("list_manager")
_REFUSED_BY_LIST = phrases.notices("refused_by_list")
_SUBJECT = phrases.notices("subject")
_FAILED = phrases.notices("failed")
_DELAYED = phrases.notices("delayed")
_LURE = phrases.notices("lure")
_SUCCEEDED = phrases.notices("succeeded")
_REPLY_LINE = re.compile(
    r"(?:^|[\s:(\"'<])[45][0-5]\d[ -](?:- )?(?:#?[45]\.\d{1,3}\.\d{1,3}|[<A-Za-z])", re.MULTILINE
)
# … with an enhanced status code, which no street or price has.
_CODED = re.compile(r"\b[45][0-5]\d[ -](?:- )?#?[45]\.\d{1,3}\.\d{1,3}\b")
# What stands around an address and is no part of it; the later ones are of Chinese and Japanese.
_AROUND = r"\s<>\"';,:()\[\]@\uff1a\uff1b\uff0c\u3001\uff08\uff09"
_ADDRESS = re.compile(rf"[^{_AROUND}]{{1,64}}@[^{_AROUND}]{{1,255}}")
# Whom to ask for help, and who handed the mail in.
_BESIDE = re.compile(r"^post-?master@|@localhost$", re.IGNORECASE)
_OF_A_MAILBOX = causes.HARD | {Cause.mailbox_full, Cause.disabled}
# A recipient on a line of its own: how mail systems list whom they did not reach.
_LISTED = re.compile(r"^[ \t*>-]*<?[^\s<>\"';,:()\[\]@]{1,64}@[\w.-]{1,255}>?:?[ \t]*$", re.MULTILINE)


def read(opened: Opened) -> Report | None:
    """None where no mail system speaks, or it does not say that it failed to deliver."""
    if is_newsletter(opened):
        return None
    if not (is_by_a_system(opened) and _says_so(opened)) and not _is_by_a_list(opened):
        return None
    recipient = _recipient(opened)
    answer = _answer(opened.text)
    verdict = causes.judge(answer or opened.text, transcript=opened.text)
    if verdict.cause in (Cause.unclear, Cause.system, Cause.policy) and answer:
        verdict = causes.judge(opened.text)
    if answer and causes.is_unconfirmed(verdict, opened.text) and not _says_it_itself(opened.text):
        verdict = Verdict(Cause.not_allowed, verdict.status)
    is_final = not _DELAYED.are_in(_flat(opened.text))
    is_hard = verdict.is_hard and is_final
    cause = verdict.cause
    return Report(
        Kind.hard if is_hard else Kind.soft,
        cause.value if cause is not Cause.unclear else "it was not delivered; no cause was given",
        verdict.status,
        recipient,
        cause,
        answer,
        is_final=is_final,
    )


def is_newsletter(opened: Opened) -> bool:
    """Whatever it is about: no mail system offers to be left. A list that passes one's report on does."""
    return "list-unsubscribe" in opened.headers and not is_by_a_daemon(opened)


def is_signed_by_a_system(opened: Opened) -> bool:
    """Its writer calls itself a mail system; a null return path alone is what any machine uses."""
    headers = opened.headers
    return "x-failed-recipients" in headers or _SYSTEM.are_in(headers.get("from", ""))


def is_by_a_system(opened: Opened) -> bool:
    """A null return path is what every machine uses, also one that only tells of its own work (RFC 3834's
    ``auto-generated``): a job's output, a tracker of issues."""
    headers = opened.headers
    path = headers.get("return-path", "?")
    is_machine = is_null(opened) or opened.content_type == "multipart/report"
    is_generated = submitted(opened).startswith("auto-generated")
    return (
        is_signed_by_a_system(opened)
        or "mailer-daemon" in path.lower()
        or (is_machine and not is_generated)
        or (_UNANSWERED.are_in(headers.get("from", "")) and bool(opened.returned))
    )


def _is_by_a_list(opened: Opened) -> bool:
    """A list's own address writes of many things; what counts is that it refused a mail."""
    return _LIST_MANAGER.are_in(opened.headers.get("from", "")) and (
        _REFUSED_BY_LIST.are_in(f"{opened.headers.get('subject', '')} {_flat(opened.text)}")
    )


def _says_so(opened: Opened) -> bool:
    """A mail system that could not deliver says so, and which mail it was or whom it was for."""
    if "x-failed-recipients" in opened.headers:
        return True
    subject = opened.headers.get("subject", "")
    text = _flat(opened.text)
    has_failed = _FAILED.are_in(text) or _DELAYED.are_in(text) or _names_a_cause(opened)
    is_told = any(each.are_in(subject) for each in (_SUBJECT, _FAILED, _DELAYED))
    if _is_letter(opened) or (not has_failed and _SUCCEEDED.are_in(f"{subject} {text}")):
        return False
    if opened.returned or is_delivery_status(opened):
        return has_failed or is_told
    if _has_return(opened) and returns_to_its_writer(opened):
        return False
    if not is_signed_by_a_system(opened):
        is_coded = _CODED.search(opened.text) is not None
        return has_failed and is_null(opened) and is_coded and _names_another(opened)
    # Who is after the reader's password likes to write as a mail system.
    if _LURE.are_in(text):
        return False
    if _REPLY_LINE.search(opened.text) is not None:
        is_letter = _is_to_a_letter(opened) or _has_return(opened)
        return (has_failed or is_told) and (_names_another(opened) or not is_letter)
    # A postmaster's letter may speak of undeliverable mail, and any text may hold an address.
    is_listed = is_by_a_daemon(opened) or (is_null(opened) and _LISTED.search(opened.text) is not None)
    return not _has_return(opened) and _names_another(opened) and (is_told or (has_failed and is_listed))


def _names_a_cause(opened: Opened) -> bool:
    """A mail system that says of a mailbox what is wrong with it, and no more than that."""
    return is_by_a_daemon(opened) and causes.judge(opened.text).cause in _OF_A_MAILBOX


def _is_letter(opened: Opened) -> bool:
    """What a postmaster answers, or passes on to be read, with a bounce in it."""
    return is_answer(opened) and _has_return(opened)


def _is_to_a_letter(opened: Opened) -> bool:
    """A postmaster's desk that tells, as a machine, of what came in."""
    return is_answer(opened) or "in-reply-to" in opened.headers


def _has_return(opened: Opened) -> bool:
    """Somebody is to get what comes back: no report, though old systems named themselves there, too, and
    who passes a report on (an alias, a list) puts an address of its own there."""
    path = opened.headers.get("return-path")
    if path is None or is_null(opened) or is_by_a_daemon(opened):
        return False
    return "mailer-daemon" not in path.lower()


def _names_another(opened: Opened) -> bool:
    """A bounce tells its reader of somebody else's mailbox. What speaks of "undelivered mail" and names
    its reader alone is about the reader's own, and most often after its password."""
    readers = opened.headers.get("to", "").lower()
    return any(found.group().lower() not in readers for found in _ADDRESS.finditer(opened.text))


def _flat(text: str) -> str:
    return " ".join(text.split())


def _recipient(opened: Opened) -> str | None:
    readers = opened.headers.get("to", "").lower()
    places = (opened.headers.get("x-failed-recipients", ""), opened.text, opened.returned.get("to", ""))
    named = [found.group().rstrip(".") for text in places for found in _ADDRESS.finditer(text)]
    # Some repeat before it from whom the mail was.
    others = (each for each in named if each.lower() not in readers and not _BESIDE.search(each))
    return next(others, named[0] if named else None)


def _answer(text: str) -> str | None:
    """The line with the server's reply, where there is one."""
    start, end = _span_of_answer(text)
    return " ".join(text[start:end].split())[:500] or None


def _says_it_itself(text: str) -> bool:
    """The writer lacks the mailbox in words of its own, not only in those that it quotes."""
    start, end = _span_of_answer(text)
    return causes.judge(f"{text[:start]} {text[end:]}").cause is Cause.no_mailbox


def _span_of_answer(text: str) -> tuple[int, int]:
    """Empty, at the end of the text, where there is none."""
    found = _REPLY_LINE.search(text)
    if found is None:
        return len(text), len(text)
    end = text.find("\n\n", found.start())
    return found.start(), end if end > 0 else len(text)
