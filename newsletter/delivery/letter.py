"""One recipient's mail of a mailing: merge, links, headers, envelope."""

from collections.abc import Mapping
from urllib.parse import urlsplit
from uuid import UUID

from newsletter.audience.queries import MergeRow
from newsletter.delivery import mime
from newsletter.delivery.links import Links, MessageRef
from newsletter.delivery.mime import Mail
from newsletter.delivery.models import Mailing
from newsletter.delivery.queries import public_id
from newsletter.kit import clock, ids
from newsletter.kit.address import domain_of
from newsletter.providers.base import Envelope
from newsletter.templates.compile import Compiled, Merged


class Letter:
    """A mailing's content, read once and written many times."""

    def __init__(self, mailing: Mailing, links: Links) -> None:
        self._mailing, self._links = mailing, links
        self._compiled = Compiled.from_json(mailing.content)
        self._sender: Mapping[str, str | None] = mailing.sender
        self._from_email = str(mailing.sender["from_email"])
        self._domain = domain_of(self._from_email)

    def render(self, ref: MessageRef, address: str, person: MergeRow | None) -> Merged:
        """The merged parts, for the wire or for a browser."""
        links = {
            "unsubscribe_url": self._links.unsubscribe(ref),
            "view_in_browser_url": self._links.view(ref),
        }
        return self._compiled.merge(merge_values(address, person) | links)

    def write(self, ref: MessageRef, address: str, person: MergeRow | None, *, attempt: int) -> Envelope:
        """The same message gets the same Message-ID in each attempt (RFC 5322 §3.6.4)."""
        merged = self.render(ref, address, person)
        message_id = public_id(ref.mailing_id, ref.seq)
        mail = Mail(
            message_id=f"<{message_id}@{self._domain}>",
            date=clock.now(),
            from_email=self._from_email,
            from_name=self._sender["from_name"],
            reply_to=self._sender["reply_to"],
            to_email=address,
            subject=merged.subject,
            html=merged.html,
            text=merged.text,
            unsubscribe_url=self._links.unsubscribe(ref),
            list_id=self._list_id(self._mailing.list_id),
            list_name=self._sender["list_name"],
            feedback_id=self._feedback_id(),
        )
        return Envelope(
            message_id=message_id,
            return_path=self._from_email,
            recipient=address,
            content=mime.build(mail),
            attempt=attempt,
        )

    def _list_id(self, list_id: UUID | None) -> str | None:
        """Stable for the list's life, in a domain we may use (RFC 2919)."""
        host = urlsplit(self._links.public_url).hostname or "localhost"
        # An underscore is no host name; List-Id wants the look of one.
        return f"{ids.public('lst', list_id).replace('_', '-')}.{host}" if list_id else None

    def _feedback_id(self) -> str:
        mailing = self._mailing
        campaign, project = ids.public("cmp", mailing.source_id), ids.public("prj", mailing.project_id)
        return f"{campaign}:{project}:{mailing.kind.value}:newsletter"


def merge_values(address: str, person: MergeRow | None) -> dict[str, str]:
    """What merge tags may read of one recipient; missing values are left out."""
    if person is None:
        return {"email": address}
    values = {name: _text(value) for name, value in person.custom_fields.items() if value is not None}
    names = {"first_name": person.first_name, "last_name": person.last_name}
    return values | {name: value for name, value in names.items() if value} | {"email": address}


def _text(value: object) -> str:
    """A custom field as a reader expects it: ``true`` is JSON's, not Python's."""
    return str(value).lower() if isinstance(value, bool) else str(value)
