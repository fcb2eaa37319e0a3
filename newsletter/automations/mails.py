"""The mails of send steps: checked and compiled outside of any transaction, then handed to sending."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import cast
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts import queries as accounts
from newsletter.accounts.project import Profile, Project
from newsletter.audience import queries as audience
from newsletter.automations.models import Automation
from newsletter.automations.schemas import SendStep
from newsletter.campaigns import drafting, launch
from newsletter.campaigns.drafting import Studio
from newsletter.campaigns.errors import ListGone
from newsletter.delivery import senders, utm
from newsletter.delivery import service as delivery
from newsletter.delivery.models import MailingKind
from newsletter.delivery.service import Order, Sender
from newsletter.kit import ids
from newsletter.kit.bulk import among
from newsletter.kit.errors import NewsletterError
from newsletter.plans.catalogue import Plan, Resource
from newsletter.settings import Settings
from newsletter.templates.compile import Compiled
from newsletter.templates.service import Frame

Frames = Mapping[UUID | None, Frame | NewsletterError]
"""By the template that a step names."""


async def frames(
    session: AsyncSession, project: Project, studio: Studio, sends: Sequence[SendStep]
) -> Frames:
    """The frame of each mail, or what is wrong with its template."""
    found: dict[UUID | None, Frame | NewsletterError] = {}
    for template_id in {send.template_id for send in sends}:
        try:
            found[template_id] = await drafting.frame_of(session, project, studio, template_id)
        except NewsletterError as error:
            found[template_id] = error
    return found


async def compiled(known: Frames, send: SendStep, variables: Collection[str]) -> Compiled | NewsletterError:
    """The mail, with a slot for each of the automation's variables, or what is wrong with it. Takes some
    milliseconds of a thread."""
    frame = known[send.template_id]
    if isinstance(frame, NewsletterError):
        return frame
    try:
        return await drafting.compiled_in(frame, send.subject, send.preheader, send.html, variables)
    except NewsletterError as error:
        return error


@dataclass(frozen=True, slots=True)
class Post:
    """What the mails of an automation have in common."""

    profile: Profile
    list_name: str


async def post_of(session: AsyncSession, project: Project, automation: Automation) -> Post:
    """Raises `ListGone`."""
    listed = await audience.find_list(session, project, automation.list_id, share=True)
    if listed is None:
        raise ListGone("The automation's list is gone. Choose another with PATCH.")
    return Post(await accounts.profile(session, project), listed.name)


async def sender_of(
    session: AsyncSession, project: Project, post: Post, send: SendStep, settings: Settings
) -> Sender:
    """Raises the 409 that names what is missing."""
    profile = post.profile
    from_email = await senders.check(session, project, profile, send.from_email, settings)
    return Sender(
        from_email=from_email,
        from_name=send.from_name or profile.from_name,
        reply_to=send.reply_to or profile.reply_to,
        list_name=post.list_name,
    )


async def send(
    session: AsyncSession,
    project: Project,
    automation: Automation,
    step: SendStep,
    mail: Compiled,
    values: Mapping[UUID, Mapping[str, str]],
    *,
    plan: Plan,
    settings: Settings,
) -> dict[UUID, tuple[UUID, int]]:
    """One mailing to the subscribers who have ``values`` of its variables; returns the message of each. Who
    may not be mailed has none.

    Raises what a launch of a campaign raises, `QuotaExceeded` among it.
    """
    post = await post_of(session, project, automation)
    sender = await sender_of(session, project, post, step, settings)
    chosen = launch.recipients(project, automation.list_id, sender.from_email)
    wanted = among(session, chosen.selected_columns[0], values.keys())
    people = [cast(tuple[UUID, str, str], tuple(row)) for row in await session.execute(chosen.where(wanted))]
    if not people:
        return {}
    named = {
        "campaign_id": ids.public("aut", automation.id),
        "campaign_name": automation.name,
        "list_name": post.list_name,
    }
    parameters = utm.parameters(post.profile.utm, values=named)
    order = Order(
        kind=MailingKind.automation,
        source_id=automation.id,
        list_id=automation.list_id,
        content=(await asyncio.to_thread(utm.tagged, mail, parameters)).to_json(),
        sender=sender,
        track_opens=post.profile.track_opens,
        track_clicks=post.profile.track_clicks,
    )
    started = await delivery.start_with(
        session,
        project,
        order,
        people,
        mail_limit=plan.limits[Resource.mails],
        settings=settings.delivery,
        variables=[values[subscriber_id] for subscriber_id, *_ in people] if automation.variables else (),
    )
    return {
        subscriber_id: (started.mailing_id, number) for number, (subscriber_id, *_) in enumerate(people, 1)
    }
