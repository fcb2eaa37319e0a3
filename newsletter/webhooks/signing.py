"""The body of a webhook call and the signatures that let its receiver trust it.

Three styles, because receivers exist for all three. ``standard`` is the Standard Webhooks
specification; ``hex`` and ``timestamped`` are what two common kinds of receiver verify:
HMAC-SHA256 in hexadecimal with the secret as it was shown, ``whsec_`` included.
"""

import hashlib
import hmac
import json
import math
import os
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal

from newsletter.kit.clock import rfc3339
from newsletter.kit.db import JSONObject, JSONValue
from newsletter.webhooks.models import SignatureStyle

GROUP = "group"
"""The type of a call with several events."""
_PREFIX = "whsec_"
_SAFE = 2**53
_ARRAY_INDEX = re.compile(r"0|[1-9][0-9]{0,9}")
_LARGEST_INDEX = 2**32 - 2
_SURROGATE = re.compile("[\ud800-\udfff]")


def new_secret() -> str:
    """``whsec_`` and 32 random bytes in base64."""
    return _PREFIX + b64encode(os.urandom(32)).decode("ascii")


def event(
    *, event_id: str, event_type: str, created_at: datetime, project_id: str, data: JSONObject
) -> JSONObject:
    """What an endpoint is told of one event."""
    return {
        "id": event_id,
        "type": event_type,
        "event": event_type,
        "created_at": rfc3339(created_at),
        "project_id": project_id,
        "data": data,
    }


def group(call_id: str, project_id: str, events: Sequence[JSONObject]) -> JSONObject:
    """Several events in one call, in the order in which they happened."""
    return {"id": call_id, "type": GROUP, "event": GROUP, "project_id": project_id, "events": events}


def payload(body: JSONObject) -> bytes:
    """Compact UTF-8 JSON; equal arguments give equal bytes.

    Receivers in JavaScript often verify over ``JSON.stringify(JSON.parse(body))``, so the text
    is the one that gives back: its escapes, its order of keys, and only numbers that every
    language writes alike. A fraction or an integer beyond 2^53 therefore becomes a string.
    Raises `ValueError` for NaN and infinity.
    """
    text = json.dumps(_portable(body), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text).encode()


def sign(
    style: SignatureStyle,
    secrets: Sequence[str],
    event_id: str,
    delivery_id: str,
    event_type: str,
    timestamp: int,
    body: bytes,
) -> dict[str, str]:
    """All headers of a call. ``secrets`` are those that are valid now, newest first;
    ``timestamp`` is the second of this attempt since 1970.

    Each secret signs. Where a receiver compares the whole header, as in ``hex``, the newest
    signs ``X-Webhook-Signature`` and the one before it ``X-Webhook-Signature-Previous``.
    """
    if not secrets:
        raise ValueError("a call needs a secret to be signed with")
    headers = {
        "Content-Type": "application/json",
        "webhook-id": event_id,
        "webhook-timestamp": str(timestamp),
        "X-Newsletter-Event": event_type,
        "X-Newsletter-Delivery-Id": delivery_id,
    }
    match style:
        case SignatureStyle.standard:
            signed = f"{event_id}.{timestamp}.".encode() + body
            signatures = (hmac.digest(_key(secret), signed, hashlib.sha256) for secret in secrets)
            headers["webhook-signature"] = " ".join(
                f"v1,{b64encode(mac).decode('ascii')}" for mac in signatures
            )
        case SignatureStyle.timestamped:
            signed = f"{timestamp}.".encode() + body
            parts = [f"v1={_hex(secret, signed)}" for secret in secrets]
            headers["X-Webhook-Signature"] = ",".join([f"t={timestamp}", *parts])
        case SignatureStyle.hex:
            headers["X-Webhook-Signature"] = _hex(secrets[0], body)
            if len(secrets) > 1:
                headers["X-Webhook-Signature-Previous"] = _hex(secrets[1], body)
    return headers


def _key(secret: str) -> bytes:
    return b64decode(secret.removeprefix(_PREFIX), validate=True)


def _hex(secret: str, signed: bytes) -> str:
    return hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


def _portable(value: JSONValue) -> JSONValue:
    if isinstance(value, Mapping):
        return {key: _portable(value[key]) for key in sorted(value, key=_javascript_order)}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_portable(item) for item in value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if not math.isfinite(value):
        raise ValueError("JSON has no NaN and no infinity")
    if value == int(value) and abs(value) < _SAFE:
        return int(value)
    return str(value) if isinstance(value, int) else format(Decimal(repr(value)), "f")


def _javascript_order(key: str) -> tuple[bool, int]:
    """Keys that look like array indexes come first and ascend; the sort leaves the rest as it is."""
    if _ARRAY_INDEX.fullmatch(key) and int(key) <= _LARGEST_INDEX:
        return False, int(key)
    return True, 0
