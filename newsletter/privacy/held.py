"""Gathers what a project holds of one person (GDPR Art. 15 and 20)."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts.project import Project
from newsletter.audience import person
from newsletter.automations import person as automations
from newsletter.delivery import history
from newsletter.delivery.history import Wanted
from newsletter.events import queries as events
from newsletter.feedback import repeated
from newsletter.feedback.schemas import SuppressionOut
from newsletter.kit import clock, ids
from newsletter.privacy.schemas import HeldEvent, HeldPerson
from newsletter.suppressions import queries as suppressions
from newsletter.transactional import tracing
from newsletter.transactional.answers import MessageSummary

MOST = 10_000
"""Messages, events and runs, of each, in one export."""
_PAGE = 500
_SUPPRESSIONS = 1_000


async def export(session: AsyncSession, project: Project, subscriber_id: UUID) -> HeldPerson:
    """Raises `newsletter.kit.errors.NotFound`."""
    who = await person.held(session, project, subscriber_id)
    shown = await _messages(session, project, who.address_key)
    found = await events.about(
        session,
        project.id,
        subscriber_ids=[ids.public("sub", each) for each in who.known_as],
        message_ids=[each.id for each in shown],
        limit=MOST + 1,
    )
    runs = await automations.held(session, project, who.known_as, limit=MOST + 1)
    held = await suppressions.listed(session, project.id, address_key=who.address_key, limit=_SUPPRESSIONS)
    return HeldPerson(
        email=who.address_key,
        exported_at=clock.now(),
        is_complete=max(len(shown), len(found), len(runs)) <= MOST and len(held) < _SUPPRESSIONS,
        subscribers=who.subscribers,
        consents=who.consents,
        suppressions=[SuppressionOut.of(each) for each in held],
        soft_bounces=await repeated.counted(session, project.id, who.address_key),
        messages=shown[:MOST],
        runs=runs[:MOST],
        events=[
            HeldEvent(id=each.id, type=each.type, at=each.created_at, data=each.data) for each in found[:MOST]
        ],
    )


async def _messages(session: AsyncSession, project: Project, address_key: str) -> list[MessageSummary]:
    """Page by page, since what is read of each is wide."""
    found: list[MessageSummary] = []
    wanted = Wanted(address_key=address_key)
    while len(found) <= MOST:
        after = found[-1].id if found else None
        page = await history.listed(session, project, wanted, after=after, limit=_PAGE)
        found += await tracing.shown(session, page)
        if len(page) < _PAGE:
            break
    return found
