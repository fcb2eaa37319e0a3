"""What a returned mail says, in one form whatever wrote it."""

from dataclasses import dataclass
from enum import StrEnum

from newsletter.feedback.reports.causes import Cause


class Kind(StrEnum):
    hard = "hard"
    """The address or its domain does not exist, moved, or takes no mail: never mail it again."""
    soft = "soft"
    """Not delivered for another reason, or not yet: the address may be good."""
    complaint = "complaint"
    """The receiver's side objects to the mail: the reader called it spam or asked through the mailbox to be
    left alone, or its system reports it. What follows from it is in `Report.asks`."""
    auto_reply = "auto_reply"
    """Out of office and the like: the mail arrived."""
    other = "other"
    """None of these: ordinary mail, a report of success, a report about somebody's DNS records."""


class Asks(StrEnum):
    """What a complaint wants of the sender."""

    no_more_mail = "no_more_mail"
    """The reader called the mail spam, or harmful: nothing more from this sender."""
    unsubscribe = "unsubscribe"
    """The reader left by a button of the mailbox: as if they had followed the mail's own link."""
    attention = "attention"
    """A system reports failed authentication (RFC 6591): the operator's matter, and no reader's."""


@dataclass(frozen=True, slots=True)
class Report:
    """``status`` is an enhanced status code (RFC 3463) or None; ``recipient`` an address or None.

    ``reason`` is a plain sentence, ``diagnostic`` what the server said, one line of at most 500
    characters. ``message_id`` and ``return_path`` are of the mail that came back, where it is
    quoted: what ties the report to a message of ours.
    """

    kind: Kind
    reason: str
    status: str | None = None
    recipient: str | None = None
    cause: Cause | None = None
    diagnostic: str | None = None
    is_final: bool = True
    """False where the mail was not delivered *yet*: its server is still trying."""
    asks: Asks = Asks.no_more_mail
    """Of a complaint."""
    message_id: str | None = None
    return_path: str | None = None
