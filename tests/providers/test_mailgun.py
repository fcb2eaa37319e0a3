"""Mailgun: against a socket that answers as its published API does."""

import hashlib
import hmac
import json
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.policy import HTTP

import pytest

from newsletter.providers.base import Permanent, Receipt, Refusal, ServerDown, Temporary, Throttled
from newsletter.providers.events import BadSignature, EventKind, Malformed, ProviderEvent
from newsletter.providers.mailgun import MailgunConfig, MailgunFeed
from newsletter.providers.registry import ServerType
from tests.providers.http_server import Reply, Request, http_server
from tests.providers.mails import MESSAGE_ID, connected, content, envelope, send

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
SIGNING_KEY = "fedcba9876543210fedcba9876543210"
FEED = MailgunFeed(MailgunConfig.model_validate(MailgunConfig.example))
QUEUED = Reply(200, {"id": "<20261125.1@mg.example.com>", "message": "Queued. Thank you."})


def form(request: Request) -> dict[str, bytes]:
    """The fields of a multipart form, each of which may come once."""
    head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
    message = message_from_bytes(head + request.body, policy=HTTP)
    assert message.get_content_type() == "multipart/form-data"
    fields: dict[str, bytes] = {}
    # The standard library would read the mail as a message of its own, so the parts are cut here.
    boundary = f"--{message.get_boundary()}".encode()
    first, *parts, last = request.body.split(boundary)
    assert (first, last) == (b"", b"--\r\n")
    for part in parts:
        disposition, _, value = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        name = disposition.split(b'name="', 1)[1].split(b'"', 1)[0].decode()
        assert name not in fields
        fields[name] = value.removesuffix(b"\r\n")
        if name == "message":
            assert b'filename="' in disposition, "Mailgun takes the message as a file only"
    return fields


# Sends


async def test_the_request_is_the_one_that_the_api_describes() -> None:
    async with http_server(QUEUED) as server:
        provider = connected(ServerType.mailgun, server.url)
        (result,) = await send(provider, envelope())
        assert result == Receipt("200 <20261125.1@mg.example.com>")
        (request,) = server.requests
        assert (request.method, request.path) == ("POST", "/v3/mg.example.com/messages.mime")
        login = b64encode(b"api:0123456789abcdef0123456789abcdef-01234567-89abcdef").decode()
        assert request.headers["authorization"] == f"Basic {login}"
        fields = form(request)
        assert fields == {
            "to": b"zoe@example.com",
            "v:message_id": MESSAGE_ID.encode(),
            "o:tracking": b"no",
            "message": content(),
        }
        await provider.aclose()


async def test_mailgun_may_track_where_the_customer_wants_it_to() -> None:
    async with http_server(QUEUED) as server:
        provider = connected(ServerType.mailgun, server.url, tracking=True)
        await send(provider, envelope())
        assert "o:tracking" not in form(server.requests[0])
        await provider.aclose()


async def test_the_envelope_decides_who_gets_a_copy() -> None:
    async with http_server(QUEUED) as server:
        provider = connected(ServerType.mailgun, server.url)
        await send(provider, envelope("copy@example.org", content=content("zoe@example.com")))
        assert form(server.requests[0])["to"] == b"copy@example.org"
        await provider.aclose()


# Errors


@pytest.mark.parametrize(
    ("status", "message", "refusal", "enhanced"),
    [
        (400, "to parameter is not a valid address. please check documentation", Permanent, "5.1.3"),
        (400, "'to' parameter is not a valid address. please check documentation", Permanent, "5.1.3"),
        (400, "from parameter is not a valid address", Permanent, None),
        (400, "message parameter is missing", Permanent, None),
        (401, "Forbidden", ServerDown, None),
        (402, "Payment required", ServerDown, None),
        (403, "Domain mg.example.com is not allowed to send: please activate", ServerDown, None),
        (404, "Domain not found: mg.example.com", ServerDown, None),
        (413, "Message too large", Permanent, None),
        (429, "Too many requests", Throttled, None),
        (500, "Internal Server Error", Temporary, None),
    ],
)
async def test_each_error_says_whether_to_try_again(
    status: int, message: str, refusal: type[Refusal], enhanced: str | None
) -> None:
    async with http_server(Reply(status, {"message": message})) as server:
        provider = connected(ServerType.mailgun, server.url)
        (result,) = await send(provider, envelope())
        assert type(result) is refusal
        assert isinstance(result, Refusal)
        assert (result.code, result.enhanced) == (None if refusal is Throttled else status, enhanced)
        assert result.is_bad_address is (enhanced == "5.1.3")
        assert status == 401 or message in result.text
        await provider.aclose()


