"""Ids of messages and of what they belong to, as the API shows them."""

from typing import Annotated
from uuid import UUID

from pydantic import Field

from newsletter.kit.ids import IdField

CampaignId = Annotated[UUID, IdField("cmp")]
MessageId = Annotated[
    str, Field(pattern=r"^msg_[0-9a-hjkmnp-tv-z]{32}$", examples=["msg_01k9x3v7m8e5tbn2c4r6p0qzaw000001"])
]
