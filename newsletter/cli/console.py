"""What commands share: one piece of work on a runtime of its own, ids, and output."""

import json
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar
from uuid import UUID

import click
from sqlalchemy.exc import DBAPIError

from newsletter import serving
from newsletter.kit import ids
from newsletter.kit.errors import NewsletterError
from newsletter.runtime import Runtime
from newsletter.settings import Settings

T = TypeVar("T")


def run(settings: Settings, work: Callable[[Runtime], Coroutine[Any, Any, T]]) -> T:
    """Runs one piece of work on a runtime of its own; what it writes, a running service sees."""

    async def inside() -> T:
        if settings.is_sqlite:
            await serving.prepare(settings)
        runtime = Runtime(settings, lambda rings: None)
        try:
            return await work(runtime)
        finally:
            await runtime.aclose()

    return plainly(inside())


def plainly(work: Coroutine[Any, Any, T]) -> T:
    """Runs a command's coroutine; what an operator can mend ends it with a sentence."""
    try:
        return serving.run(work)
    except NewsletterError as error:
        details = [f"{field}: {text}" for field, texts in error.errors.items() for text in texts]
        raise click.ClickException("\n  ".join([error.message, *details])) from None
    except serving.CannotStart as error:
        raise click.ClickException(str(error)) from None
    except (DBAPIError, OSError) as error:
        raise click.ClickException(f"{_reason(error)}\n  'newsletter doctor' looks for the cause.") from error


def _reason(error: DBAPIError | OSError) -> str:
    """In the words of the system or of the database, without the names of our exceptions."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, OSError) and cause.strerror:
        return f"{cause.strerror}: {cause.filename}" if cause.filename else cause.strerror
    return str(cause)


def private_id(prefix: str, text: str) -> UUID:
    try:
        return ids.private(prefix, text)
    except ValueError as error:
        raise click.BadParameter(f"{text}: {error}") from None


def show(values: dict[str, str], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(values))
        return
    width = max(map(len, values))
    for name, value in values.items():
        click.echo(f"{name:<{width}}  {value}")
