"""Takes in what providers report of mails that they had accepted.

    verify the raw bytes ──► store them, once ──► 202 ──► a job reads and applies them

A report is believed when its provider signed it for this very server, and it changes only
messages of the project that the server belongs to. Everything here may run twice: a report is
stored once, and the ledger takes each change once, whatever order they come in.
"""

import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from uuid import UUID

import structlog
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.delivery import queries as delivery
from newsletter.delivery.models import Feedback
from newsletter.delivery.queries import FoundMessage
from newsletter.feedback import service
from newsletter.feedback.models import ProviderReport
from newsletter.feedback.reports.causes import Cause, judge
from newsletter.kit import clock, ids, jobs
from newsletter.kit.crypto import Vault
from newsletter.kit.db import Database, insert
from newsletter.kit.errors import NotFound, Unauthenticated, Unavailable, ValidationFailed
from newsletter.kit.http import EgressFailed, EgressRefused, GuardedClient
from newsletter.providers.events import BadSignature, EventKind, Malformed, ProviderEvent
from newsletter.providers.registry import feed
from newsletter.providers.sns import Certificates
from newsletter.routing import service as routing
from newsletter.routing.service import Configured
from newsletter.settings import BounceSettings

log = structlog.get_logger(__name__)

_HEADERS = ("svix-id", "webhook-id")


class BadReport(Unauthenticated):
    """The same answer whatever is wrong, so that nobody learns what to forge."""

    code, status = "bad_signature", 401
    summary = "The report is not signed by the provider of this sending server, or not now."


async def receive(
    db: Database,
    vault: Vault,
    certificates: Certificates,
    kind: str,
    server_id: UUID | None,
    raw: bytes,
    headers: Mapping[str, str],
) -> None:
    """Stores a report of ``kind`` about a server. ``headers`` have lower-cased names.

    Raises `NotFound` for a server that is not there or of another type, `BadReport`,
    `ValidationFailed` for a signed report that cannot be read, and `Unavailable` where what it
    is signed with could not be fetched: providers try again.
    """
    async with db.read() as session:
        server = await routing.find(session, vault, server_id) if server_id is not None else None
    made = feed(server.config, certificates) if server is not None else None
    if server is None or server.type != kind or made is None:
        raise NotFound("There is no sending server here. Copy its reports_url again.")
    try:
        await made.verify(raw, headers, clock.now())
        key, confirmation = made.key(raw, headers), made.confirmation(raw)
        # Read now, so that whoever wrote a report hears of what is wrong with it.
        made.parse(raw, headers)
    except BadSignature as error:
        log.warning("a report was refused", server=str(server.id), type=kind, reason=str(error))
        raise BadReport() from error
    except Malformed as error:
        log.warning("a report cannot be read", server=str(server.id), type=kind, reason=str(error))
        raise ValidationFailed.of("body", str(error)) from error
    except (EgressFailed, EgressRefused) as error:
        raise Unavailable("The certificate could not be fetched.", retry_after=60) from error
    async with db.unit_of_work() as session:
        if await _store(session, server, key, raw, headers) and confirmation is not None:
            await jobs.enqueue(session, "feedback.confirm", {"url": confirmation})


async def _store(
    session: AsyncSession, server: Configured, key: str, raw: bytes, headers: Mapping[str, str]
) -> bool:
    """False for a report that was stored before."""
    report_id = ids.uuid7()
    statement = (
        insert(session, ProviderReport)
        .values(
            id=report_id,
            project_id=server.project_id,
            server_id=server.id,
            key=key,
            headers={name: headers[name] for name in _HEADERS if name in headers},
            raw=zlib.compress(raw, 1),
            received_at=clock.now(),
        )
        .on_conflict_do_nothing()
        .returning(ProviderReport.id)
    )
    if (await session.execute(statement)).first() is None:
        return False
    await jobs.enqueue(session, "feedback.read_report", {"report_id": str(report_id)})
    return True


async def read_report(
    db: Database, vault: Vault, certificates: Certificates, settings: BounceSettings, report_id: UUID
) -> None:
    """Applies a stored report; the job behind `receive`. Nothing happens the second time."""
    async with db.unit_of_work() as session:
        report = await session.get(ProviderReport, report_id)
        if report is None or report.raw is None:
            return
        server = await routing.find(session, vault, report.server_id)
        made = feed(server.config, certificates) if server is not None else None
        if server is not None and made is not None:
            events = made.parse(zlib.decompress(report.raw), report.headers)
            await apply_all(session, settings, report.project_id, events, source=server.type.value)
        await session.execute(update(ProviderReport).where(ProviderReport.id == report_id).values(raw=None))


async def apply_all(
    session: AsyncSession,
    settings: BounceSettings,
    project_id: UUID,
    events: Sequence[ProviderEvent],
    *,
    source: str,
) -> None:
    """What a report changes. Messages of which it says nothing but that they were delivered, as it does of
    nearly all, share their statements; for the rest each event is applied in its turn."""
    found = await delivery.by_public_ids(session, {each.message_id for each in events if each.message_id})
    mine = {name: message for name, message in found.items() if message.project_id == project_id}
    mentions = Counter(each.message_id for each in events)
    arrived, rest = [], []
    for event in events:
        message = mine.get(event.message_id or "")
        if message is None:
            continue
        if event.kind is EventKind.delivered and mentions[event.message_id] == 1:
            arrived.append(message)
        else:
            rest.append((message, event))
    await service.arrived(session, arrived)
    for message, event in rest:
        await _apply(session, settings, message, event, source=source)


async def _apply(
    session: AsyncSession, settings: BounceSettings, found: FoundMessage, event: ProviderEvent, *, source: str
) -> bool:
    """False where an event changes nothing. ``deferred`` never does: the message was accepted, and the
    provider is still at it. Opens and clicks are counted from our own links, which every mail has."""
    match event.kind:
        case EventKind.delivered:
            return await service.note(session, found, Feedback.delivered)
        case EventKind.bounced | EventKind.rejected:
            return await service.bounce(
                session,
                found,
                settings,
                source=source,
                is_hard=condemns(event),
                reason=event.reason,
                enhanced_status=event.status,
            )
        case EventKind.complained:
            return await service.complain(session, found, source=source)
        case EventKind.unsubscribed:
            return await service.unsubscribe(session, found.ref, source=source)
    return False


def condemns(event: ProviderEvent) -> bool:
    """Whether the address must never be mailed again.

    The enhanced status and the words of the receiving server are judged as those of a returned
    mail; the provider's own word counts where both say nothing.
    """
    verdict = judge(event.reason or "", event.status)
    if verdict.cause is Cause.unclear and not (verdict.status or "5").startswith("4"):
        return event.is_permanent
    return verdict.is_hard


async def confirm(egress: GuardedClient, url: str) -> None:
    """Tells Amazon SNS that the reports are wanted. Raises `EgressFailed` to be tried again."""
    answer = await egress.get(url)
    if answer.status != 200:
        raise EgressFailed(f"Amazon SNS answered {answer.status} to the confirmation.")
