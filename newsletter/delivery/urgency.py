"""Which mail goes first: single mails never wait behind a campaign (ADR 79).

A campaign to 100,000 is a hundred batches that are rung for at once, and of a server that takes ten mails a
second it holds every thread for hours. So batches of single mails are jobs of another name, which has
queues and threads of its own, and their blocks have lanes of their own on the wire.
"""

from newsletter.delivery.models import MailingKind

SEND_BATCH = "delivery.send_batch"
SEND_SINGLE = "delivery.single.send_batch"

_SINGLE = {MailingKind.transactional, MailingKind.test}


def is_single(kind: MailingKind) -> bool:
    """Whether somebody waits for it: a call's mail, or a test send."""
    return kind in _SINGLE


def job_of(kind: MailingKind) -> str:
    """The job that sends a batch of such a mailing."""
    return SEND_SINGLE if is_single(kind) else SEND_BATCH
