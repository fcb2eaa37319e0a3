"""Jobs of campaigns: a schedule that is due, a mailing that closed or paused itself."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from newsletter.campaigns import control, service
from newsletter.delivery.models import MailingKind
from newsletter.kit.jobs import Again, Handler
from newsletter.runtime import Runtime


def handlers(runtime: Runtime) -> dict[str, Handler]:
    async def launch(payload: Mapping[str, Any]) -> Again | None:
        return await service.launch_scheduled(
            runtime.db,
            runtime.studio,
            runtime.plans,
            UUID(payload["project_id"]),
            UUID(payload["campaign_id"]),
            # A job of the version before knows of none.
            payload.get("slow_tries", 0),
        )

    async def on_mailing_closed(payload: Mapping[str, Any]) -> None:
        if payload["kind"] != MailingKind.campaign:
            return
        async with runtime.db.unit_of_work() as session:
            await service.on_mailing_closed(session, UUID(payload["mailing_id"]))

    async def on_mailing_paused(payload: Mapping[str, Any]) -> None:
        async with runtime.db.unit_of_work() as session:
            mailing_id = UUID(payload["mailing_id"])
            await control.on_mailing_paused(session, mailing_id, payload["code"], payload["message"])

    return {
        "campaigns.launch": Handler(launch),
        "campaigns.on_mailing_closed": Handler(on_mailing_closed),
        "campaigns.on_mailing_paused": Handler(on_mailing_paused),
    }
