"""Jobs of analytics: the health scores of a new day."""

from collections.abc import Mapping
from typing import Any

from newsletter.analytics import scoring
from newsletter.kit.jobs import Handler
from newsletter.runtime import Runtime


def handlers(runtime: Runtime) -> dict[str, Handler]:
    async def score_health(payload: Mapping[str, Any]) -> None:
        await scoring.score_due(runtime.db, runtime.settings)

    return {"analytics.score_health": Handler(score_health)}
