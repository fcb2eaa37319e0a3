"""Mails of the sandbox as the API shows them."""

from typing import Annotated
from uuid import UUID

from newsletter.kit.ids import IdField
from newsletter.kit.schema import Schema, Time

SandboxMessageId = Annotated[UUID, IdField("sbx")]


class Header(Schema):
    name: str
    value: str


class SandboxMessageSummary(Schema):
    id: SandboxMessageId
    message_id: str
    """The id of the message that this mail is a copy of."""
    from_email: str
    to_email: str
    subject: str
    received_at: Time


class SandboxMessageOut(SandboxMessageSummary):
    from_name: str | None
    headers: list[Header]
    """Decoded, in their order; a name may come more than once."""
    html: str | None
    text: str | None
    list_unsubscribe: str | None
    """The link of the header List-Unsubscribe; POST ``List-Unsubscribe=One-Click`` to it to unsubscribe."""
    size: int
    """Bytes of the mail as it would go over the wire."""
