"""``newsletter demo``."""

import click

from newsletter.cli.console import plainly
from newsletter.demo.run import run
from newsletter.demo.tour import DemoFailed
from newsletter.kit.logging import configure
from newsletter.settings import Settings


@click.command()
@click.option("--once", is_flag=True, help="End after the send; the exit status says whether it went well.")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535))
@click.pass_obj
def demo(settings: Settings, once: bool, host: str, port: int) -> None:
    """Send a campaign from a topic to an inbox, on an installation of the demo's own."""
    if "log_level" not in settings.model_fields_set:
        configure("error", settings.log_format)
    try:
        plainly(run(settings, host, port, once=once))
    except DemoFailed as error:
        raise click.ClickException(str(error)) from None
