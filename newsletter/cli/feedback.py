"""``newsletter feedback classify``: what a returned mail says, without writing anything."""

import json
import sys
from pathlib import Path

import click

from newsletter.feedback.reports import MAX_BYTES, read


@click.group()
def feedback() -> None:
    """Mails that come back."""


@feedback.command()
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def classify(files: tuple[Path, ...], as_json: bool) -> None:
    """Tell bounces, complaints and automatic replies apart: one line for each mail."""
    unread = False
    for path in files:
        try:
            with path.open("rb") as mail:
                report = read(mail.read(MAX_BYTES))
        except OSError as error:
            click.echo(f"{path}: {error.strerror}", err=True)
            unread = True
            continue
        if as_json:
            line = {
                "file": str(path),
                "kind": report.kind.value,
                "status": report.status,
                "reason": report.reason,
                "recipient": report.recipient,
            }
            click.echo(json.dumps(line, ensure_ascii=False))
        else:
            told = [report.kind.value, report.status or "-", report.recipient or "-", report.reason]
            click.echo(f"{path}: {_printable('  '.join(told))}")
    if unread:
        sys.exit(1)


def _printable(text: str) -> str:
    """A mail must not steer the terminal that it is shown on."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)
