"""The front door: ``newsletter serve | worker | smtpd | demo | doctor | db | accounts | keys | audit |
feedback | suppressions``."""

import os
from importlib import import_module
from pathlib import Path

import click
from pydantic import ValidationError
from pydantic_settings import SettingsError

from newsletter import __version__
from newsletter.kit.logging import configure
from newsletter.kit.processor import settle_openssl
from newsletter.settings import PREFIX, Settings, explain, explain_unreadable

_HOMES = {
    "serve": "processes",
    "worker": "processes",
    "smtpd": "processes",
    "demo": "demo",
    "doctor": "doctor",
    "db": "admin",
    "accounts": "admin",
    "keys": "admin",
    "audit": "audit",
    "feedback": "feedback",
    "suppressions": "suppressions",
}
"""The module of each command. It is imported when the command is called, so that none waits for
what only others need: ``newsletter --version`` needs no database."""


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_HOMES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        home = _HOMES.get(cmd_name)
        if home is None:
            return None
        # Not in `main`: click looks a command up, which loads OpenSSL with its module, before it calls that.
        settle_openssl()
        command = getattr(import_module(f"newsletter.cli.{home}"), cmd_name)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=_Commands)
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
        raise _wrong(explain(error)) from None
    except SettingsError as error:
        raise _wrong(explain_unreadable(error)) from None
    configure(settings.log_level, settings.log_format)
    context.obj = settings


def _wrong(lines: list[str]) -> click.ClickException:
    return click.ClickException("\n  ".join(["The settings are wrong:", *lines]))
