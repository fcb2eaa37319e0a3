"""A mail to send, and the ways to send it."""

from typing import Any

from newsletter.runtime import Runtime
from tests.client import Client
from tests.jobs import run_due

MAIL: dict[str, Any] = {
    "from": "Acme <hello@acme.example.com>",
    "to": "alice@example.com",
    "subject": "Welcome to Acme",
    "html": "<p>Thanks for joining.</p>",
    "tags": ["onboarding"],
    "routing": {"purpose": "transactional"},
}


async def send(client: Client, **changes: Any) -> dict[str, Any]:
    """Sends `MAIL`, changed; a change to None leaves the field out."""
    body = {name: value for name, value in (MAIL | changes).items() if value is not None}
    sent: dict[str, Any] = await client.data("POST", "/send", 202, json=body)
    return sent


async def refused(client: Client, **changes: Any) -> dict[str, list[str]]:
    """The bad fields of `MAIL`, changed."""
    body = {name: value for name, value in (MAIL | changes).items() if value is not None}
    error = await client.expect_error("POST", "/send", 422, "validation_failed", json=body)
    found: dict[str, list[str]] = error["errors"]
    return found


async def message(client: Client, message_id: str) -> dict[str, Any]:
    found: dict[str, Any] = await client.data("GET", f"/messages/{message_id}")
    return found


async def delivered(client: Client, runtime: Runtime, address: str) -> Any:
    """Runs the work, and returns the newest raw mail to the address, parsed; None when there is none."""
    from email import message_from_bytes, policy

    await run_due(runtime)
    found = await client.data("GET", "/sandbox/messages", params={"to": address})
    if not found:
        return None
    raw = await client.get(f"/sandbox/messages/{found[0]['id']}", params={"format": "raw"})
    return message_from_bytes(raw.content, policy=policy.default)
