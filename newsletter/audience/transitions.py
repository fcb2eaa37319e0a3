"""Which status may follow which: the one table.

What is not in the table stays as it is: an upsert never reactivates who bounced or
complained, an unsubscribe does not hide a bounce, and a bounce does not hide a complaint.
``pending`` is left by a confirmation alone, which comes with double opt-in.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from newsletter.accounts.models import Resubscribe
from newsletter.audience.models import ConsentAction, Status


class Cause(StrEnum):
    """Why a status changes."""

    subscribe = "subscribe"
    """An upsert: POST, a batch, or a PUT that says ``active``."""
    correct = "correct"
    """A PATCH that says ``active``: somebody looked at this one contact."""
    unsubscribe = "unsubscribe"
    bounce = "bounce"
    complain = "complain"


_NEXT: Final[Mapping[Cause, Mapping[Status, Status]]] = {
    Cause.subscribe: {Status.unsubscribed: Status.active},
    Cause.correct: {
        Status.unsubscribed: Status.active,
        Status.bounced: Status.active,
        Status.complained: Status.active,
    },
    Cause.unsubscribe: {
        Status.pending: Status.unsubscribed,
        Status.active: Status.unsubscribed,
    },
    Cause.bounce: {
        Status.pending: Status.bounced,
        Status.active: Status.bounced,
        Status.unsubscribed: Status.bounced,
    },
    Cause.complain: {
        Status.pending: Status.complained,
        Status.active: Status.complained,
        Status.unsubscribed: Status.complained,
        Status.bounced: Status.complained,
    },
}

COUNTED: Final = frozenset({Status.pending, Status.active})
"""Those that take one of the plan's subscribers."""

FIRST_ACTION: Final[Mapping[Status, ConsentAction]] = {
    Status.active: ConsentAction.subscribed,
    Status.unsubscribed: ConsentAction.unsubscribed,
    Status.bounced: ConsentAction.bounced,
    Status.complained: ConsentAction.complained,
}
"""What a new row with this status says of the person's consent."""


def after(cause: Cause, status: Status) -> Status:
    return _NEXT[cause].get(status, status)


def action_of(status: Status) -> ConsentAction:
    """What it says of the person's consent that a known row came to this status."""
    return ConsentAction.resubscribed if status is Status.active else FIRST_ACTION[status]


def needs_consent(status: Status, policy: Resubscribe) -> bool:
    """Whether ``status`` is only left for ``active`` with a consent that the caller can show."""
    if status is Status.complained:
        return True
    return status is Status.unsubscribed and policy is Resubscribe.require_consent
