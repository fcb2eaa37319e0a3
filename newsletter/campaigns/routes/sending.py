"""``/campaigns/{id}/…``: sends a campaign, pauses, resumes and cancels it."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeAlias
from uuid import UUID

from litestar import Controller, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts.project import Principal, Project
from newsletter.campaigns import control, drafting, launch, queries, service
from newsletter.campaigns.access import campaign_of_path
from newsletter.campaigns.drafting import Studio
from newsletter.campaigns.models import Campaign
from newsletter.campaigns.routes import IfMatch
from newsletter.campaigns.schemas import CampaignOut, CampaignSend
from newsletter.kit import versions
from newsletter.kit.db import Database
from newsletter.kit.idempotency import Once
from newsletter.kit.schema import Data
from newsletter.plans.catalogue import CallClass

SendBody = JSONBody[CampaignSend | None]


class SendingController(Controller):
    path = "/campaigns"
    tags = ("Campaigns",)

    @post(
        "/{campaign_id:str}/send",
        operation_id="send_campaign",
        summary="Send a campaign, now or at a time",
        opt={"scope": "send", "calls": CallClass.sends},
        status_code=200,
    )
    async def send(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        studio: NamedDependency[Studio],
        once: NamedDependency[Once],
        campaign_id: FromPath[str],
        data: SendBody = None,
        if_match: IfMatch = None,
    ) -> Data[CampaignOut]:
        return await _send(db, principal, studio, once, campaign_id, data, if_match)

    @post(
        "/{campaign_id:str}/launch",
        operation_id="launch_campaign",
        summary="The same as send",
        opt={"scope": "send", "calls": CallClass.sends},
        status_code=200,
    )
    async def launch(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        studio: NamedDependency[Studio],
        once: NamedDependency[Once],
        campaign_id: FromPath[str],
        data: SendBody = None,
        if_match: IfMatch = None,
    ) -> Data[CampaignOut]:
        return await _send(db, principal, studio, once, campaign_id, data, if_match)

    @post(
        "/{campaign_id:str}/pause",
        operation_id="pause_campaign",
        summary="Pause a campaign that is being sent",
        opt={"scope": "send"},
        status_code=200,
    )
    async def pause(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        once: NamedDependency[Once],
        campaign_id: FromPath[str],
        if_match: IfMatch = None,
    ) -> Data[CampaignOut]:
        return await _steer(control.pause, db, principal, once, campaign_id, if_match)

    @post(
        "/{campaign_id:str}/resume",
        operation_id="resume_campaign",
        summary="Go on with a paused campaign",
        opt={"scope": "send"},
        status_code=200,
    )
    async def resume(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        studio: NamedDependency[Studio],
        once: NamedDependency[Once],
        campaign_id: FromPath[str],
        if_match: IfMatch = None,
    ) -> Data[CampaignOut]:
        change = partial(control.resume, settings=studio.settings.delivery)
        return await _steer(change, db, principal, once, campaign_id, if_match)

    @post(
        "/{campaign_id:str}/cancel",
        operation_id="cancel_campaign",
        summary="Cancel a scheduled campaign, or stop one that is being sent",
        opt={"scope": "send"},
        status_code=200,
    )
    async def cancel(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        once: NamedDependency[Once],
        campaign_id: FromPath[str],
        if_match: IfMatch = None,
    ) -> Data[CampaignOut]:
        return await _steer(control.cancel, db, principal, once, campaign_id, if_match)

    @post(
        "/{campaign_id:str}/resend-unknown",
        operation_id="resend_unknown",
        summary="Send again what nobody knows the fate of",
        opt={"scope": "send", "calls": CallClass.sends},
        status_code=200,
    )
    async def resend_unknown(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        studio: NamedDependency[Studio],
        once: NamedDependency[Once],
        campaign_id: FromPath[str],
        if_match: IfMatch = None,
    ) -> Data[CampaignOut]:
        """A message is ``unknown`` when the connection or the worker was lost before the sending
        server had answered: it may have arrived. It goes out again with the same Message-ID, and uses a
        mail of your plan again."""
        change = partial(control.resend_unknown, plan=principal.plan, settings=studio.settings.delivery)
        return await _steer(change, db, principal, once, campaign_id, if_match)


Steer: TypeAlias = Callable[[AsyncSession, Project, UUID, int | None], Awaitable[Campaign]]


async def _steer(
    change: Steer, db: Database, principal: Principal, once: Once, campaign_id: str, if_match: str | None
) -> Data[CampaignOut]:
    version = versions.read(if_match)
    async with db.unit_of_work() as session:
        found = await campaign_of_path(session, principal, campaign_id)
        campaign = await change(session, principal.project, found.id, version)
        out = Data[CampaignOut](data=await queries.shown(session, campaign))
        await once.keep(session, 200, out)
    return out


async def _send(
    db: Database,
    principal: Principal,
    studio: Studio,
    once: Once,
    campaign_id: str,
    data: CampaignSend | None,
    if_match: str | None,
) -> Data[CampaignOut]:
    seen = versions.read(if_match)
    async with db.read() as session:
        campaign = await campaign_of_path(session, principal, campaign_id)
        await drafting.check_from(session, principal, campaign.from_email)
        launch.check_sendable(campaign)
        versions.check(campaign.version, seen)
        frame = await service.frame_of(session, principal.project, campaign, studio)
    mail = await service.compile_campaign(frame, campaign)
    project, settings = principal.project, studio.settings
    at = data.scheduled_at if data is not None else None
    asked = campaign.segment_id if at is None else None
    async with launch.unit_of_work(db, project, asked, settings) as session:
        locked = await queries.one(session, project, campaign.id, lock=True)
        launch.check_sendable(locked)
        versions.check(locked.version, campaign.version)
        if data is not None and at is not None:
            await service.schedule(session, project, locked, at, data.scheduled_timezone)
        else:
            await launch.start(session, project, locked, mail, plan=principal.plan, settings=settings)
        out = Data[CampaignOut](data=await queries.shown(session, locked))
        await once.keep(session, 200, out)
    return out
