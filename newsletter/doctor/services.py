"""The servers around the service: what wakes workers, the model, the sending server."""

import asyncio
import json
from urllib.parse import urlsplit

import httpx

from newsletter.doctor.finding import Finding, broken, off, ok, warning
from newsletter.kit.broker import is_rabbitmq, ping
from newsletter.providers.base import Refusal
from newsletter.providers.smtp.provider import SMTPProvider
from newsletter.settings import AISettings, Settings, SMTPSettings

SECONDS = 5.0
"""What one server gets to answer."""
SENDING_SECONDS = 15.0
"""The same for the sending server: some greet late on purpose."""
OPENAI = "https://api.openai.com/v1"
MAX_LIST_BYTES = 2_000_000


async def broker(settings: Settings) -> list[Finding]:
    found = []
    if not settings.is_distributed:
        found.append(ok("broker", "in this process"))
    else:
        found.append(await _asked("broker", settings.broker_url, "NEWSLETTER_BROKER_URL"))
    if settings.redis_url and settings.redis_url != settings.broker_url:
        found.append(await _asked("rate limits", settings.redis_url, "NEWSLETTER_REDIS_URL"))
    elif settings.is_distributed and not settings.redis_url:
        mend = "Set NEWSLETTER_REDIS_URL beside the broker when there is more than one API process."
        found.append(warning("rate limits", "each process counts calls for itself", mend))
    return found


async def _asked(name: str, url: str, variable: str) -> Finding:
    kind = "RabbitMQ" if is_rabbitmq(url) else "Redis"
    place = _without_password(url)
    try:
        await ping(url, SECONDS)
    except Exception as error:  # Each client has a tree of errors of its own.
        mend = f"Is it running, and is {variable} (or NEWSLETTER_REDIS_URL) right? Until then work is slow."
        return broken(name, f"{kind} at {place}: {str(error) or type(error).__name__}", mend)
    return ok(name, f"{kind} at {place}")


async def model(ai: AISettings) -> list[Finding]:
    """Asks for the list of models, which costs nothing; not every server has one."""
    if not ai.is_configured:
        return [
            off(
                "model",
                "none: live projects get 503 ai_not_configured, test projects the sandbox writer",
                "Set OPENAI_API_KEY, or OPENAI_BASE_URL for a server of your own.",
            )
        ]
    place = (ai.base_url or OPENAI).rstrip("/")
    key = ai.api_key.get_secret_value() if ai.api_key else "none"
    try:
        async with (
            asyncio.timeout(SECONDS),
            httpx.AsyncClient(timeout=SECONDS) as client,
            client.stream("GET", f"{place}/models", headers={"Authorization": f"Bearer {key}"}) as answer,
        ):
            body = await _read(answer)
    except (httpx.HTTPError, httpx.InvalidURL, OSError, TimeoutError) as error:
        reason = str(error) or "no answer"
        mend = "Is the server running, and is OPENAI_BASE_URL right?"
        return [broken("model", f"{_without_password(place)}: {reason}", mend)]
    return [_judge(ai.model, _without_password(place), answer.status_code, body)]


async def _read(answer: httpx.Response) -> bytes:
    body = b""
    async for chunk in answer.aiter_raw():
        body += chunk
        if len(body) > MAX_LIST_BYTES:
            break
    return body


def _judge(name: str, place: str, status: int, body: bytes) -> Finding:
    if status in (401, 403):
        return broken("model", f"{place} refuses the key", "Set another OPENAI_API_KEY.")
    if status >= 500 or 300 <= status < 400:
        return broken("model", f"{place} answers {status}", "Is OPENAI_BASE_URL right? It often ends in /v1.")
    names = _names(body) if status == 200 else None
    if names is None:
        # Many servers of one model have no list; a campaign will tell.
        return ok("model", f"{name} at {place}, which answers but lists no models")
    if name not in names:
        known = ", ".join(names[:5])
        mend = f"Set NEWSLETTER_AI_MODEL; it knows, for example: {known}."
        return warning("model", f"{place} does not list '{name}'", mend)
    return ok("model", f"{name} at {place}")


def _names(body: bytes) -> list[str] | None:
    try:
        rows = json.loads(body)["data"]
        return sorted(str(row["id"]) for row in rows)
    except (ValueError, KeyError, TypeError):
        return None


async def sending(smtp: SMTPSettings) -> list[Finding]:
    if smtp.url is None:
        return [
            off(
                "sending server",
                "none: live projects without one of their own get 409 sending_server_missing",
                "Set NEWSLETTER_SMTP_URL, or POST /api/v1/sending-servers; test projects need none.",
            )
        ]
    mend = "Is NEWSLETTER_SMTP_URL right: host, port, user, password, TLS?"
    try:
        provider = SMTPProvider.from_settings(smtp)
    except ValueError as error:
        return [broken("sending server", str(error), mend)]
    try:
        async with asyncio.timeout(SENDING_SECONDS):
            return [ok("sending server", await provider.check())]
    except TimeoutError:
        return [broken("sending server", f"no greeting within {SENDING_SECONDS:.0f} seconds", mend)]
    except Refusal as refusal:
        return [broken("sending server", refusal.text, mend)]
    finally:
        await provider.aclose()


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    if parts.username is None and parts.password is None:
        return url
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
