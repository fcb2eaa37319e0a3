"""A customer of the page, and a receiver of their webhooks."""

from typing import Any

from tests.newcomer import list_id, receiver, settings

__all__ = ["SEND", "list_id", "receiver", "settings"]

SEND: dict[str, Any] = {
    "from": "hello@acme.example.com",
    "to": "alice@example.com",
    "subject": "Welcome to Acme",
    "html": "<p>Thanks for joining.</p>",
    "tags": ["onboarding"],
    "routing": {"purpose": "transactional"},
}
"""The page's call, letter by letter."""
