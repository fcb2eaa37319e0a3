"""One recipient's mail of a mailing: merge, links, headers, signature, envelope.

Everything that all recipients share is compiled once (`newsletter.delivery.stencil`); what is
left per recipient is to encode a few values and to join (``python -m bench --only letter``).
`Letter.write_plainly` is the plain twin: the same mail from whole texts. It writes mails whose
content differs by condition, and a test shows that both agree.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit
from uuid import UUID

import structlog

from newsletter.audience.queries import MergeRow
from newsletter.delivery import mime, tracking
from newsletter.delivery.links import Links, MessageRef, Purpose
from newsletter.delivery.mime import File, Frame, Mail
from newsletter.delivery.models import Mailing, MailingKind
from newsletter.delivery.queries import public_ids
from newsletter.delivery.return_path import ReturnPaths
from newsletter.delivery.signers import Signers
from newsletter.delivery.stencil import Own, Stencil
from newsletter.domains.dkim import Signature
from newsletter.kit import clock, ids
from newsletter.kit.address import ascii_domain_of
from newsletter.providers.base import Envelope
from newsletter.providers.base import Purpose as MailPurpose
from newsletter.templates.compile import Compiled, Merged

log = structlog.get_logger(__name__)

_HOST_LIKE = str.maketrans("_:", "--")
_SEALED = "msg_id.seal"
"""Stands for the message's sealed name in what all recipients share."""


class Copy(NamedTuple):
    """Whom one mail is for."""

    ref: MessageRef
    address: str
    person: MergeRow | None
    attempt: int
    """1 for the first try."""
    name: str | None = None
    """How the header calls them."""
    variables: Mapping[str, str] | None = None
    """What the caller of a single mail, or of an automation, gave for its merge tags."""


class Writer(Protocol):
    """Writes the mails of one mailing."""

    @property
    def is_quick(self) -> bool:
        """Whether a mail takes so little that it may be written in an event loop."""

    def write_block(self, copies: Sequence[Copy]) -> list[Envelope]:
        """The mails in the order of ``copies``. Raises `newsletter.delivery.headers.HeaderInvalid`."""


@dataclass(frozen=True, slots=True)
class Enclosed:
    """The content of a single mail, with what only such mail has."""

    compiled: Mapping[str, object]
    reply_to: str | None
    headers: tuple[tuple[str, str], ...] = ()
    to: tuple[tuple[str, str | None], ...] = ()
    """Addresses and names that the header shows; without any, the recipient's."""
    cc: tuple[tuple[str, str | None], ...] = ()
    files: tuple[File, ...] = field(default=(), repr=False)


_NOTHING = Enclosed({}, None)


