"""Mails to send through an API, written by the product's own code, and what to compare them by."""

from datetime import UTC, datetime

from newsletter.delivery import mime
from newsletter.delivery.mime import Mail
from newsletter.providers.base import Envelope, Provider, Result
from newsletter.providers.registry import CONFIGS, ServerType, make
from newsletter.settings import ProviderSettings, Settings

MESSAGE_ID = "msg_0abc123def456"
UNSUBSCRIBE = "https://news.example.com/u/AbCdEfGhIjKlMnOpQrStUvWxYz0123456789AbCdEfGhIjKlMnOpQrStUvWxYz"
HTML = "<html><body><p>Grüße, Zoë &amp; 東京</p><p>.</p></body></html>"
TEXT = "Grüße, Zoë & 東京\n.\n"


def content(to_email: str = "zoe@example.com", **changes: object) -> bytes:
    fields: dict[str, object] = {
        "message_id": f"<{MESSAGE_ID}@news.example.com>",
        "date": datetime(2026, 11, 25, 9, 30, tzinfo=UTC),
        "from_email": "news@news.example.com",
        "from_name": 'Acme "News", Inc.',
        "to_email": to_email,
        "to_name": "Zoë",
        "reply_to": "help@example.com",
        "subject": "Grüße aus 東京, and a subject that is long enough to be folded over lines",
        "html": HTML,
        "text": TEXT,
        "unsubscribe_url": UNSUBSCRIBE,
        "list_id": "lst-1.news.example.com",
        "list_name": "The list",
        "feedback_id": "c1:p1:campaign:acme",
        "headers": (("X-Entity-Ref", "42"),),
    }
    return mime.build(Mail(**(fields | changes)))  # type: ignore[arg-type]


def envelope(recipient: str = "zoe@example.com", **changes: object) -> Envelope:
    fields: dict[str, object] = {"message_id": MESSAGE_ID, "return_path": "news@news.example.com"}
    fields |= changes
    if "content" not in fields:
        fields["content"] = content(recipient)
    return Envelope(recipient=recipient, **fields)  # type: ignore[arg-type]


def many(count: int) -> list[Envelope]:
    return [envelope(f"reader{number}@example.com", message_id=f"msg_{number:04}") for number in range(count)]


def connected(kind: ServerType, url: str, *, timeout: float = 5, **changes: object) -> Provider:
    """A provider whose API is the server at ``url``; ``changes`` are to its example's fields."""
    config = CONFIGS[kind].model_validate({**CONFIGS[kind].example, **changes})
    providers = ProviderSettings(endpoints={kind.value: url}, timeout=timeout, connections=4)
    return make(config, Settings(secret_key="k" * 32, providers=providers))


async def send(provider: Provider, *envelopes: Envelope) -> list[Result]:
    results = [item async for item in provider.send_many(envelopes)]
    assert sorted(index for index, _ in results) == list(range(len(envelopes)))
    return [result for _, result in sorted(results, key=lambda item: item[0])]
