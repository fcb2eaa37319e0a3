"""Takes in mails that come back: bounces, complaints, automatic replies.

    an address or a header that we signed ──► store it, once ──► a job reads and applies it

Anybody can write a mail that looks like a bounce. So one is believed only about the message whose
sealed name it shows (`newsletter.delivery.return_path`), and that name is in nothing but the message
itself: who holds a mail of ours can end mail to its own recipient, and nothing else. Everything here
may run twice.
"""

import asyncio
import zlib
from collections.abc import Collection
from email import policy
from email.parser import BytesHeaderParser
from hashlib import blake2b
from uuid import UUID

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.delivery import queries as delivery
from newsletter.delivery.models import Feedback
from newsletter.delivery.queries import FoundMessage
from newsletter.delivery.return_path import ReturnPaths
from newsletter.feedback import service
from newsletter.feedback.models import ReturnedMail
from newsletter.feedback.reports import MAX_BYTES, Asks, Kind, Report, read, taken_apart
from newsletter.kit import clock, ids, jobs
from newsletter.kit.bulk import among
from newsletter.kit.db import Database, insert
from newsletter.settings import BounceSettings

SOURCE = "returned mail"


async def receive_report(db: Database, return_paths: ReturnPaths, raw: bytes) -> bool:
    """`receive` for a mailbox that people write to, too: what they answer to a mail of ours shows its
    name as well, and is left alone."""
    message_id = await proved(return_paths, raw, None)
    if message_id is None or (await asyncio.to_thread(read, raw[:MAX_BYTES])).kind is Kind.other:
        return False
    async with db.unit_of_work() as session:
        return await store(session, message_id, raw)


async def receive(db: Database, return_paths: ReturnPaths, raw: bytes, *, recipient: str | None) -> bool:
    """Stores a mail and has it read; False where it proves no message of ours, and nothing happens.

    ``recipient`` is the envelope's, where it is known. Reads `MAX_BYTES` of ``raw``.
    """
    message_id = await proved(return_paths, raw, recipient)
    if message_id is None:
        return False
    async with db.unit_of_work() as session:
        return await store(session, message_id, raw)


async def proved(return_paths: ReturnPaths, raw: bytes, recipient: str | None) -> str | None:
    """The message that a mail is about: by the address it was sent to, else by the first sealed name
    that stands in it, else by what it says once it is decoded. None where it proves none."""
    by_address = return_paths.message_of([recipient])
    return by_address or await asyncio.to_thread(_named, return_paths, raw[:MAX_BYTES])


def _named(return_paths: ReturnPaths, raw: bytes) -> str | None:
    found = return_paths.message_in(raw.decode("latin-1"))
    if found is not None:
        return found
    opened = taken_apart(raw)
    return return_paths.message_of([*opened.returned.values(), opened.text]) if opened else None


async def store(session: AsyncSession, message_id: str, raw: bytes, project_id: UUID | None = None) -> bool:
    """False for a message that is gone; with a ``project_id`` also for one of another project. True for
    a mail that was stored before: it is read once."""
    found = await delivery.by_public_id(session, message_id)
    if found is None or project_id not in (None, found.project_id):
        return False
    await _insert(session, message_id, raw[:MAX_BYTES])
    return True


async def _insert(session: AsyncSession, message_id: str, raw: bytes) -> None:
    mail_id = ids.uuid7()
    statement = (
        insert(session, ReturnedMail)
        .values(
            id=mail_id,
            key=_key(message_id, raw),
            message_id=message_id,
            raw=zlib.compress(raw, 1),
            received_at=clock.now(),
        )
        .on_conflict_do_nothing()
        .returning(ReturnedMail.id)
    )
    if (await session.execute(statement)).first() is not None:
        await jobs.enqueue(session, "feedback.read_mail", {"mail_id": str(mail_id)})


def _key(message_id: str, raw: bytes) -> str:
    """Servers that repeat a mail add lines to its header; its own Message-ID stays."""
    header = BytesHeaderParser(policy=policy.compat32).parsebytes(raw)
    own = str(header.get("Message-ID", "")).strip().encode(errors="replace")
    return blake2b(own or raw, key=message_id.encode(), digest_size=32).hexdigest()


async def read_mail(db: Database, settings: BounceSettings, mail_id: UUID) -> None:
    """Applies a stored mail; the job behind `receive`. Nothing happens the second time."""
    async with db.read() as session:
        mail = await session.get(ReturnedMail, mail_id)
    if mail is None or mail.raw is None:
        return
    # A mail takes milliseconds to read, and its writer may have tried to make it more.
    report = await asyncio.to_thread(read, zlib.decompress(mail.raw))
    async with db.unit_of_work() as session:
        found = await delivery.by_public_id(session, mail.message_id)
        if found is not None:
            await apply(session, found, report, settings)
        await session.execute(update(ReturnedMail).where(ReturnedMail.id == mail_id).values(raw=None))


async def forget(session: AsyncSession, message_ids: Collection[str]) -> None:
    """Drops mails about these messages that were not read yet: who they are about was erased."""
    if message_ids:
        await session.execute(
            update(ReturnedMail)
            .where(among(session, ReturnedMail.message_id, message_ids), ReturnedMail.raw.is_not(None))
            .values(raw=None)
        )


async def apply(
    session: AsyncSession, message: FoundMessage, report: Report, settings: BounceSettings
) -> bool:
    """What a returned mail changes; False where that is nothing. An automatic reply proves that the mail
    arrived; reports of a delay or of failed authentication prove nothing about the reader."""
    match report.kind:
        case Kind.hard | Kind.soft if report.is_final:
            is_hard = report.kind is Kind.hard
            return await service.bounce(
                session,
                message,
                settings,
                source=SOURCE,
                is_hard=is_hard,
                reason=report.diagnostic or report.reason,
                enhanced_status=report.status,
            )
        case Kind.complaint if report.asks is Asks.no_more_mail:
            return await service.complain(session, message, source=SOURCE)
        case Kind.complaint if report.asks is Asks.unsubscribe:
            return await service.unsubscribe(session, message.ref, source=SOURCE)
        case Kind.auto_reply:
            return await service.note(session, message, Feedback.delivered)
    return False
