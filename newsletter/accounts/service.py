"""Writes accounts and projects."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts.models import Account, ProjectRow
from newsletter.accounts.project import Project
from newsletter.accounts.schemas import ProjectUpdate
from newsletter.kit import clock, ids
from newsletter.kit.errors import NotFound, ValidationFailed
from newsletter.plans.catalogue import Catalogue


@dataclass(frozen=True, slots=True)
class NewAccount:
    id: UUID
    project: Project


async def create_account(
    session: AsyncSession,
    plans: Catalogue,
    *,
    name: str,
    email: str,
    plan: str,
    postal_address: str | None,
    is_test: bool,
) -> NewAccount:
    """An account with its first project, whose sender is the account's e-mail address."""
    _known_plan(plans, plan)
    now = clock.now()
    account = Account(id=ids.uuid7(), name=name, email=email, plan=plan, created_at=now)
    session.add(account)
    await session.flush()
    row = ProjectRow(
        id=ids.uuid7(),
        account_id=account.id,
        name=name,
        is_test=is_test,
        from_email=email,
        from_name=name,
        postal_address=postal_address,
        branding={},
        created_at=now,
        updated_at=now,
    )
    session.add(row)
    await session.flush()
    return NewAccount(account.id, Project(row.id, account.id, is_test))


async def change_plan(session: AsyncSession, plans: Catalogue, account_id: UUID, plan: str) -> None:
    """Takes effect with the next call; what was used stays used."""
    _known_plan(plans, plan)
    statement = update(Account).where(Account.id == account_id).values(plan=plan).returning(Account.id)
    if (await session.execute(statement)).first() is None:
        raise NotFound("There is no such account.")


async def update_project(session: AsyncSession, project: Project, changes: ProjectUpdate) -> ProjectRow:
    row = await session.get_one(ProjectRow, project.id)
    values = changes.model_dump(exclude_unset=True)
    branding = values.pop("branding", None)
    if branding is not None:
        row.branding = {**row.branding, **branding}
    if "utm" in values:
        utm = {**row.utm, **given} if (given := values.pop("utm")) is not None else {}
        row.utm = {name: value for name, value in utm.items() if value is not None}
    for field, value in values.items():
        setattr(row, field, value)
    row.updated_at = clock.now()
    await session.flush()
    return row


async def set_default_template(session: AsyncSession, project: Project, template_id: UUID) -> None:
    """Whoever calls has made sure that the project may use this template."""
    row = await session.get_one(ProjectRow, project.id)
    row.default_template_id = template_id
    row.updated_at = clock.now()
    await session.flush()


async def clear_default_template(session: AsyncSession, project: Project, template_id: UUID) -> None:
    """Returns to the packaged default, if this template is the default one."""
    await session.execute(
        update(ProjectRow)
        .where(ProjectRow.id == project.id, ProjectRow.default_template_id == template_id)
        .values(default_template_id=None, updated_at=clock.now())
    )


def _known_plan(plans: Catalogue, plan: str) -> None:
    if plan not in plans:
        raise ValidationFailed.of("plan", f"must be one of: {', '.join(plans)}")
