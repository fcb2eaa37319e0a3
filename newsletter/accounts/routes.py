"""``/project``, ``/account`` and ``/account/usage``."""

from litestar import Controller, get, patch
from litestar.di import NamedDependency
from litestar.params import JSONBody

from newsletter.accounts import queries, service
from newsletter.accounts.inbox import inbox_url
from newsletter.accounts.models import ProjectRow
from newsletter.accounts.project import Principal
from newsletter.accounts.schemas import AccountOut, AccountUsage, ProjectOut, ProjectUpdate, UsageOut
from newsletter.kit.db import Database
from newsletter.kit.schema import Data
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
            return Data(data=_shown(row, signer, settings))

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
        async with db.unit_of_work() as session:
            row = await service.update_project(session, principal.project, data)
            return Data(data=_shown(row, signer, settings))


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


def _shown(row: ProjectRow, signer: Signer, settings: Settings) -> ProjectOut:
    out = ProjectOut.model_validate(row)
    if row.is_test:
        out.inbox_url = inbox_url(signer, settings.public_url, row.id)
    return out