async def test_a_connection_test_sends_nothing_and_needs_no_right_to_read() -> None:
    def answer(request: Request) -> Reply:
        assert (request.method, request.path) == ("POST", "/v3/mg.example.com/messages.mime")
        assert request.body == b""
        return Reply(400, {"message": "to parameter is missing"})

    async with http_server(answer) as server:
        provider = connected(ServerType.mailgun, server.url)
        assert await provider.check() == "Mailgun, domain mg.example.com"
        await provider.aclose()


@pytest.mark.parametrize("reply", [Reply(401), Reply(404, {"message": "Domain not found"}), Reply(200)])
async def test_a_connection_test_fails_where_nothing_could_be_sent(reply: Reply) -> None:
    async with http_server(reply) as server:
        provider = connected(ServerType.mailgun, server.url)
        with pytest.raises(ServerDown):
            await provider.check()
        await provider.aclose()


# Events


def signed(event: dict[str, object], *, at: datetime = NOW, token: str = "t" * 50) -> bytes:
    stamp = str(int(at.timestamp()))
    signature = hmac.new(SIGNING_KEY.encode(), (stamp + token).encode(), hashlib.sha256).hexdigest()
    return json.dumps(
        {"signature": {"timestamp": stamp, "token": token, "signature": signature}, "event-data": event}
    ).encode()


def event(name: str, **details: object) -> dict[str, object]:
    return {
        "event": name,
        "id": "G9Bn5sl1TC6nu79C8C0bwg",
        "timestamp": 1795607940.25,
        "recipient": "zoe@example.com",
        "recipient-domain": "example.com",
        "user-variables": {"message_id": MESSAGE_ID},
        "message": {"headers": {"message-id": f"{MESSAGE_ID}@news.example.com"}},
        **details,
    }


def parsed(report: dict[str, object]) -> ProviderEvent:
    (made,) = FEED.parse(signed(report), {})
    return made


async def test_a_report_that_mailgun_signed_is_taken() -> None:
    await FEED.verify(signed(event("delivered")), {}, NOW)
    await FEED.verify(signed(event("delivered"), at=NOW - timedelta(hours=8)), {}, NOW)


@pytest.mark.parametrize("name", ["timestamp", "token", "signature"])
@pytest.mark.parametrize("value", ["", None, 1, "0" * 64, "1795607999", "ü"])
async def test_an_altered_signature_is_refused(name: str, value: object) -> None:
    body = json.loads(signed(event("delivered")))
    body["signature"][name] = value
    with pytest.raises(BadSignature):
        await FEED.verify(json.dumps(body).encode(), {}, NOW)


async def test_a_report_of_yesterday_is_refused() -> None:
    for at in (NOW - timedelta(hours=10), NOW + timedelta(hours=10)):
        with pytest.raises(BadSignature):
            await FEED.verify(signed(event("delivered"), at=at), {}, NOW)


async def test_what_is_no_report_is_refused() -> None:
    for raw in (b"", b"{}", b"[]", b"not json", b'{"signature": []}', b"\xff", b"[" * 100_000):
        with pytest.raises(BadSignature):
            await FEED.verify(raw, {}, NOW)


async def test_a_server_without_a_signing_key_takes_no_reports() -> None:
    config = MailgunConfig.model_validate({"domain": "mg.example.com", "api_key": "k"})
    with pytest.raises(BadSignature):
        await MailgunFeed(config).verify(signed(event("delivered")), {}, NOW)


def test_a_token_is_good_for_one_report() -> None:
    """The signature does not cover the report, so its token is what must not come twice."""
    assert FEED.key(signed(event("delivered")), {}) == "t" * 50
    assert FEED.key(signed(event("complained")), {}) == "t" * 50
    assert FEED.key(signed(event("delivered"), token="u" * 50), {}) == "u" * 50


