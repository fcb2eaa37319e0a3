"""``newsletter serve | worker | smtpd``: the processes of an installation."""

import click

from newsletter import serving
from newsletter.cli.console import plainly
from newsletter.settings import Settings


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option(
    "--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="0: any free one."
)
@click.option("--no-worker", is_flag=True, help="Only the API; start 'newsletter worker' beside it.")
@click.pass_obj
def serve(settings: Settings, host: str, port: int, no_worker: bool) -> None:
    """Serve the API; in the embedded mode also do the work, in this one process."""
    if no_worker and not settings.is_distributed:
        raise click.ClickException(
            "--no-worker needs a broker that workers share: set NEWSLETTER_REDIS_URL "
            "(or NEWSLETTER_BROKER_URL), or leave it out."
        )
    try:
        listener = serving.listen(host, port)
    except serving.CannotStart as error:
        raise click.ClickException(f"{error} --host and --port choose another place.") from None
    with listener:
        plainly(serving.serve(settings, listener, with_workers=not no_worker))


@click.command()
@click.pass_obj
def worker(settings: Settings) -> None:
    """Do the work that API processes leave; start as many as you need."""
    if not settings.is_distributed:
        raise click.ClickException(
            "'newsletter serve' already works in this mode. Workers of their own need NEWSLETTER_REDIS_URL."
        )
    plainly(serving.work(settings))


@click.command()
@click.pass_obj
def smtpd(settings: Settings) -> None:
    """Take in mail that comes back, and mail to send; one process is enough, several share the work."""
    if not (settings.smtpd.listen or settings.submission.listen):
        raise click.ClickException(
            "Set NEWSLETTER_SMTPD_LISTEN to an address such as lmtp://127.0.0.1:2424, for mail that comes "
            "back, or NEWSLETTER_SUBMISSION_LISTEN to one such as smtp://0.0.0.0:587, for mail to send."
        )
    if not settings.is_distributed:
        raise click.ClickException("'newsletter serve' already listens there in this mode.")
    plainly(serving.take_mail(settings))
