"""``newsletter audit``: whether the audit log is as it was written."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import click

from newsletter.accounts.audit import queries, service, verifying
from newsletter.accounts.audit.chain import chain_of, project_of
from newsletter.accounts.audit.verifying import Examined, Kept
from newsletter.cli.console import private_id, run
from newsletter.kit import ids
from newsletter.runtime import Runtime
from newsletter.settings import Settings


@click.group()
def audit() -> None:
    """The audit log."""


@audit.command()
@click.option("--project", "project_id", metavar="ID", help="Only this project's chain. Default: all chains.")
@click.option(
    "--head",
    "files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file of heads from before, as GET /audit-log/head answers, one a line.",
)
@click.pass_obj
def verify(settings: Settings, project_id: str | None, files: tuple[Path, ...]) -> None:
    """Name what was altered, taken out, exchanged or cut off. Ends with status 1 where there is anything."""
    kept = [head for file in files for head in _heads(file)]
    wanted = None if project_id is None else private_id("prj", project_id)

    async def look(runtime: Runtime) -> list[Examined]:
        async with runtime.db.read() as session:
            known = await queries.chain_ids(session)
        # A head that was kept tells of a chain of which there is nothing any more.
        chains = sorted({*known, *(each.chain_id for each in kept)}) if wanted is None else [wanted]
        return [
            await verifying.examine(
                runtime.db,
                runtime.notary,
                chain_id,
                [each for each in kept if each.chain_id == chain_id],
            )
            for chain_id in chains
        ]

    examined = run(settings, look)
    for each in examined:
        last = each.head.seq if each.head else 0
        state = f"{len(each.findings)} findings" if each.findings else "as it was written"
        click.echo(f"{_name(each.chain_id)}: {each.entries} read, up to number {last}; {state}")
        for finding in each.findings:
            click.echo(f"  {finding}")
    if any(each.findings for each in examined):
        sys.exit(1)


@audit.command()
@click.option("--project", "project_id", metavar="ID", help="Only this project's chain. Default: all chains.")
@click.pass_obj
def sign(settings: Settings, project_id: str | None) -> None:
    """Sign all heads with the newest secret key. Where one had no good signature, this vouches for its chain
    as it is now, and the log says so: verify first."""
    wanted = None if project_id is None else private_id("prj", project_id)

    async def renew(runtime: Runtime) -> Sequence[tuple[UUID, bool]]:
        async with runtime.db.read() as session:
            known = await queries.chain_ids(session)
        signed = []
        for chain_id in known:
            if wanted in (None, chain_id):
                async with runtime.db.unit_of_work() as session:
                    signed.append((chain_id, await service.sign(session, chain_id)))
        return signed

    for chain_id, was_good in run(settings, renew):
        click.echo(f"{_name(chain_id)}: signed{'' if was_good else ', which it was not before'}")


def _name(chain_id: UUID) -> str:
    return project_of(chain_id) or "the installation"


def _heads(file: Path) -> list[Kept]:
    """Raises `click.ClickException` for a line that is no head."""
    found = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            head = json.loads(line)
            head = head.get("data", head)
            project_id = head["project_id"]
            chain_id = chain_of(None if project_id is None else ids.private("prj", project_id))
            found.append(Kept(chain_id, int(head["seq"]), str(head["hash"])))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise click.ClickException(f"{file}, line {number}: this is no head") from None
    return found
