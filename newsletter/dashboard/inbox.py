"""``/inbox/{token}``: where people read the mails of a test project.

The token is the permission: `GET /project` shows the link. A mail's HTML is served from a
URL of its own and shown in a frame, so that neither can its style reach the page nor can
anything in it run.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlencode
from uuid import UUID
from zoneinfo import ZoneInfo

from litestar import Controller, MediaType, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts import queries as accounts
from newsletter.accounts.inbox import read_inbox_token
from newsletter.accounts.project import Project
from newsletter.kit import ids, paging
from newsletter.kit.db import Database
from newsletter.kit.errors import NotFound, ValidationFailed
from newsletter.kit.pages import FOREIGN_HEADERS, HEADERS, Pages
from newsletter.kit.tokens import BadToken, Signer
from newsletter.sandbox import opened, queries

PAGES = Pages(Path(__file__).parent / "pages")
PER_PAGE = 50
PREFIX = "sbx"


class Show(StrEnum):
    """The ways to look at a mail; each is a link, so the page needs no script."""

    desktop = "desktop"
    phone = "phone"
    text = "text"
    headers = "headers"


@dataclass(frozen=True, slots=True)
class Owner:
    """The project whose inbox it is."""

    project: Project
    name: str
    zone: ZoneInfo


@dataclass(frozen=True, slots=True)
class Line:
    """One mail in the list."""

    id: str
    to: str
    subject: str
    at: datetime


class InboxController(Controller):
    path = "/inbox"
    include_in_schema = False
    opt = {"answers": "page"}  # noqa: RUF012 - Litestar reads it as a class attribute.

    @get("/{token:str}")
    async def index(
        self,
        db: NamedDependency[Database],
        signer: NamedDependency[Signer],
        token: FromPath[str],
        to: FromQuery[str] = "",
        cursor: FromQuery[str | None] = None,
    ) -> Response[str]:
        wanted = to.replace("\0", "").strip()
        after = _cursor(cursor)
        async with db.read() as session:
            owner = await _owner(session, signer, token)
            chosen = queries.listed(owner.project, to=wanted or None, after=after)
            # One more than the page shows tells whether there is another page.
            rows = (await session.scalars(chosen.limit(PER_PAGE + 1))).all()
            total = await queries.count(session, owner.project)
        shown = rows[:PER_PAGE]
        older = {"cursor": shown[-1].id.hex} | ({"to": wanted} if wanted else {}) if rows[PER_PAGE:] else None
        return _page(
            PAGES.render(
                "inbox.html",
                owner=owner.name,
                base=token,
                total=total,
                to=wanted,
                is_first=after is None,
                older=urlencode(older) if older else None,
                mails=[
                    Line(
                        ids.public(PREFIX, row.id),
                        row.to_email,
                        row.subject,
                        row.received_at.astimezone(owner.zone),
                    )
                    for row in shown
                ],
            )
        )

    @get("/{token:str}/{id:str}")
    async def read(
        self,
        db: NamedDependency[Database],
        signer: NamedDependency[Signer],
        token: FromPath[str],
        id: FromPath[str],
        show: FromQuery[str | None] = None,
    ) -> Response[str]:
        async with db.read() as session:
            owner = await _owner(session, signer, token)
            row = await queries.find(session, owner.project, _private(id))
        if row is None:
            raise _gone()
        mail = opened.read(opened.inflate(row.raw))
        return _page(
            PAGES.render(
                "mail.html",
                owner=owner.name,
                inbox=token,
                base=id,
                subject=row.subject,
                sender=dict(mail.headers).get("From", row.from_email),
                to=row.to_email,
                at=row.received_at.astimezone(owner.zone),
                mail=mail,
                show=_way(show, has_html=mail.html is not None),
                ways=[way for way in Show if mail.html is not None or way in (Show.text, Show.headers)],
            )
        )

    @get("/{token:str}/{id:str}/html")
    async def html(
        self,
        db: NamedDependency[Database],
        signer: NamedDependency[Signer],
        token: FromPath[str],
        id: FromPath[str],
    ) -> Response[str]:
        content = await _content(db, signer, token, id)
        html = opened.read(content).html
        if html is None:
            raise _gone()
        return Response(_opening_beside(html), media_type=MediaType.HTML, headers=FOREIGN_HEADERS)

    @get("/{token:str}/{id:str}/raw")
    async def raw(
        self,
        db: NamedDependency[Database],
        signer: NamedDependency[Signer],
        token: FromPath[str],
        id: FromPath[str],
    ) -> Response[bytes]:
        content = await _content(db, signer, token, id)
        headers = {**HEADERS, "Content-Disposition": f'attachment; filename="{id}.eml"'}
        return Response(content, media_type="message/rfc822", headers=headers)


async def _owner(session: AsyncSession, signer: Signer, token: str) -> Owner:
    try:
        project_id = read_inbox_token(signer, token)
    except BadToken:
        raise NotFound("The link to this inbox is not complete. GET /project shows it.") from None
    project = await accounts.project_by_id(session, project_id)
    if project is None or not project.is_test:
        raise NotFound("This project has no inbox.")
    profile = await accounts.profile(session, project)
    return Owner(project, profile.name, ZoneInfo(profile.time_zone))


async def _content(db: Database, signer: Signer, token: str, message_id: str) -> bytes:
    async with db.read() as session:
        owner = await _owner(session, signer, token)
        row = await queries.find(session, owner.project, _private(message_id))
    if row is None:
        raise _gone()
    return opened.inflate(row.raw)


def _opening_beside(html: str) -> str:
    """A link of the mail opens a tab of its own: most pages refuse to be shown in a frame."""
    base = '<base target="_blank">'
    found = re.search(r"<head\b[^>]*>", html, re.IGNORECASE)
    return html[: found.end()] + base + html[found.end() :] if found else base + html


def _private(text: str) -> UUID:
    try:
        return ids.private(PREFIX, text)
    except ValueError:
        raise _gone() from None


def _gone() -> NotFound:
    return NotFound("This mail is not in the inbox any more: it was deleted, or newer ones took its place.")


def _cursor(text: str | None) -> UUID | None:
    try:
        return paging.read_cursor(text)
    except ValidationFailed:
        raise NotFound("There is no such page of this inbox.") from None


def _way(text: str | None, *, has_html: bool) -> Show:
    known = text if text in {way.value for way in Show} else None
    way = Show(known) if known else Show.desktop
    return Show.text if not has_html and way in (Show.desktop, Show.phone) else way


def _page(html: str) -> Response[str]:
    return Response(html, media_type=MediaType.HTML, headers=HEADERS)
