"""Reads voice cards and generations."""

from collections.abc import Sequence

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts.project import Project
from newsletter.copywriting.models import VoiceCardRow
from newsletter.copywriting.voice import VoiceCard
from newsletter.kit import paging
from newsletter.kit.errors import NotFound
from newsletter.kit.schema import PageMeta


async def newest_card(session: AsyncSession, project: Project) -> VoiceCardRow | None:
    statement = _cards(project).limit(1)
    return (await session.scalars(statement)).one_or_none()


async def card(session: AsyncSession, project: Project, version: int) -> VoiceCardRow:
    """Raises `NotFound` for a version that was never written."""
    statement = _cards(project).where(VoiceCardRow.version == version)
    found = (await session.scalars(statement)).one_or_none()
    if found is None:
        raise NotFound("The brand voice has no such version.")
    return found


async def cards(
    session: AsyncSession, project: Project, page: int, per_page: int
) -> tuple[Sequence[VoiceCardRow], PageMeta]:
    """One page of versions, the newest first."""
    return await paging.numbered(session, _cards(project), page, per_page)


async def voice(session: AsyncSession, project: Project) -> VoiceCard:
    """The brand voice as a writer is told it; an empty one without a version while there is none."""
    row = await newest_card(session, project)
    if row is None:
        return VoiceCard()
    texts = row.card
    return VoiceCard(
        about=texts["about"],
        audience=texts["audience"],
        tone=texts["tone"],
        do=tuple(texts["do"]),
        dont=tuple(texts["dont"]),
        banned_words=tuple(texts["banned_words"]),
        preferred_words=texts["preferred_words"],
        samples=tuple(texts["samples"]),
        sign_off=texts["sign_off"],
        locale=texts["locale"] or "",
        version=row.version,
    )


def _cards(project: Project) -> Select[VoiceCardRow]:
    return (
        select(VoiceCardRow)
        .where(VoiceCardRow.project_id == project.id)
        .order_by(VoiceCardRow.version.desc())
    )
