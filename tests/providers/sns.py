"""A stand-in for Amazon SNS: a key, its certificate, and notifications that it signs."""

import json
from base64 import b64encode
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
CERTIFICATE_URL = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123abcd.pem"
TOPIC = "arn:aws:sns:eu-west-1:123456789012:newsletter"
_KEY = rsa.generate_private_key(65537, 2048)
_CONFIRMATION = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
_NOTIFICATION = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")


@dataclass
class SNS:
    key: rsa.RSAPrivateKey = _KEY
    fetched: list[str] = field(default_factory=list)
    """The URLs that certificates were asked for at."""
    at: datetime = NOW
    """When it signs."""

    async def fetch(self, url: str) -> bytes:
        self.fetched.append(url)
        return _certificate(self.key, self.at)

    def signed(self, report: object = "hello", *, version: str = "2", **changes: str) -> bytes:
        fields = {
            "Type": "Notification",
            "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
            "TopicArn": TOPIC,
            "Message": report if isinstance(report, str) else json.dumps(report),
            "Timestamp": self.at.isoformat(timespec="milliseconds"),
        } | changes
        names = _NOTIFICATION if fields["Type"] == "Notification" else _CONFIRMATION
        text = "".join(f"{name}\n{fields[name]}\n" for name in names if name in fields)
        signature = self.key.sign(text.encode(), PKCS1v15(), SHA1() if version == "1" else SHA256())
        return json.dumps(
            {
                **fields,
                "SignatureVersion": version,
                "Signature": b64encode(signature).decode(),
                "SigningCertURL": CERTIFICATE_URL,
                "UnsubscribeURL": "https://sns.eu-west-1.amazonaws.com/?Action=Unsubscribe",
            }
        ).encode()


def _certificate(key: rsa.RSAPrivateKey, at: datetime) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(at - timedelta(days=30))
        .not_valid_after(at + timedelta(days=30))
        .sign(key, SHA256())
    )
    return built.public_bytes(Encoding.PEM)