class Letter:
    """A mailing's content, read once and written many times, in any thread."""

    def __init__(
        self,
        mailing: Mailing,
        links: Links,
        return_paths: ReturnPaths,
        signature: Signature | None = None,
        signers: Signers | None = None,
        enclosed: Enclosed | None = None,
    ) -> None:
        """``signers`` share the signing of a block; without them the calling thread signs.
        ``enclosed`` stands for the mailing's own content."""
        self._enclosed = enclosed
        self._is_marketing = mailing.purpose is not MailPurpose.transactional
        self._mailing_id, self._links = mailing.id, links
        self._signature, self._signers = signature, signers
        self._compiled = Compiled.from_json(enclosed.compiled if enclosed else mailing.content)
        self._sender: Mapping[str, str | None] = mailing.sender
        self._from_email = str(mailing.sender["from_email"])
        self._domain = ascii_domain_of(self._from_email)
        self._public_id = public_ids(mailing.id)
        self._names = return_paths.of(self._from_email)
        self._list_id = _list_id(links.public_url, mailing.list_id)
        self._feedback_id = _feedback_id(mailing)
        self._track_opens, self._track_clicks = mailing.track_opens, mailing.track_clicks

    @property
    def is_quick(self) -> bool:
        """Some 20 µs. To sign a mail, or to encode all of it, takes ten times as much and more."""
        return self._signature is None and self._stencil is not None

    def render(
        self,
        ref: MessageRef,
        address: str,
        person: MergeRow | None,
        variables: Mapping[str, str] | None = None,
    ) -> Merged:
        """The merged parts for a browser: nothing in them is tracked."""
        links = {
            "unsubscribe_url": self._links.unsubscribe(ref),
            "view_in_browser_url": self._links.view(ref),
        }
        return self._compiled.merge({**merge_values(address, person), **(variables or {}), **links})

    def write_block(self, copies: Sequence[Copy]) -> list[Envelope]:
        """The mails in the order of ``copies``, signed side by side where they are signed."""
        at = clock.now()
        stencil = self._stencil
        if stencil is None:
            return self.finish_block([self.draft_plainly(copy, at) for copy in copies])
        drafts, date, end = [], mime.date(at).encode("ascii"), stencil.end
        for copy in copies:
            message_id = self._public_id(copy.ref.seq)
            sealed, return_path = self._names(message_id)
            values = merge_values(copy.address, copy.person)
            if copy.variables:
                values.update(copy.variables)
            parts = stencil.fill(copy.ref, copy.address, values, sealed, date)
            drafts.append(Draft(copy, message_id, return_path, parts, end))
        return self.finish_block(drafts)

    def finish_block(self, drafts: "Sequence[Draft]") -> list[Envelope]:
        if self._signature is None or self._signers is None:
            return self._finish(drafts)
        return self._signers.map(self._finish, drafts)

    def write(self, copy: Copy) -> Envelope:
        """The same message gets the same Message-ID in each attempt (RFC 5322 §3.6.4)."""
        [envelope] = self.write_block([copy])
        return envelope

    def write_plainly(self, copy: Copy) -> Envelope:
        """From whole texts: what `write` falls back to, and what it is compared with."""
        [envelope] = self._finish([self.draft_plainly(copy, clock.now())])
        return envelope

    def draft_plainly(self, copy: Copy, at: datetime) -> "Draft":
        merged = self.render(copy.ref, copy.address, copy.person, copy.variables)
        page = merged.html
        if self._track_clicks:
            page = tracking.rewrite(page, lambda value: tracking.tracked(value, self._links, copy.ref))
        if self._track_opens:
            page = tracking.with_pixel(page, self._links.opened(copy.ref))
        message_id = self._public_id(copy.ref.seq)
        names = self._names(message_id)
        mail = self._mail(copy, names.sealed, at, subject=merged.subject, html=page, text=merged.text)
        frame = self._frame if self._enclosed else None
        return Draft(
            copy, message_id, names.return_path, mime.build(mail, frame).partition(mime.END_OF_HEADER), 1
        )

    def _finish(self, drafts: "Sequence[Draft]") -> list[Envelope]:
        """Signs and joins, which may be done in another thread."""
        if self._signature is None:
            return [_envelope(draft, draft.parts) for draft in drafts]
        mails = [
            (b"".join(draft.parts[: draft.end]), b"".join(draft.parts[draft.end + 1 :])) for draft in drafts
        ]
        signed = zip(drafts, self._signature.sign_all(mails), mails, strict=True)
        return [
            _envelope(draft, (fields, head, mime.END_OF_HEADER, body))
            for draft, fields, (head, body) in signed
        ]

    @cached_property
    def _stencil(self) -> Stencil | None:
        """None where conditions make the content differ, which joined segments cannot; and for a
        single mail, which would be cut into segments to be joined once."""
        if self._enclosed is not None:
            return None
        if not self._compiled.is_plain:
            log.info("a mailing has conditions: each of its mails is encoded by itself")
            return None
        return Stencil(
            self._compiled,
            self._links,
            self._mailing_id,
            self._heading(),
            self._frame,
            track_opens=self._track_opens,
            track_clicks=self._track_clicks,
        )

    @cached_property
    def _frame(self) -> Frame:
        files = self._enclosed.files if self._enclosed else ()
        return Frame(str(self._mailing_id), files, is_text_only=not self._compiled.html.nodes)

    def _heading(self) -> "list[str | Own | Purpose]":
        """The plain twin's own header, with what differs cut out."""
        nobody = Copy(MessageRef(self._mailing_id, 1, None), self._from_email, None, 1)
        mail = self._mail(nobody, _SEALED, clock.now(), subject="", html="", text="")
        fields = [*mime.fields(mail), *self._frame.fields]
        places = {field.partition(":")[0]: place for place, field in enumerate(fields)}
        to, subject, url = (places[name] for name in ("To", "Subject", "List-Unsubscribe"))
        own = fields[places["Message-ID"] + 1 : url]
        before_feedback, _, after_feedback = "\r\n".join([">", *fields[url + 1 :]]).partition(_SEALED)
        return [
            "".join(f"{field}\r\n" for field in fields[:to]),
            Own.to,
            "".join(f"\r\n{field}" for field in fields[to + 1 : subject]) + "\r\n",
            Own.subject,
            "\r\nDate: ",
            Own.date,
            "\r\nMessage-ID: <",
            Own.sealed,
            "\r\n".join([f"@{self._domain}>", *own, "List-Unsubscribe: <"])
            + self._links.base(Purpose.unsubscribe),
            Purpose.unsubscribe,
            before_feedback,
            Own.sealed,
            after_feedback,
            Own.end,
        ]

    def _mail(self, copy: Copy, sealed: str, at: datetime, *, subject: str, html: str, text: str) -> Mail:
        own = self._enclosed or _NOTHING
        return Mail(
            message_id=f"<{sealed}@{self._domain}>",
            date=at,
            from_email=self._from_email,
            from_name=self._sender["from_name"],
            reply_to=own.reply_to or self._sender["reply_to"],
            to_email=copy.address,
            to_name=copy.name,
            subject=subject,
            html=html,
            text=text,
            unsubscribe_url=self._links.unsubscribe(copy.ref) if self._is_marketing else None,
            list_id=self._list_id,
            list_name=self._sender["list_name"],
            feedback_id=self._feedback_id.replace(_SEALED, sealed),
            headers=own.headers,
            shown_to=own.to,
            shown_cc=own.cc,
        )


