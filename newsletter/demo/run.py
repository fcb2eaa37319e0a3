"""Starts the demo's service, has the tour run against it, and stays up until told to end.

It lives in a folder ``demo`` inside the data folder and never touches what is beside it. Each
run opens an account of its own there; what earlier runs sent stays readable.
"""

import asyncio
import contextlib
import socket
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from newsletter import serving
from newsletter.accounts import keys
from newsletter.accounts import service as accounts
from newsletter.demo import story
from newsletter.demo.report import tell
from newsletter.demo.tour import DemoFailed, Sent, Tour
from newsletter.runtime import Runtime
from newsletter.settings import Settings

PLAN = "professional"


async def run(settings: Settings, host: str, port: int, *, once: bool) -> None:
    """Raises `DemoFailed`, or `newsletter.serving.CannotStart`."""
    console = Console(highlight=False)
    with _listen(console, host, port) as listener:
        url = serving.url_of(listener)
        own = demo_settings(settings, url)
        async with serving.ending() as ended, serving.serving(own, listener, with_workers=True):
            console.print(f"[bold]newsletter demo[/] at {url}, kept in {escape(_near(own.data_dir))}\n")
            key = await _open_account(own)
            sent = await _unless(ended, _tour(console, own, url, key))
            tell(console, sent, url, key)
            if once:
                console.print("The service ends here. Without --once it stays up for these calls.")
            else:
                console.print("[bold]The service stays up. Ctrl-C ends it.[/]")
                await ended.wait()
                console.print("\nStopping.")


def demo_settings(settings: Settings, url: str) -> Settings:
    """Whatever belongs to the real installation (database, broker, keys, address) is left out."""
    return Settings(
        data_dir=settings.data_dir / "demo",
        database_url="",
        redis_url=None,
        broker_url="memory://",
        secret_key=None,
        secret_keys_old=(),
        public_url=url,
    )


def _listen(console: Console, host: str, port: int) -> socket.socket:
    try:
        return serving.listen(host, port)
    except serving.CannotStart as error:
        if port == 0:
            raise
        # A host that is wrong fails here again, and then says so.
        listener = serving.listen(host, 0)
        console.print(f"[yellow]{escape(str(error))} Taking {listener.getsockname()[1]} instead.[/]")
        return listener


def _near(path: Path) -> str:
    """The path as short as it can be written from here."""
    path = path.absolute()
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


async def _open_account(settings: Settings) -> str:
    """The API key of a new test project: the one step that the API does not offer."""
    runtime = Runtime(settings, lambda rings: None)
    try:
        async with runtime.db.unit_of_work() as session:
            made = await accounts.create_account(
                session,
                runtime.plans,
                name=story.NAME,
                email=story.EMAIL,
                plan=PLAN,
                postal_address=story.POSTAL_ADDRESS,
                is_test=True,
            )
            return (await keys.create(session, runtime.vault, made.project, name="demo")).secret
    finally:
        await runtime.aclose()


async def _unless(ended: asyncio.Event, tour: Coroutine[Any, Any, Sent]) -> Sent:
    """The tour's result. Raises `DemoFailed` when the process is asked to end before."""
    running, asked = asyncio.create_task(tour), asyncio.create_task(ended.wait())
    await asyncio.wait({running, asked}, return_when=asyncio.FIRST_COMPLETED)
    asked.cancel()
    if running.done():
        return running.result()
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    raise DemoFailed("Stopped before the campaign was sent.")


async def _tour(console: Console, settings: Settings, url: str, key: str) -> Sent:
    ai = settings.ai
    async with httpx.AsyncClient(
        base_url=f"{url}/api/v1",
        headers={"Authorization": f"Bearer {key}"},
        timeout=ai.deadline + 30,
        trust_env=False,  # A proxy of the environment does not lead back to this process.
    ) as client:
        columns = (
            SpinnerColumn(finished_text="[green]✓[/]"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[count]}"),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=console) as progress:
            writer = ai.model if ai.is_configured else "the sandbox writer"
            return await Tour(client, progress, writer).run()
