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
    "serve": ("processes", "Serve the API, and do the work in the embedded mode."),
    "worker": ("processes", "Do the work that API processes leave."),
    "smtpd": ("processes", "Take in mail that comes back, and mail to send."),
    "demo": ("demo", "Send a campaign from a topic to an inbox."),
    "doctor": ("doctor", "Check what the service needs and say how to mend it."),
    "db": ("admin", "The database."),
    "accounts": ("admin", "Accounts and their plans."),
    "keys": ("admin", "API keys of a project."),
    "audit": ("audit", "The audit log."),
    "feedback": ("feedback", "Mails that come back."),
    "suppressions": ("suppressions", "Addresses that must never be mailed."),
}
"""The module of each command, and what the list of them says of it. A module is imported when its command is
called, so that none waits for what only others need: neither ``newsletter --version`` nor ``--help`` needs a
database."""


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_HOMES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _HOMES:
            return None
        home, _ = _HOMES[cmd_name]
        # Not in `main`: click looks a command up, which loads OpenSSL with its module, before it calls that.
        settle_openssl()
        command = getattr(import_module(f"newsletter.cli.{home}"), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _HOMES.items()])


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
