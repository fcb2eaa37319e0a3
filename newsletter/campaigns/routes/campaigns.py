"""``/campaigns``."""

import asyncio
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from litestar import Controller, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts.project import Principal
from newsletter.audience import queries as audience
from newsletter.campaigns import drafting, launch, queries, service
from newsletter.campaigns.access import campaign_of_path, campaign_to_read
from newsletter.campaigns.drafting import Studio
from newsletter.campaigns.models import CampaignStatus
from newsletter.campaigns.routes import IfMatch
from newsletter.campaigns.schemas import (
    CampaignCreate,
    CampaignOut,
    CampaignSummary,
    CampaignTest,
    CampaignUpdate,
    Preview,
    TestSent,
)
from newsletter.delivery import utm
from newsletter.kit import address, ids, paging, versions
from newsletter.kit.db import Database
from newsletter.kit.errors import Forbidden, ValidationFailed
from newsletter.kit.idempotency import Once
from newsletter.kit.schema import Data, Page
from newsletter.plans.catalogue import CallClass
from newsletter.templates.sanitise import sanitise_body


class CampaignController(Controller):
    path = "/campaigns"
    tags = ("Campaigns",)

    @get(operation_id="list_campaigns", summary="List campaigns", opt={"scope": "campaigns:read"})
    async def index(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        status: FromQuery[CampaignStatus | None] = None,
        list_id: FromQuery[str | None] = None,
        page: FromQuery[int] = 1,
        per_page: FromQuery[int] = 20,
    ) -> Page[CampaignSummary]:
        chosen = queries.listed(principal, status, ids.in_query("lst", "list_id", list_id))
        async with db.read() as session:
            rows, meta = await paging.numbered(session, chosen, page, per_page)
            return Page(data=await queries.shown_many(session, rows), meta=meta)

    @post(
        operation_id="create_campaign",
        summary="Create a campaign from a topic or from HTML",
        opt={"scope": "campaigns:write", "calls": CallClass.campaigns},
    )
    async def create(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        studio: NamedDependency[Studio],
        once: NamedDependency[Once],
        data: JSONBody[CampaignCreate],
    ) -> Data[CampaignOut]:
        if data.send or data.scheduled_at:
            _need_send(principal)
        asked = data.segment_id if data.send and data.scheduled_at is None else None
        async with (
            drafting.drafted(db, principal, studio, data) as ready,
            launch.unit_of_work(db, principal.project, asked, studio.settings) as session,
        ):
            campaign = await drafting.insert(session, principal, ready)
            if data.scheduled_at is not None:
                await service.schedule(
                    session, principal.project, campaign, data.scheduled_at, data.scheduled_timezone
                )
            elif data.send:
                await launch.start(
                    session,
                    principal.project,
                    campaign,
                    ready.compiled,
                    plan=principal.plan,
                    settings=studio.settings,
                )
            out = Data[CampaignOut](data=await queries.shown(session, campaign))
            await once.keep(session, 201, out)
        return out

    @get(
        "/{campaign_id:str}",
        operation_id="get_campaign",
        summary="Read a campaign",
        opt={"scope": "campaigns:read"},
    )
    async def read(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        campaign_id: FromPath[str],
    ) -> Data[CampaignOut]:
        return await _read(db, principal, campaign_id)

    @patch(
        "/{campaign_id:str}",
        operation_id="update_campaign",
        summary="Change a campaign that has not begun",
        opt={"scope": "campaigns:write"},
    )
    async def update(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        studio: NamedDependency[Studio],
        campaign_id: FromPath[str],
        data: JSONBody[CampaignUpdate],
        if_match: IfMatch = None,
    ) -> Data[CampaignOut]:
        version = versions.read(if_match)
        if data.scheduled_at is not None:
            _need_send(principal)
        changes = await _checked_changes(db, principal, studio, campaign_id, data)
        async with db.unit_of_work() as session:
            key = ids.in_path("cmp", campaign_id)
            campaign = await service.update(session, principal.project, key, changes, version=version)
            return Data(data=await queries.shown(session, campaign))

    @delete(
        "/{campaign_id:str}",
        operation_id="delete_campaign",
        summary="Delete a draft, or a campaign whose launch failed",
        opt={"scope": "campaigns:write"},
    )
    async def remove(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        campaign_id: FromPath[str],
        if_match: IfMatch = None,
    ) -> None:
        version = versions.read(if_match)
        async with db.unit_of_work() as session:
            campaign = await campaign_of_path(session, principal, campaign_id)
            await service.remove(session, principal.project, campaign.id, version=version)

    @post(
        "/{campaign_id:str}/test",
        operation_id="test_campaign",
        summary="Send a copy to a few addresses",
        opt={"scope": "send", "calls": CallClass.sends},
        status_code=202,
    )
    async def test(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        studio: NamedDependency[Studio],
        once: NamedDependency[Once],
        campaign_id: FromPath[str],
        data: JSONBody[CampaignTest],
    ) -> Data[TestSent]:
        async with db.read() as session:
            campaign = await campaign_of_path(session, principal, campaign_id)
            await drafting.check_from(session, principal, campaign.from_email)
            frame = await service.frame_of(session, principal.project, campaign, studio)
        mail = await service.compile_campaign(frame, campaign)
        async with db.unit_of_work() as session:
            await service.send_test(
                session,
                principal.project,
                campaign,
                [address.parse(email) for email in data.emails],
                mail,
                plan=principal.plan,
                settings=studio.settings,
            )
            out = Data[TestSent](data=TestSent(status="queued", emails=data.emails))
            await once.keep(session, 202, out)
        return out

    @get(
        "/{campaign_id:str}/preview",
        operation_id="preview_campaign",
        summary="Render the campaign as a subscriber would get it",
        opt={"scope": "campaigns:read"},
    )
    async def preview(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        studio: NamedDependency[Studio],
        campaign_id: FromPath[str],
        subscriber_id: FromQuery[str | None] = None,
    ) -> Data[Preview]:
        reader = ids.in_query("sub", "subscriber_id", subscriber_id)
        async with db.read() as session:
            campaign = await campaign_of_path(session, principal, campaign_id)
            if reader is not None:
                await _check_reader(session, principal, reader)
            frame = await service.frame_of(session, principal.project, campaign, studio)
            values = await service.sample_values(
                session, principal.project, campaign, reader, studio.settings.public_url
            )
            parameters = await service.utm_parameters(session, principal.project, campaign)
        mail = await service.compile_campaign(frame, campaign)
        mail = await asyncio.to_thread(utm.tagged, mail, parameters)
        merged = mail.merge(values)
        return Data(
            data=Preview(
                subject=merged.subject, preheader=merged.preheader, html=merged.html, text=merged.text
            )
        )


