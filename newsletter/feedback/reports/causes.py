"""Why a mail was refused, told from the words of the answer, then from its status code.

Servers disagree on codes and agree on words: "user unknown" comes with 5.1.1, 5.2.1, 5.4.1, 5.5.0,
5.7.1 and 5.0.0. So plain words decide, the enhanced status code (RFC 3463) is asked next, the reply
code (RFC 5321) last. The rules are about phrases of servers, never about one sender's layout.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from newsletter.feedback.reports import phrases
from newsletter.feedback.reports.phrases import Phrases


class Cause(StrEnum):
    """The value is the plain reason."""

    no_mailbox = "there is no such mailbox"
    no_domain = "there is no such mail domain"
    no_mail = "the domain or host takes no mail"
    moved = "the mailbox has moved"
    mailbox_full = "the mailbox is full"
    disabled = "the mailbox is disabled"
    too_large = "the message is too large"
    unauthenticated = "the sender's authentication failed (SPF, DKIM or DMARC)"
    spam = "the content was called spam"
    virus = "the content was called harmful"
    blocked = "the sending server or its address is blocked"
    policy = "a policy of the receiver refuses it"
    sender_refused = "the sender's address is refused"
    after_data = "the address was taken and the message refused"
    not_allowed = "the recipient takes no mail from this sender"
    relaying = "the server does not relay for this domain"
    rate = "too many messages or connections"
    malformed = "the message or the dialogue was malformed"
    expired = "it could not be delivered in time"
    unreachable = "the receiving server could not be reached"
    system = "the receiving mail system has a fault"
    unclear = "no cause was given"


HARD = frozenset({Cause.no_mailbox, Cause.no_domain, Cause.no_mail, Cause.moved})
"""What is about the address itself and will not mend: the only causes that suppress."""

_WEAK = frozenset({Cause.unclear, Cause.system, Cause.policy, Cause.malformed})
"""Told by words that mean little; a status code with a subject of its own says more."""


_WORDS = tuple((Cause[name], pattern) for name, pattern in phrases.causes())


@dataclass(frozen=True, slots=True)
class Verdict:
    cause: Cause
    status: str | None
    """The most telling enhanced status code that was found."""
    is_final: bool = True
    """False where the reply code is a 4yz and no enhanced code says more."""

    @property
    def is_hard(self) -> bool:
        """A 4.y.z is not final, whatever its words are (greylisting says "user unknown", too); but 4.0.0
        says nothing, and a server that gave up on a domain without a host writes it (Gmail's)."""
        is_of_domain = self.cause in (Cause.no_domain, Cause.no_mail) and self.status == "4.0.0"
        is_final = self.is_final and not (self.status or "5").startswith("4")
        return self.cause in HARD and (is_of_domain or is_final)


_STATUS = re.compile(r"(?<![\d.])([245])\.(\d{1,3})\.(\d{1,3})(?![\d.]*\d)")
_REPLY = re.compile(r"(?<![\d.:/-])([45][0-5]\d)(?=[ \-:,<(#]|$)")


def statuses(text: str) -> list[str]:
    """Enhanced status codes in the order they stand; not the parts of an IP address."""
    return [match.group() for match in _STATUS.finditer(text)]


_ABOUT_THE_ADDRESS = frozenset({"5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10"})
"""So plain that it does not matter at which step the server said it."""
MAX_ANSWER = 3_000
"""Characters of an answer that are looked at."""

# Phrases that say at which step of the dialogue (RFC 5321 §3.3) the answer came.
_AT_HELO = Phrases(
    [r"(?:after|in reply to|to) (?:the )?(?:helo|ehlo)\b", r"my name was rejected"]  # The second is qmail's.
)
_AT_MAIL = Phrases(
    [r"(?:after|in reply to|to) (?:the )?mail\b", r">>> ?mail from:\S* (?:\S+=\S+ )*<<< ?[45]\d\d"]
)
_AT_DATA = Phrases(
    [
        r"(?:after|in reply to) (?:the )?(?:end of )?(?:message )?data\b",
        # With pipelining, Sendmail prints the answer to RCPT below its DATA; when it was DATA that
        # failed, it adds this line.
        r">>> ?(?:data|\.) <<< ?[45]\d\d.{0,500}\b554 5\.0\.0 service unavailable",
        r"smtp command\W+data\b",
        r"failed after i sent the message",  # qmail's
    ]
)
_AT_RCPT = Phrases([r"\brcpt\b", r"does not like recipient"])  # The second is qmail's.
# A program that delivers locally speaks of a missing user where it cannot read its own files.
_PROGRAM_FAILED = Phrases(
    [r"could(?:n'?t| not) (?:create|open|lock|read)\b", r"can(?:'?t|not| not) (?:create|open|lock)\b"]
)
_NO_ACCOUNT = Phrases([r"does(?:n'?t| not) have an? \S+ account"])
# Cisco's gateways put their own guess in front of what the server said.
_WRAPPED = re.compile(r"^[45]\.\d\.\d - [\w ]+ \d{3}-?'(?P<inner>.+)'")


def judge(text: str, status: str | None = None, *, transcript: str = "") -> Verdict:
    """``text`` is what the server said, ``status`` what the report gives beside it, ``transcript``
    a wider text that may tell at which step the server said it."""
    flat = " ".join(text[:MAX_ANSWER].split())
    wrapped = _WRAPPED.match(flat)
    if wrapped:
        flat, status = wrapped["inner"], None
    told = [code for code in statuses(flat) if not code.startswith("2")]
    best = _most_telling([*([status] if status else []), *told])
    reply = _REPLY.search(flat)
    cause = _cause(flat, best, reply.group(1) if reply else None, is_told=best in told)
    if cause in HARD and best not in _ABOUT_THE_ADDRESS:
        cause = _by_step(cause, best, f"{flat} {' '.join(transcript[:MAX_ANSWER].split())}")
    is_temporary = (best is None or best.endswith(".0.0")) and reply is not None and reply[1].startswith("4")
    return Verdict(cause, best, not is_temporary)


def _cause(flat: str, status: str | None, reply: str | None, *, is_told: bool) -> Cause:
    """``is_told``: the code stands in the words of the server, not only in a field beside them."""
    by_status = _by_status(status, reply)
    words = next((cause for cause, pattern in _WORDS if pattern.are_in(flat)), Cause.unclear)
    if by_status is Cause.sender_refused:
        # Sendmail's own field says 5.7.27 where it is the recipient's host that takes no mail.
        return words if words is Cause.no_mail and not is_told else by_status
    if words is Cause.no_mailbox and _PROGRAM_FAILED.are_in(flat):
        return Cause.system
    if words in _WEAK and by_status is not Cause.unclear:
        return by_status
    # 5.1.1 is about the address, whatever name the server has for what it lacks, unless that will pass.
    is_about_it = status == "5.1.1" and "temporar" not in flat.lower()
    return by_status if words is Cause.disabled and is_about_it else words


def _by_step(cause: Cause, status: str | None, flat: str) -> Cause:
    """A server that took the address in RCPT and refuses the message does not lack the mailbox;
    one that refuses MAIL speaks of the sender, and one that refuses HELO of the sender's host. One whose
    code speaks of a policy and whose words of a missing user is only believed about the user where it
    said so to RCPT."""
    if _AT_HELO.are_in(flat):
        return Cause.blocked
    if _AT_MAIL.are_in(flat):
        return Cause.sender_refused
    if cause is Cause.no_mailbox and (status or "").startswith("5.7.") and not _AT_RCPT.are_in(flat):
        return Cause.not_allowed
    return Cause.after_data if _AT_DATA.are_in(flat) else cause


def is_unconfirmed(verdict: Verdict, text: str) -> bool:
    """A "no such user" that is words alone: with no code about it, and not said to have answered RCPT.
    Filters answer a message that they refuse with the same words, and a relay that quotes the answer
    without its step leaves open which it was."""
    says_nothing = verdict.status is None or verdict.status.endswith(".0.0")
    if _NO_ACCOUNT.are_in(" ".join(text.split())):
        return False  # Nobody but who keeps the accounts says that.
    return verdict.cause is Cause.no_mailbox and says_nothing and not _AT_RCPT.are_in(text)


def _most_telling(codes: list[str]) -> str | None:
    """A code with a subject and a detail says more than x.0.0."""
    return next((code for code in codes if not code.endswith(".0.0")), codes[0] if codes else None)


_BY_SUBJECT = {
    "1": Cause.no_mailbox,
    "2": Cause.not_allowed,
    "3": Cause.system,
    "4": Cause.unreachable,
    "5": Cause.malformed,
    "6": Cause.malformed,
    "7": Cause.policy,
}
_BY_STATUS = {
    "1.2": Cause.no_domain,
    "1.6": Cause.moved,
    "1.7": Cause.sender_refused,
    "1.8": Cause.sender_refused,
    "1.9": Cause.sender_refused,
    "1.10": Cause.no_mail,
    # Microsoft's: the sender has written to too many.
    "1.90": Cause.rate,
    "2.1": Cause.disabled,
    "2.2": Cause.mailbox_full,
    "2.3": Cause.too_large,
    "3.2": Cause.system,
    "3.4": Cause.too_large,
    "4.4": Cause.no_domain,
    "4.7": Cause.expired,
    "7.25": Cause.blocked,
    # RFC 7505 §4.2: it is the sender's domain that takes no mail.
    "7.27": Cause.sender_refused,
    "7.26": Cause.unauthenticated,
}


def _by_status(status: str | None, reply: str | None) -> Cause:
    """RFC 3463 §3 and the registry of RFC 5248; only permanent codes are about an address."""
    if status is None:
        return Cause.moved if reply == "551" else Cause.mailbox_full if reply == "552" else Cause.unclear
    kind, _, rest = status.partition(".")
    cause = _BY_STATUS.get(rest) or _BY_SUBJECT.get(rest.partition(".")[0], Cause.unclear)
    return cause if kind == "5" or cause not in HARD else Cause.unclear
