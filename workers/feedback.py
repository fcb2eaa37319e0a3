"""Jobs of feedback: apply what came back from a mail."""

from collections.abc import Mapping
from typing import Any

from newsletter.delivery.models import Feedback
from newsletter.feedback import service
from newsletter.kit.jobs import Handler
from newsletter.runtime import Runtime


def handlers(runtime: Runtime) -> dict[str, Handler]:
    async def apply(payload: Mapping[str, Any]) -> None:
        async with runtime.db.unit_of_work() as session:
            await service.apply(
                session, payload["message_id"], Feedback(payload["feedback"]), payload["source"]
            )

    return {"feedback.apply": Handler(apply)}
