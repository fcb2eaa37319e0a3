"""``newsletter suppressions``: addresses that nobody on this installation may mail."""

from collections.abc import Collection
from pathlib import Path

import click

from newsletter.accounts.audit import service as audit
from newsletter.cli.console import run, show
from newsletter.kit import address
from newsletter.runtime import Runtime
from newsletter.settings import Settings
from newsletter.suppressions import queries, service
from newsletter.suppressions.models import Reason

_GLOBAL = click.option(
    "--global",
    "is_global",
    is_flag=True,
    required=True,
    help="For all accounts. Those of one project are its own to change, by the API.",
)
_REASON = click.option(
    "--reason",
    type=click.Choice([Reason.manual, Reason.hard_bounce, Reason.complaint]),
    default=Reason.manual,
    show_default=True,
)


@click.group()
def suppressions() -> None:
    """Addresses that must never be mailed."""


@suppressions.command()
@click.argument("addresses", nargs=-1, required=True, metavar="ADDRESS…")
@_GLOBAL
@_REASON
@click.pass_obj
def add(settings: Settings, addresses: tuple[str, ...], is_global: bool, reason: Reason) -> None:
    """Suppress addresses in the whole installation; safe to repeat."""
    show(_suppress(settings, _keys(addresses), Reason(reason)), as_json=False)


@suppressions.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@_GLOBAL
@_REASON
@click.pass_obj
def take_in(settings: Settings, file: Path, is_global: bool, reason: Reason) -> None:
    """Suppress the addresses of a FILE, one a line; empty lines and those after a # are left out."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise click.ClickException(f"{file} is not UTF-8: save it as that") from None
    lines = {number: line.strip() for number, line in enumerate(text.splitlines(), start=1)}
    found = [
        _key(line, f"line {number}") for number, line in lines.items() if line and not line.startswith("#")
    ]
    show(_suppress(settings, found, Reason(reason)), as_json=False)


@suppressions.command()
@click.argument("addresses", nargs=-1, required=True, metavar="ADDRESS…")
@_GLOBAL
@click.pass_obj
def remove(settings: Settings, addresses: tuple[str, ...], is_global: bool) -> None:
    """Let addresses be mailed again, where no project suppresses them itself."""
    keys = _keys(addresses)

    async def lift(runtime: Runtime) -> dict[str, str]:
        async with runtime.db.unit_of_work() as session:
            removed = await service.lift_everywhere(session, keys)
            await audit.note(
                session, None, "global_suppressions.removed", "global", details={"addresses": removed}
            )
        return {"removed": str(removed)}

    show(run(settings, lift), as_json=False)


AT_ONCE = 1_000
"""Addresses of one transaction."""


def _suppress(settings: Settings, keys: Collection[str], reason: Reason) -> dict[str, str]:
    wanted = sorted(set(keys))

    async def suppress(runtime: Runtime) -> dict[str, str]:
        added = 0
        for start in range(0, len(wanted), AT_ONCE):
            async with runtime.db.unit_of_work() as session:
                new = await service.suppress(
                    session,
                    project_id=None,
                    scope=queries.GLOBAL_SCOPE,
                    address_keys=wanted[start : start + AT_ONCE],
                    reason=reason,
                    source="operator",
                )
                added += len(new)
                await audit.note(
                    session, None, "global_suppressions.added", "global", details={"addresses": len(new)}
                )
        return {"added": str(added), "known": str(len(wanted) - added)}

    return run(settings, suppress)


def _keys(addresses: Collection[str]) -> list[str]:
    return [_key(text, "ADDRESS") for text in addresses]


def _key(text: str, where: str) -> str:
    """Raises `click.BadParameter` for what is no address."""
    try:
        return address.parse(text).key
    except ValueError as error:
        raise click.BadParameter(f"{text}: {error}", param_hint=where) from None
