"""The front door: ``newsletter serve | worker | demo | doctor | db | accounts | keys | feedback``."""

import os
from pathlib import Path

import click
from pydantic import ValidationError

from newsletter import __version__
from newsletter.cli.admin import accounts, db, keys
from newsletter.cli.demo import demo
from newsletter.cli.doctor import doctor
from newsletter.cli.feedback import feedback
from newsletter.cli.processes import serve, worker
from newsletter.kit.logging import configure
from newsletter.settings import PREFIX, Settings, explain


@click.group()
@click.version_option(__version__)
@click.pass_context
def main(context: click.Context) -> None:
    """An AI newsletter service: a topic goes in, newsletters arrive."""
    named = os.environ.get(PREFIX + "ENV_FILE")
    if named and not Path(named).is_file():
        raise click.ClickException(f"NEWSLETTER_ENV_FILE: there is no file {named}")
    try:
        settings = Settings()
    except ValidationError as error:
        raise click.ClickException("The settings are wrong:\n  " + "\n  ".join(explain(error))) from None
    configure(settings.log_level, settings.log_format)
    context.obj = settings


for command in (serve, worker, demo, doctor, db, accounts, keys, feedback):
    main.add_command(command)
