"""A mail to send, and the ways to send it."""

from typing import Any

from sqlalchemy import text

from newsletter.runtime import Runtime
from tests.client import Client
from tests.jobs import make_due, run_due

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


async def send_scheduled(runtime: Runtime) -> None:
    """Runs the work as if the time of all that is scheduled had come."""
    async with runtime.db.unit_of_work() as session:
        await session.execute(text("UPDATE messages SET next_attempt_at = NULL"))
        await session.execute(text("UPDATE batches SET due_at = CURRENT_TIMESTAMP WHERE due_at IS NOT NULL"))
    await make_due(runtime)
    await run_due(runtime)
