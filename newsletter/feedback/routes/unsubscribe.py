"""``/u/{token}``: the unsubscribe link of a mail.

GET shows a page and changes nothing, because scanners and mail programs open links. POST
unsubscribes: from the page's button, or from the mailbox provider's own (RFC 8058), which
sends ``List-Unsubscribe=One-Click`` as one of two kinds of form, without cookies, and
follows no redirect.
"""

from pathlib import Path
from typing import Any

from litestar import Controller, HttpMethod, MediaType, Request, Response, post, route
from litestar.di import NamedDependency
from litestar.params import FromPath
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts import queries as accounts
from newsletter.audience import queries as audience
from newsletter.audience.queries import Standing
from newsletter.delivery import queries as delivery
from newsletter.delivery.links import PREVIEW, Links, MessageRef
from newsletter.delivery.queries import FoundMessage
from newsletter.feedback import service
from newsletter.kit import address
from newsletter.kit.db import Database
from newsletter.kit.errors import NewsletterError, NotFound
from newsletter.kit.pages import HEADERS, Pages
from newsletter.kit.tokens import BadToken

PAGES = Pages(Path(__file__).parents[1] / "pages")
MAX_FORM_BYTES = 64_000

ONE_CLICK = "one-click"
BUTTON = "unsubscribe page"


class UnknownForm(NewsletterError):
    code, status = "unknown_form", 400
    summary = "This is neither the page's own form nor a one-click unsubscribe (RFC 8058)."


class UnsubscribeController(Controller):
    path = "/u"
    include_in_schema = False
    opt = {"answers": "page"}  # noqa: RUF012 - Litestar reads it as a class attribute.

    @route("/{token:str}", http_method=[HttpMethod.GET, HttpMethod.HEAD])
    async def show(
        self, db: NamedDependency[Database], links: NamedDependency[Links], token: FromPath[str]
    ) -> Response[str]:
        ref = _read(links, token)
        if ref is None:
            return _page(_preview())
        if ref.subscriber_id is None:
            return _page(await _of_single(db, ref))
        async with db.read() as session:
            standing = await audience.standing(session, ref.subscriber_id)
            if standing is None:
                return _page(_unknown())
            if standing.has_left:
                return _page(_left(standing))
            sender = await _sender(session, standing)
        return _page(
            PAGES.render(
                "unsubscribe.html",
                list_name=standing.list_name,
                address=address.masked(standing.email),
                sender=sender,
            )
        )

    @post("/{token:str}", status_code=200, request_max_body_size=MAX_FORM_BYTES)
    async def leave(
        self,
        request: Request[Any, Any, Any],
        db: NamedDependency[Database],
        links: NamedDependency[Links],
        token: FromPath[str],
    ) -> Response[str]:
        ref = _read(links, token)
        source = await _source(request)
        if ref is None:
            return _page(_preview())
        ip = request.client.host if request.client else None
        async with db.unit_of_work() as session:
            await service.unsubscribe(session, ref, source=source, ip=ip)
            if ref.subscriber_id is None:
                message = await delivery.single_marketing(session, ref)
                return _page(_left_all(message) if message else _preview())
            standing = await audience.standing(session, ref.subscriber_id)
        return _page(_left(standing) if standing else _unknown())


async def _of_single(db: Database, ref: MessageRef) -> str:
    """The page for marketing that was sent by a call, and belongs to no list."""
    async with db.read() as session:
        message = await delivery.single_marketing(session, ref)
        if message is None:
            return _preview()
        project = await accounts.project_by_id(session, message.project_id)
        profile = await accounts.profile(session, project) if project else None
    sender = profile.brand_name if profile else ""
    return PAGES.render(
        "unsubscribe.html", list_name=sender, address=address.masked(message.address), sender=sender
    )


def _left_all(message: FoundMessage) -> str:
    return PAGES.notice(
        "You are unsubscribed",
        f"{address.masked(message.address)} gets no more marketing from this sender.",
        note="Mails about what you order or do there still come. You can close this page.",
    )


def _read(links: Links, token: str) -> MessageRef | None:
    """None for the link of a preview."""
    if token == PREVIEW:
        return None
    try:
        return links.read_unsubscribe(token)
    except BadToken:
        raise NotFound(
            "The link is not complete, perhaps because it was cut at the end of a line. "
            "Open the mail again and use the link there, or answer the mail and ask to be removed."
        ) from None


async def _source(request: Request[Any, Any, Any]) -> str:
    form = await request.form()
    if form.get("List-Unsubscribe") == "One-Click":
        return ONE_CLICK
    if form.get("confirm") == "unsubscribe":
        return BUTTON
    raise UnknownForm()


async def _sender(session: AsyncSession, standing: Standing) -> str:
    project = await accounts.project_by_id(session, standing.project_id)
    # A subscriber's project is there: the foreign key says so.
    profile = await accounts.profile(session, project) if project else None
    return profile.brand_name if profile else ""


def _left(standing: Standing) -> str:
    who, where = address.masked(standing.email), standing.list_name
    return PAGES.notice(
        "You are unsubscribed",
        f"{who} is off the list “{where}” and gets no more mails of it.",
        note="A mail that is already on its way may still arrive. You can close this page.",
    )


def _unknown() -> str:
    return PAGES.notice(
        "You are not subscribed",
        "The address that this mail went to is on no list any more, so there is nothing left to do.",
    )


def _preview() -> str:
    return PAGES.notice(
        "This is a preview link",
        "It stands in a preview or a test mail. In the mail that a subscriber gets, it leads to the page "
        "to unsubscribe.",
        note="Nobody was unsubscribed.",
    )


def _page(html: str) -> Response[str]:
    return Response(html, media_type=MediaType.HTML, headers=HEADERS)
