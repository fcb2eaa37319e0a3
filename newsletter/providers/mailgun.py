"""Mailgun: ``/v3/{domain}/messages.mime`` with our own message.

Mailgun has no idempotency key, so a call whose answer was lost is unknown. It keeps our
Message-ID; our id travels as a variable too, and comes back in each event.
"""

from base64 import b64encode
from typing import Annotated, ClassVar, Literal

from pydantic import StringConstraints

from newsletter.providers.base import Envelope, Permanent, Receipt, Refusal
from newsletter.providers.config import Secret, ServerConfig
from newsletter.providers.http import METADATA, Answer, Call, refusal, taken
from newsletter.providers.structured import ascii_recipient

_HOSTS = {"us": "https://api.mailgun.net", "eu": "https://api.eu.mailgun.net"}


class MailgunConfig(ServerConfig):
    """Mailgun. A sending key of the domain is enough."""

    domain: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])$")]
    """The sending domain as Mailgun knows it."""
    api_key: Secret
    region: Literal["us", "eu"] = "us"
    tracking: bool = False
    """Whether Mailgun may rewrite links and add its own pixel, as the domain's settings have it."""
    webhook_signing_key: Secret | None = None
    """Of the account; with it, Mailgun's events are taken in."""

    example: ClassVar = {
        "domain": "mg.example.com",
        "api_key": "0123456789abcdef0123456789abcdef-01234567-89abcdef",
        "region": "eu",
        "webhook_signing_key": "fedcba9876543210fedcba9876543210",
    }


class Mailgun:
    """See `newsletter.providers.http.MailAPI`."""

    name = "mailgun"
    title = "Mailgun"
    has_idempotency = False

    def __init__(self, config: MailgunConfig) -> None:
        self.base_url = _HOSTS[config.region]
        self._config = config
        login = b64encode(f"api:{config.api_key.get_secret_value()}".encode()).decode("ascii")
        self._headers = {"Authorization": f"Basic {login}"}
        self._path = f"/v3/{config.domain}/messages.mime"

    def message(self, envelope: Envelope) -> Call:
        fields = [
            # Without it Mailgun would mail whomever the headers name.
            ("to", ascii_recipient(envelope)),
            (f"v:{METADATA}", envelope.message_id),
        ]
        if not self._config.tracking:
            fields.append(("o:tracking", "no"))
        # "=_" occurs in no quoted-printable text, and no base64 has "_": the message cannot
        # contain it.
        boundary = f"=_form-{envelope.message_id}"
        parts = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
            for name, value in fields
        ]
        parts.append(
            f'--{boundary}\r\nContent-Disposition: form-data; name="message"; filename="message.eml"\r\n'
            "Content-Type: message/rfc822\r\n\r\n".encode()
        )
        parts += (envelope.content, f"\r\n--{boundary}--\r\n".encode())
        kind = {"Content-Type": f'multipart/form-data; boundary="{boundary}"'}
        return Call("POST", self._path, self._headers | kind, b"".join(parts))

    def receipt(self, answer: Answer) -> Receipt:
        if answer.is_success:
            return taken(answer, answer.text_of("id"), self)
        raise self._refusal(answer)

    def probe(self) -> Call:
        """An empty message: Mailgun looks at the key and the domain before it misses the rest.
        A sending key may read nothing, not even its own domain."""
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        return Call("POST", self._path, self._headers | kind)

    def found(self, answer: Answer) -> str:
        if answer.status != 400:
            raise self._refusal(answer)
        return f"Mailgun, domain {self._config.domain}"

    def _refusal(self, answer: Answer) -> Refusal:
        text = answer.text_of("message")
        if answer.status == 400 and "to parameter is not a valid address" in text.replace("'", ""):
            return Permanent(f"{self.title}: {text}", code=400, enhanced="5.1.3")
        return refusal(answer, text, self)
