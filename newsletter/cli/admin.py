"""``newsletter db``, ``accounts`` and ``keys``: what an operator changes by hand."""

import json

import click
from pydantic import ValidationError

from newsletter import migrations
from newsletter.accounts import keys as api_keys
from newsletter.accounts import queries, service
from newsletter.accounts.project import Project
from newsletter.accounts.schemas import ProjectUpdate
from newsletter.cli.console import private_id, run, show
from newsletter.kit import address, clock, ids
from newsletter.kit.wording import plain
from newsletter.runtime import Runtime
from newsletter.settings import Settings


@click.group()
def db() -> None:
    """The database."""


@db.command()
@click.pass_obj
def upgrade(settings: Settings) -> None:
    """Bring the database to the newest schema; safe to repeat."""
    run(settings, lambda runtime: migrations.upgrade(runtime.db.engine))
    click.echo(f"The database is at revision {migrations.head()}.")


@click.group()
def accounts() -> None:
    """Accounts and their plans."""


@accounts.command("create")
@click.option("--name", required=True)
@click.option("--email", required=True, help="Becomes the sender of the first project.")
@click.option("--plan", default="free", show_default=True)
@click.option("--postal-address", help="Stands in the footer of every mail, as the law asks.")
@click.option("--test", "is_test", is_flag=True, help="A test project: its mail stays in a sandbox inbox.")
@click.option("--json", "as_json", is_flag=True)
@click.pass_obj
def create_account(
    settings: Settings,
    name: str,
    email: str,
    plan: str,
    postal_address: str | None,
    is_test: bool,
    as_json: bool,
) -> None:
    """Create an account with a project and an API key, which is shown this once."""
    try:
        sender = address.parse(email).spelling
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--email") from None
    _check_project(name, sender, postal_address)

    async def create(runtime: Runtime) -> dict[str, str]:
        async with runtime.db.unit_of_work() as session:
            made = await service.create_account(
                session,
                runtime.plans,
                name=name,
                email=sender,
                plan=plan,
                postal_address=postal_address,
                is_test=is_test,
            )
            key = await api_keys.create(session, runtime.vault, made.project, name="first key")
        return {
            "account_id": ids.public("acc", made.id),
            "project_id": ids.public("prj", made.project.id),
            "api_key": key.secret,
        }

    show(run(settings, create), as_json=as_json)


def _check_project(name: str, sender: str, postal_address: str | None) -> None:
    """Raises `click.BadParameter` for what the API would refuse: the name becomes the sender's."""
    try:
        ProjectUpdate(name=name, from_name=name, from_email=sender, postal_address=postal_address)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
        option = {"postal_address": "--postal-address", "from_email": "--email"}.get(
            str(problem["loc"][0]), "--name"
        )
        raise click.BadParameter(plain(problem["msg"]), param_hint=option) from None


@accounts.command("plan")
@click.argument("account_id")
@click.argument("plan")
@click.pass_obj
def change_plan(settings: Settings, account_id: str, plan: str) -> None:
    """Move an account to another plan; it holds from the next call on."""
    key = private_id("acc", account_id)

    async def change(runtime: Runtime) -> None:
        async with runtime.db.unit_of_work() as session:
            await service.change_plan(session, runtime.plans, key, plan)

    run(settings, change)
    click.echo(f"{account_id} is on the plan {plan}.")


@click.group()
def keys() -> None:
    """API keys of a project."""


@keys.command("create")
@click.option("--project", "project_id", required=True, help="The id of the project, prj_…")
@click.option("--name", required=True, help="What the key is for.")
@click.option("--scope", "scopes", multiple=True, help="Repeat for several; without it: everything.")
@click.option("--list", "lists", multiple=True, help="Restrict the key to this list; repeat for several.")
@click.option("--from-domain", "domains", multiple=True, help="Restrict the key to this sender domain.")
@click.option("--json", "as_json", is_flag=True)
@click.pass_obj
def create_key(
    settings: Settings,
    project_id: str,
    name: str,
    scopes: tuple[str, ...],
    lists: tuple[str, ...],
    domains: tuple[str, ...],
    as_json: bool,
) -> None:
    """Create a key; it is shown this once."""
    list_ids = tuple(private_id("lst", text) for text in lists)

    async def create(runtime: Runtime) -> dict[str, str]:
        project = await _project(runtime, project_id)
        async with runtime.db.unit_of_work() as session:
            key = await api_keys.create(
                session,
                runtime.vault,
                project,
                name=name,
                scopes=scopes or ("*",),
                list_ids=list_ids,
                from_domains=domains,
            )
        return {"key_id": ids.public("key", key.id), "api_key": key.secret}

    show(run(settings, create), as_json=as_json)


@keys.command("list")
@click.option("--project", "project_id", required=True)
@click.option("--json", "as_json", is_flag=True)
@click.pass_obj
def list_keys(settings: Settings, project_id: str, as_json: bool) -> None:
    """List the keys of a project by their prefixes."""

    async def read(runtime: Runtime) -> list[dict[str, str]]:
        project = await _project(runtime, project_id)
        async with runtime.db.read() as session:
            rows = await api_keys.listed(session, project)
        return [
            {
                "key_id": ids.public("key", row.id),
                "prefix": row.prefix,
                "name": row.name,
                "scopes": " ".join(row.scopes),
                "last_used_at": str(row.last_used_at or "never"),
                "status": "revoked" if row.revoked_at and row.revoked_at <= clock.now() else "active",
            }
            for row in rows
        ]

    rows = run(settings, read)
    if as_json:
        click.echo(json.dumps(rows))
    for row in [] if as_json else rows:
        click.echo("  ".join(row.values()))


@keys.command("revoke")
@click.argument("key_id")
@click.pass_obj
def revoke_key(settings: Settings, key_id: str) -> None:
    """Revoke a key; it is refused from the next call on."""
    key = private_id("key", key_id)

    async def revoke(runtime: Runtime) -> bool:
        async with runtime.db.unit_of_work() as session:
            return await api_keys.revoke(session, key)

    if not run(settings, revoke):
        raise click.ClickException(f"There is no active key {key_id}.")
    click.echo(f"{key_id} is revoked.")


async def _project(runtime: Runtime, project_id: str) -> Project:
    async with runtime.db.read() as session:
        found = await queries.project_by_id(session, private_id("prj", project_id))
    if found is None:
        raise click.ClickException(f"There is no project {project_id}.")
    return found
