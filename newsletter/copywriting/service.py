"""Writes the brand voice, and keeps the books of every generation.

A generation is reserved, written and settled: `reserve` in the caller's first transaction,
`draft` with no transaction open, `finish` in the caller's last one, beside whatever the copy
is for. Its row is the ledger of its unit: each change of it asks for ``reserved``, so a unit
is used or given back exactly once, whoever comes first. What a dead process holds lapses at
the row's deadline (`release_lapsed`).
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts import queries as accounts
from newsletter.accounts.project import Project
from newsletter.copywriting import queries, sandbox_writer, writer
from newsletter.copywriting.draft import Brief, Draft
from newsletter.copywriting.models import Generation, GenerationStatus, VoiceCardRow
from newsletter.copywriting.prompts import Task
from newsletter.copywriting.schemas import VoiceBody
from newsletter.copywriting.writer import AIFailed, AINotConfigured
from newsletter.kit import clock, ids
from newsletter.kit.db import Database, JSONObject, db_in, db_now
from newsletter.kit.db import insert as insert_or_keep
from newsletter.kit.errors import NewsletterError
from newsletter.llm import Model, Usage
from newsletter.plans import service as plans
from newsletter.plans.catalogue import Resource
from newsletter.settings import AISettings

MARGIN_SECONDS = 60.0
"""What a reservation lasts beyond the deadline of its generation: time to compile and to settle."""
_LAPSED_AT_ONCE = 500


class AINotAvailable(NewsletterError):
    code, status = "ai_not_available", 402
    summary = "The plan includes no AI generations. Upgrade it, or send the body as 'html'."


class AIQuotaExceeded(NewsletterError):
    code, status = "ai_quota_exceeded", 429
    summary = "The AI generations of this month are used up. They begin anew after Retry-After."


@dataclass(frozen=True, slots=True)
class Desk:
    """Who writes, by which instructions, and for how long at most."""

    model: Model | None
    """None: nobody writes for live projects, the sandbox writer for test projects."""
    task: Task
    limits: AISettings


@dataclass(frozen=True, slots=True)
class Order:
    """What the caller asks for. Subject and preheader that are given stay as they are."""

    prompt: str
    subject: str | None = None
    preheader: str | None = None
    custom_fields: frozenset[str] = frozenset()
    """The project's own merge tags."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """A reserved unit, and all that its writer will be told."""

    generation_id: UUID
    brief: Brief


@dataclass(frozen=True, slots=True)
class Written:
    """A draft whose unit is still reserved, until `finish`."""

    generation_id: UUID
    draft: Draft

    @property
    def facts(self) -> JSONObject:
        """Who wrote it by which instructions, and what was taken out, to keep beside the copy."""
        draft = self.draft
        return {
            "id": ids.public("gen", self.generation_id),
            "writer": draft.writer,
            "model": draft.model,
            "prompt": draft.prompt_name,
            "prompt_hash": draft.prompt_hash,
            "voice_version": draft.voice_version,
            "calls": draft.usage.calls,
            "input_tokens": draft.usage.input_tokens,
            "output_tokens": draft.usage.output_tokens,
            "removed_links": list(draft.removed_links),
            "removed_tags": list(draft.removed_tags),
            "notes": list(draft.notes),
        }


async def set_voice(session: AsyncSession, project: Project, body: VoiceBody) -> VoiceCardRow:
    """A new version, or the current one where it says the same already."""
    card = body.model_dump(mode="json")
    while True:
        newest = await queries.newest_card(session, project)
        if newest is not None and newest.card == card:
            return newest
        row = {
            "id": ids.uuid7(),
            "project_id": project.id,
            "version": newest.version + 1 if newest else 1,
            "card": card,
            "created_at": clock.now(),
        }
        made = insert_or_keep(session, VoiceCardRow).values(row).on_conflict_do_nothing()
        written = (await session.scalars(made.returning(VoiceCardRow))).one_or_none()
        if written is not None:
            return written
        # Another call has just written this version; ours comes after it.


async def reserve(
    session: AsyncSession, project: Project, desk: Desk, order: Order, limit: int | None
) -> Ticket:
    """Takes one unit of the month and writes down for what.

    ``limit`` is the plan's; 0 means that the plan includes none, which stops everyone but the
    sandbox writer: it costs nothing, so a test project can be tried on any plan.
    Raises `AINotAvailable`, `AINotConfigured` or `AIQuotaExceeded`.
    """
    is_sandbox = project.is_test and desk.model is None
    if limit == 0 and not is_sandbox:
        raise AINotAvailable()
    if desk.model is None and not is_sandbox:
        raise AINotConfigured()
    brief = await _brief(session, project, order)
    owner_id, resource = project.quota_owner_id, Resource.generations
    now = clock.now()
    period = plans.period_of(resource, now)
    if not await plans.reserve(session, owner_id, resource, 1, limit or None, period):
        raise AIQuotaExceeded(retry_after=clock.seconds_to_next_month(now))
    generation_id = ids.uuid7()
    await session.execute(
        insert(Generation).values(
            id=generation_id,
            project_id=project.id,
            owner_id=owner_id,
            period=period,
            status=GenerationStatus.reserved,
            deadline=db_in(desk.limits.deadline + MARGIN_SECONDS),
            prompt_name=desk.task.name,
            prompt_hash=desk.task.hash,
            model=desk.model.name[:200] if desk.model else sandbox_writer.NAME,
            voice_version=brief.voice.version,
            created_at=db_now(),
        )
    )
    return Ticket(generation_id, brief)


