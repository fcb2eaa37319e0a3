"""``/project``, ``/account``, ``/account/usage``, ``/audit-log`` and ``/smtp-credentials``."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID

from litestar import Controller, Request, delete, get, patch, post
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, FromQuery, JSONBody
from litestar.response import Stream
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts import queries, service, smtp_credentials
from newsletter.accounts.inbox import inbox_url
from newsletter.accounts.keys import By, NewKey
from newsletter.accounts.models import APIKey, ProjectRow
from newsletter.accounts.project import Principal, Project
from newsletter.accounts.queries import AuditFilters
from newsletter.accounts.schemas import (
    AccountOut,
    AccountUsage,
    AuditEntryOut,
    ProjectOut,
    ProjectUpdate,
    SMTPCredentialCreate,
    SMTPCredentialCreated,
    SMTPCredentialOut,
    SMTPCredentialRotate,
    UsageOut,
)
from newsletter.kit import ids, paging, sheets
from newsletter.kit.crypto import Vault
from newsletter.kit.db import Database
from newsletter.kit.idempotency import Once
from newsletter.kit.schema import CursorMeta, CursorPage, Data, Page, instant, without_nul
from newsletter.kit.sheets import JSON_LINES
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


def audit_filters(
    action: FromQuery[str | None] = None,
    subject: FromQuery[str | None] = None,
    key_id: FromQuery[str | None] = None,
    since: FromQuery[str | None] = None,
    until: FromQuery[str | None] = None,
) -> AuditFilters:
    return AuditFilters(
        action=without_nul("action", action),
        subject=without_nul("subject", subject),
        key_id=ids.in_query("key", "key_id", key_id),
        since=instant("since", since),
        until=instant("until", until),
    )


class AuditController(Controller):
    path = "/"
    tags = ("Account",)
    dependencies = {"filters": Provide(audit_filters, sync_to_thread=False)}  # noqa: RUF012

    @get(
        "/audit-log",
        operation_id="list_audit_entries",
        summary="Who did what may have to be answered for, the newest first",
        opt={"scope": "audit:read"},
    )
    async def index(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        filters: NamedDependency[AuditFilters],
        cursor: FromQuery[str | None] = None,
        per_page: FromQuery[int] = 20,
    ) -> CursorPage[AuditEntryOut]:
        """Of the project. Entries are only ever added: nobody can change or remove one."""
        paging.check(1, per_page)
        principal.require_every_list()
        before = paging.read_cursor(cursor)
        async with db.read() as session:
            rows = await queries.audit_entries(
                session, principal.project, filters, before=before, limit=per_page
            )
        more = paging.next_cursor([row.id for row in rows], per_page)
        shown = [AuditEntryOut.model_validate(row) for row in rows]
        return CursorPage(data=shown, meta=CursorMeta(per_page=per_page, next_cursor=more))

    @get(
        "/audit-log.jsonl",
        operation_id="export_audit_entries",
        summary="The same as JSON lines",
        opt={"scope": "audit:read", "media": JSON_LINES},
    )
    async def download(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        filters: NamedDependency[AuditFilters],
    ) -> Stream:
        """All that match."""
        principal.require_every_list()
        return Stream(
            _audit_lines(db, principal.project, filters),
            media_type=JSON_LINES,
            headers={"Content-Disposition": 'attachment; filename="audit-log.jsonl"'},
        )


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
        data: JSONBody[SMTPCredentialRotate],
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
                overlap=timedelta(hours=data.overlap_hours),
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


ROWS_PER_READ = 1_000


async def _audit_lines(db: Database, project: Project, filters: AuditFilters) -> AsyncIterator[bytes]:
    """Each page is read by itself: a slow reader holds no transaction open."""
    before: UUID | None = None
    while True:
        async with db.read() as session:
            rows = await queries.audit_entries(session, project, filters, before=before, limit=ROWS_PER_READ)
        if rows:
            yield sheets.json_lines(AuditEntryOut.model_validate(row).model_dump(mode="json") for row in rows)
        if len(rows) < ROWS_PER_READ:
            return
        before = rows[-1].id


def _shown(row: ProjectRow, principal: Principal, signer: Signer, settings: Settings) -> ProjectOut:
    out = ProjectOut.model_validate(row)
    if row.is_test and not principal.list_ids:  # It shows the mail of all lists.
        out.inbox_url = inbox_url(signer, settings.public_url, row.id)
    return out
