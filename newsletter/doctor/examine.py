"""Runs all checks. None of them changes anything, waits long, or shows a secret."""

import asyncio

from newsletter.doctor import database, installation, returning, services, submitting
from newsletter.doctor.finding import Finding
from newsletter.runtime import Runtime
from newsletter.settings import Settings


async def examine(settings: Settings) -> list[Finding]:
    """Everything that was found, in the order of the report."""
    runtime = Runtime(settings, lambda rings: None)
    try:
        books = await database.check(runtime)
        *servers, return_path, submission = await asyncio.gather(
            services.broker(settings),
            services.model(settings.ai),
            services.sending(settings.smtp),
            returning.return_path(runtime.resolver, settings),
            submitting.submission(settings),
        )
    finally:
        await runtime.aclose()
    return [
        *books.findings,
        *[finding for found in servers for finding in found],
        *installation.folders(settings),
        installation.secret_key(settings, has_projects=books.has_projects),
        *installation.public_url(settings, has_live_projects=books.has_live_projects),
        returning.returned_mail(settings),
        *return_path,
        *submission,
        *installation.unknown_variables(settings),
    ]
