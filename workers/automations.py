"""Jobs of automations: hear what happened, look for who is to start, and let runs go on."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from newsletter.automations import advancing, enrolling, starting
from newsletter.kit.jobs import Handler
from newsletter.runtime import Runtime


def handlers(runtime: Runtime) -> dict[str, Handler]:
    settings = runtime.settings.automations

    async def on_events(payload: Mapping[str, Any]) -> None:
        await starting.on_events(runtime.db, [UUID(each) for each in payload["event_ids"]], settings)

    async def enrol(payload: Mapping[str, Any]) -> None:
        await enrolling.enrol(runtime.db, UUID(payload["automation_id"]), settings)

    async def advance(payload: Mapping[str, Any]) -> None:
        automation_id = UUID(payload["automation_id"])
        await advancing.advance(runtime.db, runtime.studio, runtime.plans, automation_id)

    return {
        "automations.on_events": Handler(on_events),
        "automations.enrol": Handler(enrol),
        "automations.advance": Handler(advance),
    }