@asynccontextmanager
async def draft(db: Database, desk: Desk, ticket: Ticket) -> AsyncIterator[Written]:
    """The copy, for the length of the block, which calls `finish` in its last transaction.

    Open no transaction around it: it takes as long as a model does. An error in it or in the
    block, and a caller who is gone, give the unit back. Raises `AIFailed`.
    """
    try:
        if desk.model is None:
            copy = sandbox_writer.write(ticket.brief)
        else:
            copy = await writer.write(desk.model, desk.task, ticket.brief, desk.limits)
        yield Written(ticket.generation_id, copy)
    except BaseException as error:
        # Shielded: a cancelled call may not leave without its unit in the books.
        await asyncio.shield(asyncio.ensure_future(_give_back(db, ticket.generation_id, error)))
        raise


async def finish(session: AsyncSession, written: Written) -> None:
    """Settles the unit as used, in the transaction of what the copy is for.

    Raises `AIFailed` when the reservation has lapsed: then the unit was given back already.
    """
    copy, usage = written.draft, written.draft.usage
    statement = (
        update(Generation)
        .where(Generation.id == written.generation_id, Generation.status == GenerationStatus.reserved)
        .values(
            status=GenerationStatus.succeeded,
            prompt_name=copy.prompt_name,
            prompt_hash=copy.prompt_hash,
            model=copy.model[:200],
            calls=usage.calls,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            finished_at=db_now(),
        )
        .returning(Generation.owner_id, Generation.period)
    )
    row = (await session.execute(statement)).one_or_none()
    if row is None:
        raise AIFailed("Writing took longer than its reservation lasts; nothing was used. Try again.")
    await plans.settle(session, row.owner_id, Resource.generations, row.period, used=1, released=0)


async def give_back(session: AsyncSession, generation_id: UUID, reason: str, usage: Usage) -> None:
    """Fails the generation and frees its unit; does nothing when it is settled already."""
    statement = (
        update(Generation)
        .where(Generation.id == generation_id, Generation.status == GenerationStatus.reserved)
        .values(
            status=GenerationStatus.failed,
            error=reason[:1000],
            calls=usage.calls,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            finished_at=db_now(),
        )
        .returning(Generation.owner_id, Generation.period)
    )
    row = (await session.execute(statement)).one_or_none()
    if row is not None:
        await plans.settle(session, row.owner_id, Resource.generations, row.period, used=0, released=1)


async def release_lapsed(session: AsyncSession) -> int:
    """The sweeper's part: fails what a dead process has left and frees its units; returns how
    many. May run anywhere, any number of times."""
    lapsed = (
        select(Generation.id)
        .where(Generation.status == GenerationStatus.reserved, Generation.deadline < db_now())
        .order_by(Generation.id)
        .limit(_LAPSED_AT_ONCE)
        .with_for_update(skip_locked=True)
    )
    statement = (
        update(Generation)
        .where(Generation.id.in_(lapsed.scalar_subquery()), Generation.status == GenerationStatus.reserved)
        .values(
            status=GenerationStatus.failed,
            error="The process that held it ended before it was settled.",
            finished_at=db_now(),
        )
        .returning(Generation.owner_id, Generation.period)
    )
    released = Counter((row.owner_id, row.period) for row in await session.execute(statement))
    # Sorted, so that two sweepers lock the counters in the same order.
    for (owner_id, period), units in sorted(released.items()):
        await plans.settle(session, owner_id, Resource.generations, period, used=0, released=units)
    return released.total()


async def _give_back(db: Database, generation_id: UUID, error: BaseException) -> None:
    reason = error.message if isinstance(error, NewsletterError) else type(error).__name__
    usage = error.usage if isinstance(error, AIFailed) else Usage()
    async with db.unit_of_work() as session:
        await give_back(session, generation_id, reason, usage)


async def _brief(session: AsyncSession, project: Project, order: Order) -> Brief:
    profile = await accounts.profile(session, project)
    links = [profile.website_url, *profile.branding.get("social_links", {}).values()]
    return Brief(
        prompt=order.prompt,
        voice=await queries.voice(session, project),
        brand_name=profile.brand_name,
        website_url=profile.website_url,
        locale=profile.locale,
        fields=frozenset({"first_name", "last_name"}) | order.custom_fields,
        known_links=frozenset(link for link in links if link),
        subject=order.subject,
        preheader=order.preheader,
    )