def test_a_delivery_names_our_message() -> None:
    made = parsed(event("delivered"))
    assert (made.kind, made.message_id, made.recipient) == (
        EventKind.delivered,
        MESSAGE_ID,
        "zoe@example.com",
    )
    assert made.event_id == "G9Bn5sl1TC6nu79C8C0bwg"
    assert made.at == datetime(2026, 11, 25, 11, 59, 0, 250_000, tzinfo=UTC)
    assert parsed(event("delivered", **{"user-variables": {}})).message_id == MESSAGE_ID
    assert parsed(event("delivered", **{"user-variables": [], "message": {}})).message_id is None


@pytest.mark.parametrize(
    ("severity", "reason", "status", "text", "kind", "is_permanent"),
    [
        ("permanent", "bounce", "5.1.1", "5.1.1 no such user", EventKind.bounced, True),
        ("permanent", "bounce", None, "550 5.1.10 null MX", EventKind.bounced, True),
        ("permanent", "bounce", None, "550 no such user", EventKind.bounced, True),
        ("permanent", "bounce", "5.7.1", "blocked by policy", EventKind.bounced, True),
        ("permanent", "bounce", "4.2.2", "mailbox full", EventKind.bounced, True),
        ("permanent", "generic", None, "550 something", EventKind.bounced, False),
        ("permanent", "old", "4.4.7", "gave up", EventKind.bounced, False),
        (
            "permanent",
            "suppress-bounce",
            None,
            "Not delivering to previously bounced",
            EventKind.rejected,
            True,
        ),
        ("permanent", "suppress-complaint", None, "", EventKind.rejected, False),
        ("permanent", "suppress-unsubscribe", None, "", EventKind.rejected, False),
        ("temporary", "generic", "4.7.1", "greylisted", EventKind.deferred, False),
        ("temporary", "greylisted", "5.1.1", "greylisted", EventKind.deferred, False),
    ],
)
def test_a_failure_keeps_its_status_its_reason_and_the_word_of_its_provider(
    severity: str, reason: str, status: str | None, text: str, kind: EventKind, is_permanent: bool
) -> None:
    delivery = {"code": 550, "message": text, "description": ""} | (
        {"enhanced-code": status} if status else {}
    )
    made = parsed(event("failed", severity=severity, reason=reason, **{"delivery-status": delivery}))
    assert (made.kind, made.is_permanent) == (kind, is_permanent)
    assert made.reason == (text or reason)


@pytest.mark.parametrize(
    ("report", "kind"),
    [
        (event("complained"), EventKind.complained),
        (event("unsubscribed"), EventKind.unsubscribed),
        (
            event("rejected", reject={"reason": "Sandbox subdomains are for test purposes"}),
            EventKind.rejected,
        ),
    ],
)
def test_the_other_events_are_said_in_our_words(report: dict[str, object], kind: EventKind) -> None:
    made = parsed(report)
    assert (made.kind, made.message_id, made.is_permanent) == (kind, MESSAGE_ID, False)


def test_opens_and_clicks_tell_by_what_they_were_made() -> None:
    client = {"client-info": {"user-agent": "Mozilla/5.0", "bot": "apple"}, "ip": "192.0.2.7"}
    opened = parsed(event("opened", **client))
    clicked = parsed(event("clicked", url="https://example.com/a", **client))
    assert (opened.kind, opened.ip, opened.user_agent, opened.machine) == (
        *(EventKind.opened, "192.0.2.7", "Mozilla/5.0", "apple"),
    )
    assert (clicked.kind, clicked.url) == (EventKind.clicked, "https://example.com/a")


def test_what_means_nothing_to_us_is_left_out_and_what_has_no_id_is_no_event() -> None:
    for name in ("accepted", "stored", "something-new"):
        assert FEED.parse(signed(event(name)), {}) == []
    for missing in ("id", "timestamp"):
        with pytest.raises(Malformed):
            FEED.parse(signed({**event("delivered"), missing: None}), {})
