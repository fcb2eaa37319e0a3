"""The front door: ``newsletter serve | worker | demo | db | accounts | keys | doctor``."""

import asyncio
import json
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from uuid import UUID

import click
import dramatiq
import uvicorn
from pydantic import ValidationError

from newsletter import __version__, migrations
from newsletter.accounts import keys as api_keys
from newsletter.accounts import queries as account_queries
from newsletter.accounts import service as accounts
from newsletter.accounts.project import Project
from newsletter.asgi import Lifespan, create_app
from newsletter.kit import address, ids
from newsletter.kit.broker import BrokerBell, make_broker
from newsletter.kit.errors import NewsletterError
from newsletter.kit.logging import configure
from newsletter.runtime import Runtime
from newsletter.settings import Settings, explain
from workers.main import Workers

T = TypeVar("T")

GRACE_SECONDS = 5
"""What open requests get to finish when the server is asked to end."""


@click.group()
@click.version_option(__version__)
@click.pass_context
def main(context: click.Context) -> None:
    """An AI newsletter service: a topic goes in, newsletters arrive."""
    try:
        settings = Settings()
    except ValidationError as error:
        raise click.ClickException("The settings are wrong:\n  " + "\n  ".join(explain(error))) from None
    configure(settings.log_level, settings.log_format)
    context.obj = settings


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535))
@click.option("--no-worker", is_flag=True, help="Only the API; start 'newsletter worker' beside it.")
@click.pass_obj
def serve(settings: Settings, host: str, port: int, no_worker: bool) -> None:
    """Serve the API; in the embedded mode also do the work, in this one process."""
    if no_worker and not settings.is_distributed:
        raise click.ClickException(
            "--no-worker needs a broker that workers share: set NEWSLETTER_REDIS_URL, or leave it out."
        )
    asyncio.run(_prepare(settings))
    broker = make_broker(settings.broker_url)
    lifespan = [] if no_worker else [_workers(settings, broker)]
    app = create_app(Runtime(settings, BrokerBell(broker)), lifespan)
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        loop="uvloop",
        http="httptools",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        server_header=False,
    )
    uvicorn.Server(config).run()


@main.command()
@click.pass_obj
def worker(settings: Settings) -> None:
    """Do the work that API processes leave; start as many as you need."""
    if not settings.is_distributed:
        raise click.ClickException(
            "'newsletter serve' already works in this mode. Workers of their own need NEWSLETTER_REDIS_URL."
        )
    asyncio.run(_prepare(settings))
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    workers = Workers(settings, make_broker(settings.broker_url))
    workers.start()
    ended.wait()
    workers.stop()


@main.group()
def db() -> None:
    """The database."""


@db.command()
@click.pass_obj
def upgrade(settings: Settings) -> None:
    """Bring the database to the newest schema; safe to repeat."""
    _run(settings, lambda runtime: migrations.upgrade(runtime.db.engine))
    click.echo(f"The database is at revision {migrations.head()}.")


@main.group("accounts")
def accounts_group() -> None:
    """Accounts and their plans."""


@accounts_group.command("create")
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

    async def create(runtime: Runtime) -> dict[str, str]:
        async with runtime.db.unit_of_work() as session:
            made = await accounts.create_account(
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

    _show(_run(settings, create), as_json)


@accounts_group.command("plan")
@click.argument("account_id")
@click.argument("plan")
@click.pass_obj
def change_plan(settings: Settings, account_id: str, plan: str) -> None:
    """Move an account to another plan; it holds from the next call on."""
    key = _id("acc", account_id)

    async def change(runtime: Runtime) -> None:
        async with runtime.db.unit_of_work() as session:
            await accounts.change_plan(session, runtime.plans, key, plan)

    _run(settings, change)
    click.echo(f"{account_id} is on the plan {plan}.")


@main.group()
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
    list_ids = tuple(_id("lst", text) for text in lists)

    async def create(runtime: Runtime) -> dict[str, str]:
        async with runtime.db.unit_of_work() as session:
            key = await api_keys.create(
                session,
                runtime.vault,
                await _project(runtime, project_id),
                name=name,
                scopes=scopes or ("*",),
                list_ids=list_ids,
                from_domains=domains,
            )
        return {"key_id": ids.public("key", key.id), "api_key": key.secret}

    _show(_run(settings, create), as_json)


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
                "status": "revoked" if row.revoked_at else "active",
            }
            for row in rows
        ]

    rows = _run(settings, read)
    if as_json:
        click.echo(json.dumps(rows))
    for row in [] if as_json else rows:
        click.echo("  ".join(row.values()))


@keys.command("revoke")
@click.argument("key_id")
@click.pass_obj
def revoke_key(settings: Settings, key_id: str) -> None:
    """Revoke a key; it is refused from the next call on."""
    key = _id("key", key_id)

    async def revoke(runtime: Runtime) -> bool:
        async with runtime.db.unit_of_work() as session:
            return await api_keys.revoke(session, key)

    if not _run(settings, revoke):
        raise click.ClickException(f"There is no active key {key_id}.")
    click.echo(f"{key_id} is revoked.")


async def _prepare(settings: Settings) -> None:
    """SQLite is migrated on the spot; a shared database only by the one who says so."""
    runtime = Runtime(settings, lambda rings: None)
    try:
        if settings.is_sqlite:
            settings.data_dir.mkdir(parents=True, exist_ok=True)
            await migrations.upgrade(runtime.db.engine)
        elif await migrations.current(runtime.db.engine) != migrations.head():
            raise click.ClickException(
                "The database is not at the newest schema: run 'newsletter db upgrade'."
            )
    finally:
        await runtime.aclose()


@asynccontextmanager
async def _running(settings: Settings, broker: dramatiq.Broker) -> AsyncIterator[None]:
    workers = Workers(settings, broker)
    await asyncio.to_thread(workers.start)
    try:
        yield
    finally:
        await asyncio.to_thread(workers.stop)


def _workers(settings: Settings, broker: dramatiq.Broker) -> Lifespan:
    return lambda app: _running(settings, broker)


def _run(settings: Settings, work: Callable[[Runtime], Coroutine[Any, Any, T]]) -> T:
    """Runs one piece of work on a runtime of its own; what it writes, a running service sees."""

    async def inside() -> T:
        if settings.is_sqlite:
            await _prepare(settings)
        runtime = Runtime(settings, lambda rings: None)
        try:
            return await work(runtime)
        finally:
            await runtime.aclose()

    try:
        return asyncio.run(inside())
    except NewsletterError as error:
        details = [f"{field}: {text}" for field, texts in error.errors.items() for text in texts]
        raise click.ClickException("\n  ".join([error.message, *details])) from None


async def _project(runtime: Runtime, project_id: str) -> Project:
    async with runtime.db.read() as session:
        found = await account_queries.project_by_id(session, _id("prj", project_id))
    if found is None:
        raise click.ClickException(f"There is no project {project_id}.")
    return found


def _id(prefix: str, text: str) -> UUID:
    try:
        return ids.private(prefix, text)
    except ValueError as error:
        raise click.BadParameter(f"{text}: {error}") from None


def _show(values: dict[str, str], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(values))
        return
    width = max(map(len, values))
    for name, value in values.items():
        click.echo(f"{name:<{width}}  {value}")


if __name__ == "__main__":
    sys.exit(main())
