"""Suppressions and unsubscribes as the API takes and shows them."""

from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field

from newsletter.audience.schemas import ListId
from newsletter.kit.address import DomainName, EmailAddress
from newsletter.kit.ids import IdField
from newsletter.kit.schema import Body, Line, Schema, Time
from newsletter.suppressions.models import Reason
from newsletter.suppressions.queries import Held, Level

SuppressionId = Annotated[UUID, IdField("sup")]
Source = Annotated[Line, Field(min_length=1, max_length=200, examples=["preference page"])]


class PushedReason(StrEnum):
    """What a customer may tell us; ``erased`` comes of an erasure alone."""

    manual = Reason.manual
    unsubscribe = Reason.unsubscribe
    hard_bounce = Reason.hard_bounce
    complaint = Reason.complaint


class SuppressionCreate(Body):
    """An address that must not be mailed, and how far that goes."""

    email: EmailAddress
    reason: PushedReason = PushedReason.manual
    """``hard_bounce`` and ``complaint`` also change the status of the address on every list."""
    level: Literal["project", "domain", "list"] = "project"
    """``project``: nothing to this address; ``domain``: nothing from one sender domain, which ends no
    subscription; ``list``: nothing to one list."""
    list_id: ListId | None = None
    """With the level ``list``."""
    domain: DomainName | None = None
    """With the level ``domain``: the domain of the sender's address."""
    source: Source = "api"


class SuppressionBatch(Body):
    suppressions: list[Any]
    """1 to 1,000 rows (``NEWSLETTER_MAX_BATCH_ROWS``), each like the body of a single one."""


class SuppressionOut(Schema):
    id: SuppressionId
    email: str | None
    """Null for a person who was erased: only a keyed hash of the address is kept."""
    level: Level
    list_id: ListId | None
    domain: str | None
    reason: Reason
    source: str
    created_at: Time

    @classmethod
    def of(cls, held: Held) -> "SuppressionOut":
        return cls(
            id=held.id,
            email=held.email,
            level=held.reach.level,
            list_id=held.reach.list_id,
            domain=held.reach.domain,
            reason=held.reason,
            source=held.source,
            created_at=held.created_at,
        )


class SuppressionBatchOut(Schema):
    """``received = created + known + invalid``."""

    received: int
    created: int
    known: int
    invalid: int
    invalid_examples: list[str]
    """Up to ten bad rows, as they were sent, in JSON."""


class UnsubscribeCreate(Body):
    """Somebody who left, as another system heard it."""

    email: EmailAddress
    list_id: ListId | None = None
    """Without it: from all lists, those to come included. A list that the address was never on then takes it
    as unsubscribed, until a call shows a consent."""
    source: Source = "api"


class UnsubscribeUpdate(Body):
    source: Source


class UnsubscribeOut(Schema):
    id: SuppressionId
    email: str
    list_id: ListId | None
    source: str
    created_at: Time


class IntakeOut(Schema):
    """What becomes of a returned mail."""

    status: Literal["accepted", "ignored"]
    """``ignored``: it shows no signed name of a message of this project, so it changes nothing."""
