"""``/v/{token}``: a mail in the browser, for whom a mail program showed it badly."""

from litestar import Controller, HttpMethod, MediaType, Response, route
from litestar.di import NamedDependency
from litestar.params import FromPath
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.audience import queries as audience
from newsletter.delivery import queries, sheaf
from newsletter.delivery.letter import Letter
from newsletter.delivery.links import PREVIEW, Links, MessageRef
from newsletter.delivery.models import MailingKind
from newsletter.delivery.return_path import ReturnPaths
from newsletter.kit.db import Database
from newsletter.kit.errors import NewsletterError, NotFound
from newsletter.kit.pages import FOREIGN_HEADERS, HEADERS, Pages
from newsletter.kit.tokens import BadToken

PAGES = Pages()


class MailGone(NewsletterError):
    code, status = "mail_gone", 410
    summary = "This mail is not kept any more, or the person it went to has been removed."


class ViewController(Controller):
    path = "/v"
    include_in_schema = False
    opt = {"answers": "page"}  # noqa: RUF012 - Litestar reads it as a class attribute.

    @route("/{token:str}", http_method=[HttpMethod.GET, HttpMethod.HEAD])
    async def show(
        self,
        db: NamedDependency[Database],
        links: NamedDependency[Links],
        return_paths: NamedDependency[ReturnPaths],
        token: FromPath[str],
    ) -> Response[str]:
        """The mail as it was sent, with what is known of its reader today."""
        if token == PREVIEW:
            return Response(_preview(), media_type=MediaType.HTML, headers=HEADERS)
        try:
            ref = links.read_view(token)
        except BadToken:
            raise NotFound(
                "The link is not complete, perhaps because it was cut at the end of a line. "
                "Open the mail again and use the link there."
            ) from None
        async with db.read() as session:
            html = await _render(session, links, return_paths, ref)
        return Response(html, media_type=MediaType.HTML, headers=FOREIGN_HEADERS)


async def _render(session: AsyncSession, links: Links, return_paths: ReturnPaths, ref: MessageRef) -> str:
    mailing = await queries.find_mailing(session, ref.mailing_id)
    message = await queries.by_key(session, ref.mailing_id, ref.seq)
    if mailing is None or message is None or message.subscriber_id != ref.subscriber_id:
        raise MailGone()
    if queries.is_erased(message.address):
        raise MailGone()
    person = None
    if ref.subscriber_id is not None:
        people = await audience.merge_data(session, mailing.project_id, [ref.subscriber_id])
        person = people.get(ref.subscriber_id)
        if person is None:
            raise MailGone()
    parts = {}
    if mailing.kind in sheaf.KINDS:
        parts = await sheaf.parts(session, ref.mailing_id, ref.seq, ref.seq)
    if mailing.kind is not MailingKind.transactional:
        variables = parts[ref.seq].variables if parts else None
        return Letter(mailing, links, return_paths).render(ref, message.address, person, variables).html
    part = parts[ref.seq]
    own = (await sheaf.enclosed(session, ref.mailing_id, [part.content])).get(part.content)
    if own is None or not own.compiled:  # Kept for so long, or erased.
        raise MailGone()
    letter = Letter(mailing, links, return_paths, enclosed=own)
    return letter.render(ref, message.address, None, part.variables).html


def _preview() -> str:
    return PAGES.notice(
        "This is a preview link",
        "It stands in a preview. In the mail that a subscriber gets, it shows that mail in the browser.",
    )
