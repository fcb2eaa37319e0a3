"""``newsletter doctor``."""

import json
from dataclasses import asdict

import click

from newsletter.cli.console import plainly
from newsletter.doctor.examine import examine
from newsletter.doctor.finding import Finding, Level
from newsletter.kit.logging import configure
from newsletter.settings import Settings

_COLOURS = {Level.ok: "green", Level.off: "blue", Level.warning: "yellow", Level.broken: "red"}


@click.command()
@click.option("--json", "as_json", is_flag=True)
@click.pass_obj
def doctor(settings: Settings, as_json: bool) -> None:
    """Check what the service needs and say how to mend it; fails when something is broken."""
    configure("error", settings.log_format)
    findings = plainly(examine(settings))
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings]))
    else:
        _show(findings)
    if any(finding.level is Level.broken for finding in findings):
        click.get_current_context().exit(1)


def _show(findings: list[Finding]) -> None:
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        mark = click.style(f"{finding.level.value:<7}", fg=_COLOURS[finding.level])
        click.echo(f"{mark}  {finding.name:<{width}}  {finding.text}")
        if finding.mend:
            click.echo(f"{'':<{9 + width}}  → {finding.mend}")