async def _check_reader(session: AsyncSession, principal: Principal, subscriber_id: UUID) -> None:
    """A preview shows what is known of its reader, so the key must be one that may read it."""
    if not principal.has_scope("subscribers:read"):
        raise Forbidden("This key lacks the scope 'subscribers:read'; preview without 'subscriber_id'.")
    row = await audience.find_subscriber(session, principal.project, subscriber_id)
    if row is not None and not principal.may_use_list(row.list_id):
        raise Forbidden("This key is restricted to other lists.")


class PlainCampaign:
    """`CampaignController.read` past the framework (`api.short`)."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def __call__(
        self, principal: Principal, path: Mapping[str, str], body: bytes, once: Once
    ) -> tuple[int, bytes] | None:
        out = await _read(self._db, principal, path["campaign_id"])
        return 200, out.model_dump_json().encode()


async def _read(db: Database, principal: Principal, campaign_id: str) -> Data[CampaignOut]:
    async with db.read() as session:
        campaign = await campaign_to_read(session, principal, campaign_id)
        return Data(data=await queries.shown(session, campaign))


async def _checked_changes(
    db: Database, principal: Principal, studio: Studio, campaign_id: str, data: CampaignUpdate
) -> dict[str, Any]:
    """The columns to change, once the changed campaign is known to compile."""
    drafting.check_size(data.html, studio.settings)
    # Not `model_dump`, which writes ids as callers see them.
    changes: dict[str, Any] = {field: getattr(data, field) for field in data.model_fields_set}
    required = ("list_id", "name", "template_id", "html")
    if nulls := [field for field in required if field in changes and changes[field] is None]:
        raise ValidationFailed(errors={field: ["must not be null"] for field in nulls})
    async with db.read() as session:
        campaign = await campaign_of_path(session, principal, campaign_id)
        if data.list_id is not None:
            await drafting.check_list(session, principal, data.list_id)
        await drafting.check_from(session, principal, data.from_email or campaign.from_email)
        template_id = changes.get("template_id", campaign.template_id)
        frame = await drafting.frame_of(session, principal.project, studio, template_id)
    await drafting.compiled_in(
        frame,
        changes.get("subject", campaign.subject),
        changes.get("preheader", campaign.preheader),
        changes.get("html", campaign.content),
    )
    if "utm" in changes:
        changes["utm"] = data.utm.given() if data.utm else {}
    if "html" in changes:
        changes["content"] = sanitise_body(changes.pop("html"))
    return changes


def _need_send(principal: Principal) -> None:
    if not principal.has_scope("send"):
        raise Forbidden("This key lacks the scope 'send'; create the campaign as a draft.")
