"""From bodies to mails: who they are from, what they say, and to whom, checked before one is written.

One body and a thousand go the same way. What bodies have in common (a sender, a template, a text)
is looked up and compiled once for all of them; what is wrong with one is returned in its place.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts import queries as accounts
from newsletter.accounts.project import Principal, Profile
from newsletter.audience import queries as audience
from newsletter.delivery import headers, posting, senders, urgency, utm
from newsletter.delivery.headers import HeaderInvalid
from newsletter.delivery.mime import File
from newsletter.delivery.models import Role
from newsletter.delivery.posting import Item, Origin, Posted, Recipient, Writing
from newsletter.delivery.service import Sender
from newsletter.domains import queries as domains
from newsletter.kit import address
from newsletter.kit.address import ascii_domain_of, domain_of
from newsletter.kit.db import Database
from newsletter.kit.errors import Forbidden, NewsletterError, ValidationFailed
from newsletter.plans.catalogue import Resource
from newsletter.providers.base import Purpose
from newsletter.settings import LimitSettings, Settings
from newsletter.templates import extent
from newsletter.templates import service as templates
from newsletter.templates.compile import Compiled
from newsletter.templates.expressions import as_text
from newsletter.templates.queries import Shelf
from newsletter.templates.service import Frame, TemplateMissing
from newsletter.transactional.schemas import Send

Ready = Item | NewsletterError


@dataclass(frozen=True, slots=True)
class Office:
    """What single mails need besides the database."""

    shelf: Shelf
    settings: Settings


async def prepare(
    db: Database, principal: Principal, office: Office, calls: Sequence[Sequence[Send]]
) -> list[Ready]:
    """The mails of calls that came together, ready to be posted, each in the place of its body; or what is
    wrong with it. What was read is read once for all; what is compiled belongs to its call."""
    if principal.list_ids:
        raise Forbidden("This key is restricted to lists, and single mails belong to none.")
    async with db.read() as session:
        common = await _common(session, principal, office, [body for bodies in calls for body in bodies])
    return await asyncio.to_thread(_items, common, office.settings.limits, calls)


async def post(
    session: AsyncSession, principal: Principal, items: Sequence[Item], settings: Settings
) -> list[list[Posted]]:
    """Writes the mails down; returns the messages of each. Raises `QuotaExceeded`."""
    limit = principal.plan.limits[Resource.mails]
    return await posting.post(session, principal.project, items, mail_limit=limit, settings=settings.delivery)


@dataclass(frozen=True, slots=True)
class _Common:
    """What bodies share, looked up once; errors stand where they were found."""

    profile: Profile
    senders: Mapping[tuple[str | None, Purpose], Sender | NewsletterError]
    frames: Mapping[UUID, Frame | NewsletterError]


async def _common(
    session: AsyncSession, principal: Principal, office: Office, bodies: Sequence[Send]
) -> _Common:
    profile = await accounts.profile(session, principal.project)
    found: dict[tuple[str | None, Purpose], Sender | NewsletterError] = {}
    frames: dict[UUID, Frame | NewsletterError] = {}
    names: frozenset[str] | None = None
    for body in bodies:
        key = _sender_key(body)
        if key not in found:
            try:
                found[key] = await _sender(session, principal, profile, key, office.settings)
            except NewsletterError as error:
                found[key] = error
        template_id = body.template_id
        if template_id is not None and template_id not in frames:
            if names is None:
                names = await audience.custom_field_names(session, principal.project)
            try:
                frames[template_id] = await templates.frame(
                    session, principal.project, office.shelf, template_id, names
                )
            except TemplateMissing:
                frames[template_id] = ValidationFailed.of("template_id", "is not a template of this project")
    return _Common(profile, found, frames)


def _sender_key(body: Send) -> tuple[str | None, Purpose]:
    return body.from_.address.spelling if body.from_ else None, body.routing.purpose


async def _sender(
    session: AsyncSession,
    principal: Principal,
    profile: Profile,
    key: tuple[str | None, Purpose],
    settings: Settings,
) -> Sender:
    """Who a mail is from, when this key and project may send as them. Raises what stands against it."""
    own, purpose = key
    project = principal.project
    from_email = own or profile.from_email
    if from_email is not None and not principal.may_send_from(domain_of(from_email)):
        raise Forbidden("This key may not send from that domain.")
    is_projects = own is None or _is_same(own, profile.from_email)
    # Nothing leaves a sandbox, so there any sender may be tried.
    is_free = own is None or is_projects or project.is_test
    if not is_free and await domains.by_name(session, project.id, ascii_domain_of(own or "")) is None:
        raise ValidationFailed.of(
            "from",
            "must be the project's sender or an address of one of its sending domains; "
            "register its domain with POST /sending-domains",
        )
    from_email = await senders.check(session, project, profile, own, settings, purpose)
    try:
        headers.mailbox("From", from_email)
    except HeaderInvalid:
        raise ValidationFailed.of("from", "must be an address that ASCII can write") from None
    return Sender(
        from_email=from_email,
        from_name=profile.from_name if is_projects else None,
        reply_to=profile.reply_to if is_projects else None,
        list_name=None,
    )


def _is_same(one: str, other: str | None) -> bool:
    return other is not None and address.parse(one).key == address.parse(other).key


@dataclass(slots=True)
class _Desk:
    """Compiles each text once, and lets equal mails share what they say."""

    common: _Common
    limits: LimitSettings
    is_to_many: bool
    compiled: dict[object, Compiled | NewsletterError] = field(default_factory=dict)
    writings: dict[object, Writing] = field(default_factory=dict)
    designs: int = 0
    elements: int = 0

    def writing(self, body: Send, names: frozenset[str]) -> Writing:
        given = body.tracking.utm.given() if body.tracking.utm else {}
        added = utm.parameters(self.common.profile.utm, given)
        text = (body.subject, body.html, body.text, body.template_id, body.routing.purpose)
        compiled_key = (*text, names, *added.items())
        files = tuple(
            File(each.filename, each.media_type, each.content, each.content_id) for each in body.attachments
        )
        fields = tuple(body.headers.items())
        key = (compiled_key, body.reply_to, fields, files)
        if key not in self.writings:
            self.writings[key] = Writing(
                self._compiled(body, compiled_key, names, added), body.reply_to, fields, files
            )
        return self.writings[key]

    def _compiled(self, body: Send, key: object, names: frozenset[str], added: Mapping[str, str]) -> Compiled:
        if key not in self.compiled:
            try:
                self.compiled[key] = utm.tagged(self._compile(body, names), added)
            except NewsletterError as error:
                self.compiled[key] = error
        found = self.compiled[key]
        if isinstance(found, NewsletterError):
            raise found
        return found

    def _compile(self, body: Send, names: frozenset[str]) -> Compiled:
        frame = None if body.template_id is None else self.common.frames[body.template_id]
        if isinstance(frame, NewsletterError):
            raise frame
        if frame is not None:
            # Some milliseconds of a processor for each, in a call that somebody waits for.
            self.designs += 1
            if self.designs > self.limits.bulk_designs:
                raise ValidationFailed.of(
                    "template_id",
                    f"a call may hold at most {self.limits.bulk_designs} different texts in templates; "
                    "use 'variables' for what differs",
                )
        self.elements += extent.elements(body.html) if body.html is not None else 0
        if self.elements > self.limits.bulk_elements:
            raise ValidationFailed.of(
                "html",
                f"a call may hold at most {self.limits.bulk_elements:,} HTML elements in different texts; "
                "use 'variables' for what differs",
            )
        is_marketing = body.routing.purpose is Purpose.marketing
        branding = templates.branding_of(self.common.profile) if is_marketing else None
        return templates.compile_single(body.subject, body.html, body.text, names, frame, branding)


def _items(common: _Common, limits: LimitSettings, calls: Sequence[Sequence[Send]]) -> list[Ready]:
    found: list[Ready] = []
    for bodies in calls:
        named = sum(len(body.to) + len(body.cc) + len(body.bcc) for body in bodies)
        desk = _Desk(common, limits, is_to_many=named > urgency.FEW)
        for body in bodies:
            try:
                found.append(_item(desk, body))
            except NewsletterError as error:
                found.append(error)
    return found


def _item(desk: _Desk, body: Send) -> Item:
    _check_sizes(body, desk.limits)
    sender = desk.common.senders[_sender_key(body)]
    if isinstance(sender, NewsletterError):
        raise sender
    name = body.from_.name if body.from_ and body.from_.name else sender.from_name
    profile, tracking = desk.common.profile, body.tracking
    origin = Origin(
        Sender(sender.from_email, name, sender.reply_to, None),
        body.routing.purpose,
        tuple(body.tags),
        profile.track_opens if tracking.opens is None else tracking.opens,
        profile.track_clicks if tracking.clicks is None else tracking.clicks,
        desk.is_to_many,
    )
    variables = {name: as_text(value) for name, value in body.variables.items() if value is not None}
    writing = desk.writing(body, frozenset(body.variables))
    filled = dict.fromkeys(templates.ALWAYS_FILLED, "x") | variables
    if not writing.compiled.subject.merge(filled).strip():
        raise ValidationFailed.of("subject", "must not be empty once its merge tags are filled")
    return Item(origin, _recipients(body), writing, variables, body.scheduled_at)


def _recipients(body: Send) -> tuple[Recipient, ...]:
    """Each address once, where it is seen first."""
    found: dict[str, Recipient] = {}
    for role, people in ((Role.to, body.to), (Role.cc, body.cc), (Role.bcc, body.bcc)):
        for each in people:
            found.setdefault(each.address.key, Recipient(each.address, each.name, role))
    return tuple(found.values())


def _check_sizes(body: Send, limits: LimitSettings) -> None:
    """Raises `ValidationFailed` with everything that no single field can know."""
    errors: dict[str, list[str]] = {}
    if not body.to and (body.cc or not body.bcc):
        errors["to"] = ["must have at least 1 address; only blind copies alone need none"]
    elif len(body.to) + len(body.cc) + len(body.bcc) > limits.recipients:
        errors["to"] = [f"to, cc and bcc must have at most {limits.recipients} addresses together"]
    if body.html is None and body.text is None and body.template_id is None:
        errors["html"] = ["is missing: send 'html', 'text' or 'template_id'"]
    errors |= extent.excess(body.html, body.text, limits)
    # They share a header, and one that cannot be written would keep the mail from all of them. Blind copies
    # alone see their own address there.
    for role, people in (("to", body.to), ("cc", body.cc), ("bcc", () if body.to else body.bcc)):
        for each in people:
            try:
                headers.recipient(role, each.address.spelling, each.name)
            except HeaderInvalid:
                errors[role] = [f"must not have {each.address.spelling}, which no header can show"]
    if body.reply_to is not None:
        try:
            headers.mailbox("Reply-To", body.reply_to)
        except HeaderInvalid:
            errors["reply_to"] = ["must be an address that ASCII can write"]
    if len(body.attachments) > limits.attachments:
        errors["attachments"] = [f"must be at most {limits.attachments} files"]
    elif sum(len(each.content) for each in body.attachments) > limits.attachment_bytes:
        errors["attachments"] = [f"must have at most {limits.attachment_bytes:,} bytes together"]
    if errors:
        raise ValidationFailed(errors=errors)
