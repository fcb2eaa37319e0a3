"""A customer of the page, and a receiver of their webhooks."""

from tests.newcomer import list_id, receiver, settings

__all__ = ["list_id", "receiver", "settings"]
