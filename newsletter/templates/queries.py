"""Reads templates: the packaged ones and a project's own, as one shelf."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts import queries as accounts
from newsletter.accounts.project import Project
from newsletter.kit import paging
from newsletter.kit.errors import NotFound
from newsletter.kit.schema import PageMeta
from newsletter.templates.models import Template
from newsletter.templates.starters import Starter, Variable


@dataclass(frozen=True, slots=True)
class Source:
    """A template, wherever it is kept."""

    id: UUID
    name: str
    category: str
    description: str
    is_system: bool
    is_default: bool
    mjml: str
    variables: tuple[Variable, ...]
    created_at: datetime | None = None
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Shelf:
    """The packaged templates, as `newsletter.templates.starters.load` reads them: the default
    one first."""

    starters: tuple[Starter, ...]

    @property
    def default_id(self) -> UUID:
        return self.starters[0].id

    def find(self, template_id: UUID) -> Starter | None:
        return next((starter for starter in self.starters if starter.id == template_id), None)


async def find(session: AsyncSession, project: Project, shelf: Shelf, template_id: UUID) -> Source | None:
    """A packaged template or one of the project; None for any other id."""
    default = await default_id(session, project, shelf)
    starter = shelf.find(template_id)
    if starter is not None:
        return of_starter(starter, default)
    row = await find_own(session, project, template_id)
    return of_row(row, default) if row else None


async def one(session: AsyncSession, project: Project, shelf: Shelf, template_id: UUID) -> Source:
    """The same; raises `NotFound`."""
    source = await find(session, project, shelf, template_id)
    if source is None:
        raise NotFound()
    return source


async def find_own(
    session: AsyncSession, project: Project, template_id: UUID, *, lock: bool = False
) -> Template | None:
    """A template that the project made. ``lock`` keeps it from being deleted meanwhile."""
    statement = select(Template).where(Template.id == template_id, Template.project_id == project.id)
    if lock:
        statement = statement.with_for_update()
    return (await session.scalars(statement)).one_or_none()


async def default_id(session: AsyncSession, project: Project, shelf: Shelf) -> UUID:
    """What a campaign without ``template_id`` uses."""
    profile = await accounts.profile(session, project)
    return profile.default_template_id or shelf.default_id


async def listed(
    session: AsyncSession,
    project: Project,
    shelf: Shelf,
    *,
    category: str | None,
    is_system: bool | None,
    page: int,
    per_page: int,
) -> tuple[Sequence[Source], PageMeta]:
    """One page: the packaged templates first, then the project's own as they were made."""
    paging.check(page, per_page)
    default = await default_id(session, project, shelf)
    packaged = [
        of_starter(starter, default)
        for starter in shelf.starters
        if is_system is not False and category in (None, starter.category)
    ]
    statement = _own(project, category)
    counted = select(func.count()).select_from(statement.order_by(None).subquery())
    own_total = 0 if is_system else (await session.execute(counted)).scalar_one()
    start, end = (page - 1) * per_page, page * per_page
    shown = packaged[start:end]
    if own_total and end > len(packaged):
        rest = statement.offset(max(0, start - len(packaged))).limit(per_page - len(shown))
        shown += [of_row(row, default) for row in await session.scalars(rest)]
    total = len(packaged) + own_total
    last = max(1, -(-total // per_page))
    return shown, PageMeta(current_page=page, per_page=per_page, last_page=last, total=total)


def of_starter(starter: Starter, default: UUID) -> Source:
    return Source(
        id=starter.id,
        name=starter.name,
        category=starter.category,
        description=starter.description,
        is_system=True,
        is_default=starter.id == default,
        mjml=starter.source,
        variables=starter.variables,
    )


def of_row(row: Template, default: UUID) -> Source:
    return Source(
        id=row.id,
        name=row.name,
        category=row.category,
        description=row.description or "",
        is_system=False,
        is_default=row.id == default,
        mjml=row.mjml,
        variables=tuple(Variable(**declared) for declared in row.variables),
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def _own(project: Project, category: str | None) -> Select[Template]:
    statement = select(Template).where(Template.project_id == project.id)
    if category is not None:
        statement = statement.where(Template.category == category)
    return statement.order_by(Template.id)
