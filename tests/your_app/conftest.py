"""A customer of the page, and a receiver of their webhooks."""

import hashlib
import hmac
import json

from tests.newcomer import list_id, receiver, settings
from tests.receiver import Received

__all__ = ["list_id", "receiver", "settings"]


def is_genuine(call: Received, secret: str) -> bool:
    """The page's check: over the body that was parsed and written again, with the whole secret."""
    again = json.dumps(json.loads(call.body), ensure_ascii=False, separators=(",", ":")).encode()
    expected = hmac.new(secret.encode(), again, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected, call.headers["x-webhook-signature"])
