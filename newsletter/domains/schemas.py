"""Sending domains as the API takes and shows them."""

from dataclasses import asdict
from typing import Annotated
from uuid import UUID

from newsletter.domains import records
from newsletter.domains.models import DomainStatus, SendingDomain, SigningMode
from newsletter.domains.records import RecordPurpose, RecordStatus, RecordType
from newsletter.kit.address import DomainName
from newsletter.kit.ids import IdField
from newsletter.kit.schema import Body, Schema, Time
from newsletter.settings import Settings

DomainId = Annotated[UUID, IdField("dom")]


class DomainCreate(Body):
    """A domain to send from."""

    domain: DomainName
    """The part behind the @ of ``from_email``, exactly: ``news.example.com`` is not signed for by
    ``example.com``."""
    mode: SigningMode = SigningMode.rsa
    """``rsa``: we sign with a key of 2,048 bits that is made now. ``rsa+ed25519``: with a second,
    shorter signature besides, for servers that know it. ``relay``: the sending server signs."""


class DomainUpdate(Body):
    """What of a domain can be changed."""

    tracking_host: DomainName | None
    """Where tracked links and the open pixel of mail from this domain lead, in the place of the
    installation's host: a host below a verified sending domain of the project, such as
    ``click.news.example.com``. It is used once its CNAME was found. Null: the installation's."""


class RecordOut(Schema):
    """One entry for the domain's zone, and what stands there."""

    purpose: RecordPurpose
    """``dkim``: the key that signs. ``ownership``: in its place where the sending server signs. ``spf``: the
    servers that may send. ``dmarc``: what receivers do with mail that proves nothing. ``tracking``: the
    tracking host."""
    type: RecordType
    name: str
    value: str | None
    """In one piece; a zone file holds it in strings of 255 characters at most. Of SPF and DMARC, a record to
    begin with: what you have already may say more. Null where your sending server says what belongs there."""
    is_required: bool
    """Whether the domain is verified only with it; others are looked at and told."""
    status: RecordStatus
    """``unchecked``, ``found``, ``missing``, ``wrong``, or ``unknown``: it could not be looked up, and this
    changes nothing."""
    found: list[str]
    """What stands there, the first of it."""
    reason: str | None
    """What is wrong with it, or the policy of a DMARC record."""


class DomainOut(Schema):
    id: DomainId
    domain: str
    """International domains in their ASCII form (``xn--…``)."""
    mode: SigningMode
    status: DomainStatus
    """``pending``: not looked at yet, or the DNS did not answer. ``verified``: every required record was
    found. ``failed``: one is missing or wrong; of a verified domain, for longer than the grace. Mail is
    signed whatever it says."""
    selector: str
    records: list[RecordOut]
    """To be published before the first mail."""
    checked_at: Time | None
    """When the DNS was last looked at."""
    absent_since: Time | None
    """When a required record was first not found, and not found again since: a verified domain stays so
    for a grace."""
    tracking_host: str | None
    """Where tracked links are to lead; null: to the installation's host."""
    tracking_verified_at: Time | None
    """When its CNAME was found. Null: the installation's host is used still, or again."""
    created_at: Time

    @classmethod
    def of(cls, row: SendingDomain, settings: Settings) -> "DomainOut":
        """The row with the records that are expected now."""
        shown = [
            RecordOut.model_validate({**asdict(record), **asdict(seen)})
            for record, seen in records.kept(row, settings).items()
        ]
        names = cls.model_fields.keys() - {"records"}
        return cls.model_validate({**{name: getattr(row, name) for name in names}, "records": shown})
