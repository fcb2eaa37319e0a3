"""Jobs of the webhooks: fan out events, group them, deliver, deliver once more, tell the owner."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from newsletter.kit.jobs import Handler
from newsletter.runtime import Runtime
from newsletter.webhooks import delivering, fanning, notice, replaying
from newsletter.webhooks.delivering import Tools
from newsletter.webhooks.silence import Silence


def handlers(runtime: Runtime) -> dict[str, Handler]:
    settings = runtime.settings.webhooks
    silence = Silence(runtime.leave_place, settings.silent, settings.silent_of_project)
    tools = Tools(runtime.db, runtime.egress, runtime.vault, settings, silence, runtime.is_stopping)

    async def fan_out(payload: Mapping[str, Any]) -> None:
        event_ids = [UUID(event_id) for event_id in payload["event_ids"]]
        await fanning.fan_out(runtime.db, event_ids, runtime.settings.webhooks.group_seconds)

    async def gather(payload: Mapping[str, Any]) -> None:
        await fanning.gather(runtime.db, UUID(payload["endpoint_id"]))

    async def replay(payload: Mapping[str, Any]) -> None:
        await replaying.replay_next(runtime.db, payload)

    async def deliver(payload: Mapping[str, Any]) -> None:
        await delivering.deliver(tools, UUID(payload["endpoint_id"]), UUID(payload["job_id"]))

    async def tell_owner(payload: Mapping[str, Any]) -> None:
        await notice.tell_owner(runtime.db, runtime.settings, UUID(payload["endpoint_id"]))

    return {
        "webhooks.fan_out": Handler(fan_out),
        "webhooks.gather": Handler(gather, max_errors=None),
        "webhooks.deliver": Handler(deliver, max_errors=None),
        "webhooks.replay": Handler(replay),
        "webhooks.tell_owner": Handler(tell_owner),
    }
