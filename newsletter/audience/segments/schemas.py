"""Segments as the API takes and shows them."""

from typing import Annotated
from uuid import UUID

from pydantic import Field

from newsletter.audience.conditions import Condition
from newsletter.audience.schemas import ListId, SubscriberOut
from newsletter.kit.ids import IdField
from newsletter.kit.schema import Body, Line, Schema, Time

SegmentId = Annotated[UUID, IdField("seg")]
Name = Annotated[Line, Field(min_length=1, max_length=200, examples=["Members in Paris"])]


class SegmentCreate(Body):
    list_id: ListId
    """A segment belongs to one list for good."""
    name: Name
    description: Annotated[str, Field(max_length=2000)] | None = None
    conditions: Condition


class SegmentUpdate(Body):
    """Fields that are left out stay as they are; null clears the description."""

    name: Name = ""
    description: Annotated[str, Field(max_length=2000)] | None = None
    conditions: Condition | None = None
    """Replaces what the segment had."""


class SegmentTry(Body):
    """Conditions that are not kept."""

    list_id: ListId
    conditions: Condition


class SegmentOut(Schema):
    id: SegmentId
    list_id: ListId
    name: str
    description: str | None
    conditions: Condition
    version: int
    """Grows with each change; send it as ``If-Match`` to change only what you saw."""
    created_at: Time
    updated_at: Time


class SegmentCount(Schema):
    total_subscribers: int
    """Subscribers of the list who meet the conditions, however they stand on it."""
    active_subscribers: int
    """Those of them whom a campaign would reach, less who is suppressed."""
    counted_at: Time


class SegmentPreview(SegmentCount):
    subscribers: list[SubscriberOut]
    """The newest of them, ten at most."""
