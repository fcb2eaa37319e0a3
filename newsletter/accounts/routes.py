"""``/project``, ``/account``, ``/account/usage`` and ``/smtp-credentials``."""

from datetime import timedelta
from typing import Any

from litestar import Controller, Request, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts import queries, service, smtp_credentials
from newsletter.accounts.inbox import inbox_url
from newsletter.accounts.keys import By, NewKey
from newsletter.accounts.models import APIKey, ProjectRow
from newsletter.accounts.project import Principal, Project
from newsletter.accounts.schemas import (
    AccountOut,
    AccountUsage,
    ProjectOut,
    ProjectUpdate,
    SMTPCredentialCreate,
    SMTPCredentialCreated,
    SMTPCredentialOut,
    SMTPCredentialRotate,
    UsageOut,
)
from newsletter.kit import ids, paging
from newsletter.kit.crypto import Vault
from newsletter.kit.db import Database
from newsletter.kit.idempotency import Once
from newsletter.kit.schema import Data, Page
from newsletter.kit.tokens import Signer
from newsletter.plans import service as plans
from newsletter.plans.catalogue import Resource
from newsletter.settings import Settings


class ProjectController(Controller):
    path = "/project"
    tags = ("Project",)

    @get(operation_id="get_project", summary="Read the project's settings", opt={"scope": "project:read"})
    async def read(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        signer: NamedDependency[Signer],
        settings: NamedDependency[Settings],
    ) -> Data[ProjectOut]:
        async with db.read() as session:
            row = await queries.project_row(session, principal.project)
            return Data(data=_shown(row, principal, signer, settings))

    @patch(
        operation_id="update_project", summary="Change the project's settings", opt={"scope": "project:write"}
    )
    async def update(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        signer: NamedDependency[Signer],
        settings: NamedDependency[Settings],
        data: JSONBody[ProjectUpdate],
    ) -> Data[ProjectOut]:
        principal.require_every_list()
        async with db.unit_of_work() as session:
            row = await service.update_project(session, principal.project, data)
            return Data(data=_shown(row, principal, signer, settings))


class AccountController(Controller):
    path = "/account"
    tags = ("Account",)

    @get(operation_id="get_account", summary="Read the account", opt={"scope": "account:read"})
    async def read(
        self, db: NamedDependency[Database], principal: NamedDependency[Principal]
    ) -> Data[AccountOut]:
        async with db.read() as session:
            row = await queries.account(session, principal.project)
            return Data(data=AccountOut.model_validate(row))

    @get(
        "/usage",
        operation_id="get_account_usage",
        summary="Read what the plan allows and what is used of it",
        opt={"scope": "account:read"},
    )
    async def usage(
        self, db: NamedDependency[Database], principal: NamedDependency[Principal]
    ) -> Data[AccountUsage]:
        owner = principal.project.quota_owner_id
        async with db.read() as session:
            used = {
                resource.value: await plans.usage(session, owner, resource, principal.plan.limits[resource])
                for resource in Resource
            }
        numbers = {
            name: UsageOut(used=row.used, reserved=row.reserved, limit=row.limit, period=row.period or None)
            for name, row in used.items()
        }
        return Data(data=AccountUsage(plan=principal.plan.name, **numbers))