@dataclass(slots=True)
class Draft:
    """A mail that is not joined yet."""

    copy: Copy
    message_id: str
    return_path: str
    parts: Sequence[bytes]
    end: int
    """Which of the parts is the end of the header."""


def _envelope(draft: Draft, parts: Sequence[bytes]) -> Envelope:
    # By position, which takes half of the time. Headers are cleaned and folded, bodies are
    # quoted-printable without a leading dot: that is what the last one vouches for.
    return Envelope(
        draft.message_id,
        draft.return_path,
        draft.copy.address,
        b"".join(parts),
        draft.copy.attempt,
        True,
    )


def merge_values(address: str, person: MergeRow | None) -> dict[str, str]:
    """What merge tags may read of one recipient; missing values are left out."""
    if person is None:
        return {"email": address}
    values = {}
    if person.custom_fields:
        values = {name: _text(value) for name, value in person.custom_fields.items() if value is not None}
    if person.first_name:
        values["first_name"] = person.first_name
    if person.last_name:
        values["last_name"] = person.last_name
    values["email"] = address
    return values


def _text(value: object) -> str:
    """A custom field as a reader expects it: ``true`` is JSON's, not Python's."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _list_id(public_url: str, list_id: UUID | None) -> str | None:
    """Stable for the list's life, in a domain we may use (RFC 2919)."""
    host = urlsplit(public_url).hostname or "localhost"
    # An underscore is no host name, nor are the colons of IPv6; List-Id wants the look of one.
    return f"{ids.public('lst', list_id)}.{host}".translate(_HOST_LIKE) if list_id else None


def _feedback_id(mailing: Mailing) -> str:
    """Campaign or automation and project are what Gmail adds complaints up by, single mails of a project all
    together; the message is for the reports that keep this field and not the Message-ID."""
    is_single = mailing.kind is MailingKind.transactional
    prefix = "aut" if mailing.kind is MailingKind.automation else "cmp"
    source = mailing.purpose.value if is_single else ids.public(prefix, mailing.source_id)
    return f"{source}:{ids.public('prj', mailing.project_id)}:{_SEALED}:newsletter"
