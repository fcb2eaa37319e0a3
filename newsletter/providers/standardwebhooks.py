"""Verifies calls by the Standard Webhooks specification; Svix, which Resend uses, is its origin.

The signature is HMAC-SHA256 over ``id.timestamp.body``, in base64 behind ``v1,``, several of
them with spaces between while a secret rotates. The key is what stands in base64 after
``whsec_``.
"""

import hashlib
import hmac
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping
from datetime import datetime

from newsletter.providers.events import BadSignature, check_age, same


def verify(raw: bytes, headers: Mapping[str, str], secret: str, at: datetime, *, prefix: str) -> None:
    """``prefix`` is that of the headers: ``webhook`` or ``svix``. Raises `BadSignature`."""
    identifier, stamp = headers.get(f"{prefix}-id", ""), headers.get(f"{prefix}-timestamp", "")
    if not identifier:
        raise BadSignature("the id is missing")
    check_age(stamp, at)
    signed = f"{identifier}.{stamp}.".encode() + raw
    expected = b64encode(hmac.digest(key_of(secret), signed, hashlib.sha256)).decode("ascii")
    for given in headers.get(f"{prefix}-signature", "").split(" "):
        version, _, signature = given.partition(",")
        if version == "v1" and same(signature, expected):
            return
    raise BadSignature("the signature does not match")


def key_of(secret: str) -> bytes:
    """Raises `BadSignature` for a secret that is none, so that nothing passes with it."""
    try:
        key = b64decode(secret.removeprefix("whsec_"), validate=True)
    except (Base64Error, ValueError) as error:
        raise BadSignature("the secret is not one of this kind") from error
    if not key:
        raise BadSignature("the secret is empty")
    return key