class SMTPCredentialController(Controller):
    path = "/smtp-credentials"
    tags = ("Single mails",)

    @post(
        operation_id="create_smtp_credential",
        summary="Make a user name and password to send by SMTP",
        opt={"scope": "smtp_credentials:write"},
    )
    async def create(
        self,
        request: Request[Any, Any, Any],
        db: NamedDependency[Database],
        vault: NamedDependency[Vault],
        settings: NamedDependency[Settings],
        principal: NamedDependency[Principal],
        once: NamedDependency[Once],
        data: JSONBody[SMTPCredentialCreate],
    ) -> Data[SMTPCredentialCreated]:
        """The answer holds the password; it is shown this once. It can send, and do nothing else."""
        principal.require_every_list()
        async with db.unit_of_work() as session:
            made = await smtp_credentials.create(
                session,
                vault,
                principal,
                name=data.name,
                from_domains=tuple(data.from_domains),
                by=_by(request, principal),
                limit=settings.limits.smtp_credentials,
            )
            out = await _credential_made(session, principal.project, made)
            await once.keep(session, 201, out)
        return out

    @get(
        operation_id="list_smtp_credentials",
        summary="List the SMTP credentials in force",
        opt={"scope": "smtp_credentials:read"},
    )
    async def index(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        page: FromQuery[int] = 1,
        per_page: FromQuery[int] = 20,
    ) -> Page[SMTPCredentialOut]:
        """Without their passwords, which nobody knows any more."""
        principal.require_every_list()
        async with db.read() as session:
            wanted = smtp_credentials.in_force(principal.project)
            rows, meta = await paging.numbered(session, wanted, page, per_page)
        return Page(data=[_credential(row, principal.project) for row in rows], meta=meta)

    @post(
        "/{credential_id:str}/rotate",
        operation_id="rotate_smtp_credential",
        summary="Replace an SMTP credential by a new one",
        opt={"scope": "smtp_credentials:write"},
    )
    async def rotate(
        self,
        request: Request[Any, Any, Any],
        db: NamedDependency[Database],
        vault: NamedDependency[Vault],
        settings: NamedDependency[Settings],
        principal: NamedDependency[Principal],
        once: NamedDependency[Once],
        credential_id: FromPath[str],
        data: JSONBody[SMTPCredentialRotate | None] = None,
    ) -> Data[SMTPCredentialCreated]:
        """A new password, shown this once, under an id of its own. Until the overlap is over both are
        taken, so that each program can change at any moment before."""
        principal.require_every_list()
        async with db.unit_of_work() as session:
            made = await smtp_credentials.rotate(
                session,
                vault,
                principal,
                ids.in_path("key", credential_id),
                overlap=timedelta(hours=(data or SMTPCredentialRotate()).overlap_hours),
                by=_by(request, principal),
                limit=settings.limits.smtp_credentials,
            )
            out = await _credential_made(session, principal.project, made)
            await once.keep(session, 201, out)
        return out

    @delete(
        "/{credential_id:str}",
        operation_id="revoke_smtp_credential",
        summary="Revoke an SMTP credential",
        opt={"scope": "smtp_credentials:write"},
    )
    async def remove(
        self,
        request: Request[Any, Any, Any],
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        credential_id: FromPath[str],
    ) -> None:
        """At once, also for connections that signed in with it before."""
        principal.require_every_list()
        key_id = ids.in_path("key", credential_id)
        async with db.unit_of_work() as session:
            await smtp_credentials.revoke(session, principal.project, key_id, by=_by(request, principal))


def _by(request: Request[Any, Any, Any], principal: Principal) -> By:
    return By(principal.key_id, request.client.host if request.client else None)


async def _credential_made(
    session: AsyncSession, project: Project, made: NewKey
) -> Data[SMTPCredentialCreated]:
    row = await smtp_credentials.one(session, project, made.id)
    shown = _credential(row, project)
    return Data(data=SMTPCredentialCreated(**dict(shown), password=made.secret))


def _credential(row: APIKey, project: Project) -> SMTPCredentialOut:
    return SMTPCredentialOut(
        id=row.id,
        name=row.name,
        username=smtp_credentials.username(project),
        prefix=row.prefix,
        from_domains=row.from_domains,
        created_at=row.created_at,
        last_used_at=row.last_used_at,
        expires_at=row.revoked_at,
    )


def _shown(row: ProjectRow, principal: Principal, signer: Signer, settings: Settings) -> ProjectOut:
    out = ProjectOut.model_validate(row)
    if row.is_test and not principal.list_ids:  # It shows the mail of all lists.
        out.inbox_url = inbox_url(signer, settings.public_url, row.id)
    return out
