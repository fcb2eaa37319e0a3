"""Jobs of sending domains: look at their DNS records again."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from newsletter.domains import verifying
from newsletter.kit.jobs import Handler
from newsletter.runtime import Runtime


def handlers(runtime: Runtime) -> dict[str, Handler]:
    async def look_again(payload: Mapping[str, Any]) -> None:
        domain_id = UUID(payload["domain_id"])
        await verifying.look_again(runtime.db, runtime.resolver, runtime.settings, domain_id)

    return {"domains.look_again": Handler(look_again)}
