"""Jobs of feedback: apply what came back from a mail."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from newsletter.delivery.models import Feedback
from newsletter.feedback import inbound, mailbox, returned, service
from newsletter.kit.jobs import Handler
from newsletter.runtime import Runtime


def handlers(runtime: Runtime) -> dict[str, Handler]:
    bounces = runtime.settings.bounces

    async def apply(payload: Mapping[str, Any]) -> None:
        async with runtime.db.unit_of_work() as session:
            feedback = Feedback(payload["feedback"])
            await service.apply(session, bounces, payload["message_id"], feedback, payload["source"])

    async def read_report(payload: Mapping[str, Any]) -> None:
        report_id = UUID(payload["report_id"])
        await inbound.read_report(runtime.db, runtime.vault, runtime.certificates, bounces, report_id)

    async def read_mail(payload: Mapping[str, Any]) -> None:
        await returned.read_mail(runtime.db, bounces, UUID(payload["mail_id"]))

    async def read_mailbox(payload: Mapping[str, Any]) -> None:
        await mailbox.look(runtime.db, runtime.return_paths, runtime.settings.imap)

    async def confirm(payload: Mapping[str, Any]) -> None:
        await inbound.confirm(runtime.egress, payload["url"])

    return {
        "feedback.apply": Handler(apply),
        "feedback.read_report": Handler(read_report),
        "feedback.read_mail": Handler(read_mail),
        "feedback.read_mailbox": Handler(read_mailbox),
        "feedback.confirm": Handler(confirm),
    }
