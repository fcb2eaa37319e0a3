"""Sending domains as the API takes and shows them."""

from typing import Annotated, Literal
from uuid import UUID

from newsletter.domains.models import DomainStatus, SigningMode
from newsletter.kit.address import DomainName
from newsletter.kit.ids import IdField
from newsletter.kit.schema import Body, Schema, Time

DomainId = Annotated[UUID, IdField("dom")]


class DomainCreate(Body):
    """A domain to send from."""

    domain: DomainName
    """The part behind the @ of ``from_email``, exactly: ``news.example.com`` is not signed for by
    ``example.com``."""
    mode: SigningMode = SigningMode.rsa
    """``rsa``: we sign with a key of 2,048 bits that is made now. ``rsa+ed25519``: with a second,
    shorter signature besides, for servers that know it. ``relay``: the sending server signs."""


class RecordOut(Schema):
    """One entry for the domain's zone."""

    type: Literal["TXT"]
    name: str
    value: str
    """In one piece. A zone file holds it in strings of 255 characters at most."""


class DomainOut(Schema):
    id: DomainId
    domain: str
    """International domains in their ASCII form (``xn--…``)."""
    mode: SigningMode
    status: DomainStatus
    """Always ``unverified``: the DNS is not looked at yet. Mail is signed nevertheless."""
    selector: str
    records: list[RecordOut]
    """To be published before the first mail; none where the sending server signs."""
    created_at: Time
