"""Jobs of delivery: send a batch, look at what comes back, forget a person."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from newsletter.delivery import brake, sending, urgency
from newsletter.delivery.lanes import Lanes
from newsletter.delivery.sending import Parts
from newsletter.kit.jobs import Again, Handler
from newsletter.privacy import erasing
from newsletter.runtime import Runtime


def handlers(runtime: Runtime) -> dict[str, Handler]:
    def send(job: str, lanes: Lanes) -> Handler:
        parts = Parts(
            db=runtime.db,
            letters=runtime.letters,
            settings=runtime.settings.delivery,
            provider_for=runtime.provider_for,
            is_stopping=runtime.is_stopping,
            job=job,
            lanes=lanes,
        )

        async def send_batch(payload: Mapping[str, Any]) -> Again | None:
            return await sending.send_batch(parts, UUID(payload["batch_id"]))

        # A batch is never given up: its mailing could not close.
        return Handler(send_batch, max_errors=None, has_own_lease=True)

    async def look_back(payload: Mapping[str, Any]) -> None:
        async with runtime.db.unit_of_work() as session:
            await brake.apply(session, UUID(payload["mailing_id"]), runtime.settings.delivery)

    async def forget(payload: Mapping[str, Any]) -> None:
        async with runtime.db.unit_of_work() as session:
            await erasing.forget(
                session,
                UUID(payload["project_id"]),
                payload["address_key"],
                payload["replacement"],
                payload.get("subscriber_ids", []),
            )

    in_turn, first = Lanes(), Lanes()
    return {
        urgency.SEND_BATCH: send(urgency.SEND_BATCH, in_turn),
        urgency.SEND_BULK: send(urgency.SEND_BULK, in_turn),
        # Test sends aside, a kill leaves no block of these unknown: single mails are sent again once.
        urgency.SEND_SINGLE: send(urgency.SEND_SINGLE, first),
        "delivery.look_back": Handler(look_back),
        "delivery.forget": Handler(forget),
    }
