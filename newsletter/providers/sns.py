"""Amazon SNS, through which SES reports: the envelope, its signature, and its subscription.

Versions 1 (SHA-1) and 2 (SHA-256) of the signature are both in use; a topic is on 1 until its
owner sets ``SignatureVersion``. The certificate that signs is fetched from the URL in the
message, which therefore must lead to SNS itself.
"""

import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Collection
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256

from newsletter.providers.events import BadSignature, Fetch, Malformed, Report

NOTIFICATION = "Notification"
_HOST = re.compile(r"sns\.[a-z]{2}(-[a-z]+)+-[0-9]\.amazonaws\.com(\.cn)?")
_CERTIFICATE = re.compile(r"/SimpleNotificationService-[0-9a-zA-Z]+\.pem")
_SIGNED = {
    NOTIFICATION: ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": (
        *("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
    ),
    "UnsubscribeConfirmation": (
        *("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
    ),
}
_HASHES = {"1": SHA1, "2": SHA256}
_MAX_KEPT = 32
_MAX_AGE = timedelta(hours=24)
"""SNS tries for an hour at most unless its owner says otherwise, and keeps the first time."""


class Certificates:
    """The signing certificates that were fetched; SNS changes them about once a year.

    Serves one event loop. Only https URLs of SNS itself are ever fetched.
    """

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._kept: dict[str, x509.Certificate] = {}

    async def get(self, url: str, at: datetime) -> x509.Certificate:
        """Raises `BadSignature`; what ``fetch`` raises goes through."""
        if not (is_of_sns(url) and _CERTIFICATE.fullmatch(urlsplit(url).path)):
            raise BadSignature("the certificate is not one of Amazon SNS")
        certificate = self._kept.get(url)
        if certificate is None:
            try:
                certificate = x509.load_pem_x509_certificate(await self._fetch(url))
            except ValueError as error:
                raise BadSignature("the certificate cannot be read") from error
            while len(self._kept) >= _MAX_KEPT:
                self._kept.pop(next(iter(self._kept)))
            self._kept[url] = certificate
        if not certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc:
            raise BadSignature("the certificate is not valid now")
        return certificate


def is_of_sns(url: str) -> bool:
    """Whether a URL leads to Amazon SNS, and nowhere else under any reading of it."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return url.isascii() and parts.scheme == "https" and _HOST.fullmatch(parts.netloc) is not None


async def verify(raw: bytes, topics: Collection[str], certificates: Certificates, at: datetime) -> None:
    """Raises `BadSignature`, also for a well signed message of a topic that is not named."""
    try:
        message = Report.read(raw)
        if message["TopicArn"].exact() not in topics:
            # Anyone may subscribe our URL to a topic of their own, and SNS would sign for it.
            raise BadSignature("the topic is not one of this server's")
        content = _canonical(message)
        signature = b64decode(message["Signature"].exact(), validate=True)
        algorithm = _HASHES[message["SignatureVersion"].exact()]
        url = message["SigningCertURL"].exact()
    except (Malformed, Base64Error, ValueError, KeyError) as error:
        raise BadSignature("not a signed message of Amazon SNS") from error
    sent = message["Timestamp"].moment()
    if sent is None or abs(at - sent) > _MAX_AGE:
        raise BadSignature("the time is too far from now")
    key = (await certificates.get(url, at)).public_key()
    if not isinstance(key, RSAPublicKey):
        raise BadSignature("the certificate has no RSA key")
    try:
        # SHA-1 is what version 1 is made of; a collision would need the author of the message.
        key.verify(signature, content, PKCS1v15(), algorithm())
    except InvalidSignature as error:
        raise BadSignature("the signature does not match") from error


def _canonical(message: Report) -> bytes:
    """The names and values that are signed, a line each. Raises `Malformed` or `KeyError`."""
    lines: list[str] = []
    for name in _SIGNED[message["Type"].exact()]:
        if name == "Subject" and not message[name].exists:
            continue
        lines += (name, message[name].exact())
    return ("\n".join(lines) + "\n").encode(errors="replace")
