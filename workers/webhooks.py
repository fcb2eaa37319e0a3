"""Jobs of the webhooks: fan out events, and make one call of one delivery."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from newsletter.kit.jobs import Handler
from newsletter.runtime import Runtime
from newsletter.webhooks import delivering


def handlers(runtime: Runtime) -> dict[str, Handler]:
    async def fan_out(payload: Mapping[str, Any]) -> None:
        await delivering.fan_out(runtime.db, [UUID(event_id) for event_id in payload["event_ids"]])

    async def attempt(payload: Mapping[str, Any]) -> None:
        await delivering.attempt(
            runtime.db,
            runtime.egress,
            runtime.vault,
            runtime.settings.webhooks.retry_seconds,
            UUID(payload["delivery_id"]),
            payload["number"],
        )

    return {"webhooks.fan_out": Handler(fan_out), "webhooks.attempt": Handler(attempt, max_errors=None)}
