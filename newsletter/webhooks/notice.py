"""Tells an account's owner that an endpoint was switched off: a single mail of the project, on its way as
any other."""

from datetime import timedelta
from urllib.parse import urlsplit
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts import queries as accounts
from newsletter.accounts.project import Profile, Project
from newsletter.delivery import posting, senders
from newsletter.delivery.posting import Item, Origin, Recipient, Writing
from newsletter.delivery.service import Sender
from newsletter.kit import address, ids, prepared
from newsletter.kit.db import Database
from newsletter.kit.errors import NewsletterError
from newsletter.providers.base import Purpose
from newsletter.settings import Settings
from newsletter.templates.compile import Compiled
from newsletter.templates.whole import compile_whole
from newsletter.webhooks.models import DisabledReason, Endpoint

log = structlog.get_logger(__name__)

TAG = "webhook-disabled"
"""By which these mails are found and counted."""
TOLD_RECENTLY = "told_recently"
"""Stands for the code of what is missing."""
_SUBJECT = "A webhook endpoint was switched off: {{host}}"
_TEXT = """\
The project "{{project}}" has a webhook endpoint that is not called any more:

{{endpoint}}
{{endpoint_id}}

{{why}}

What happens from now on is not delivered to it later. Once it works again, set is_active to true with
PATCH /webhooks/{{endpoint_id}}. What waited for it when it was switched off is delivered once more by
POST /webhooks/{{endpoint_id}}/replay with the status "exhausted".
"""
_WHY = {
    DisabledReason.gone: "It answered 410 (Gone), which asks for no further calls.",
    DisabledReason.failing: "For days it has acknowledged none of its calls.",
}


async def tell_owner(db: Database, settings: Settings, endpoint_id: UUID) -> None:
    """Once for each time that the endpoint was switched off, and once in ``notice_hours`` at most: who only
    switches it on again, while it answers 410, gets no mail each time. Safe to run twice. Where the project
    cannot send, the endpoint says what is missing, and so does the log of the process."""
    async with db.unit_of_work() as session:
        endpoint = await session.get(Endpoint, endpoint_id, with_for_update=True)
        if endpoint is None or endpoint.disabled_reason is None:
            return
        if endpoint.owner_message_id is not None or endpoint.owner_untold_code is not None:
            return
        project = await accounts.project_by_id(session, endpoint.project_id)
        if project is None:
            return
        now = await prepared.now(session)
        interval = timedelta(hours=settings.webhooks.notice_hours)
        if endpoint.owner_told_at is not None and now - endpoint.owner_told_at < interval:
            endpoint.owner_untold_code = TOLD_RECENTLY
            return
        try:
            reason = DisabledReason(endpoint.disabled_reason)
            endpoint.owner_message_id = await _post(session, project, endpoint, reason, settings)
            endpoint.owner_told_at = now
        except NewsletterError as error:
            endpoint.owner_untold_code = error.code
            log.warning(
                "the owner of a switched-off endpoint could not be told",
                endpoint_id=str(endpoint_id),
                code=error.code,
            )


async def _post(
    session: AsyncSession, project: Project, endpoint: Endpoint, reason: DisabledReason, settings: Settings
) -> str:
    """The message's public id. Raises the 409 that names what sending lacks, before anything is written."""
    profile = await accounts.profile(session, project)
    sender = await senders.check(session, project, profile, None, settings, Purpose.transactional)
    owner = address.parse((await accounts.account(session, project)).email)
    item = Item(
        Origin(Sender(sender, profile.from_name, None, None), Purpose.transactional, (TAG,)),
        (Recipient(owner),),
        Writing(_compiled()),
        _values(profile, endpoint, reason),
    )
    # Out of the plan's mails as well, but not refused for want of them: it is we who want to send it.
    ((posted,),) = await posting.post(session, project, [item], mail_limit=None, settings=settings.delivery)
    return posted.id


def _compiled() -> Compiled:
    names = {"host", "project", "endpoint", "endpoint_id", "why"}
    return compile_whole(subject=_SUBJECT, html=None, text=_TEXT, allowed=names)


def _values(profile: Profile, endpoint: Endpoint, reason: DisabledReason) -> dict[str, str]:
    # Without its query, where some keep a password.
    url = urlsplit(endpoint.url)
    return {
        "host": url.netloc,
        "project": profile.name,
        "endpoint": f"{url.scheme}://{url.netloc}{url.path}",
        "endpoint_id": ids.public("whe", endpoint.id),
        "why": _WHY[reason],
    }
