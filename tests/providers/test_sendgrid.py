"""Twilio SendGrid: against a socket that answers as its published API does."""

import json
from base64 import b64encode
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import ValidationError

from newsletter.providers.base import Permanent, Receipt, Refusal, ServerDown, Temporary, Throttled
from newsletter.providers.events import BadSignature, EventKind, Malformed, ProviderEvent
from newsletter.providers.registry import ServerType
from newsletter.providers.sendgrid import SendGridConfig, SendGridFeed
from tests.providers.http_server import Reply, http_server
from tests.providers.mails import HTML, MESSAGE_ID, TEXT, UNSUBSCRIBE, connected, content, envelope, send

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
STAMP = str(int(NOW.timestamp()))
KEY = ec.generate_private_key(ec.SECP256R1())
PUBLIC = b64encode(KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()
FEED = SendGridFeed(SendGridConfig.model_validate({"api_key": "k", "webhook_public_key": PUBLIC}))
ACCEPTED = Reply(202, b"", {"X-Message-Id": "fBhKp4yCQ3uGx2"})


# Sends


async def test_the_request_is_the_one_that_the_api_describes() -> None:
    async with http_server(ACCEPTED) as server:
        provider = connected(ServerType.sendgrid, server.url)
        (result,) = await send(provider, envelope())
        assert result == Receipt("202 fBhKp4yCQ3uGx2")
        (request,) = server.requests
        assert (request.method, request.path) == ("POST", "/v3/mail/send")
        assert request.headers["authorization"].startswith("Bearer SG.")
        assert request.json() == {
            "personalizations": [{"to": [{"email": "zoe@example.com", "name": "Zoë"}]}],
            "from": {"email": "news@news.example.com", "name": 'Acme "News", Inc.'},
            "reply_to_list": [{"email": "help@example.com"}],
            "subject": "Grüße aus 東京, and a subject that is long enough to be folded over lines",
            # RFC 2046 §5.1.4: SendGrid refuses the plain text behind the HTML.
            "content": [
                {"type": "text/plain", "value": TEXT.replace("\n", "\r\n")},
                {"type": "text/html", "value": HTML},
            ],
            "headers": {
                "List-Id": "The list <lst-1.news.example.com>",
                "List-Unsubscribe": f"<{UNSUBSCRIBE}>",
                "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
                "Feedback-ID": "c1:p1:campaign:acme",
                "X-Entity-Ref": "42",
                "Message-ID": f"<{MESSAGE_ID}@news.example.com>",
            },
            "custom_args": {"message_id": MESSAGE_ID},
            "tracking_settings": {
                "click_tracking": {"enable": False, "enable_text": False},
                "open_tracking": {"enable": False},
                "subscription_tracking": {"enable": False},
            },
        }
        await provider.aclose()


async def test_sendgrid_may_track_where_the_customer_wants_it_to() -> None:
    async with http_server(ACCEPTED) as server:
        provider = connected(ServerType.sendgrid, server.url, tracking=True)
        await send(provider, envelope())
        assert "tracking_settings" not in server.requests[0].json()
        await provider.aclose()


async def test_a_header_that_comes_twice_is_refused_rather_than_dropped() -> None:
    twice = content(headers=(("X-Twice", "1"), ("X-Twice", "2")))
    async with http_server(ACCEPTED) as server:
        provider = connected(ServerType.sendgrid, server.url)
        (result,) = await send(provider, envelope(content=twice))
        assert type(result) is Permanent
        assert server.requests == []
        await provider.aclose()


# Errors


@pytest.mark.parametrize(
    ("status", "message", "field", "refusal", "enhanced"),
    [
        (400, "Does not contain a valid address.", "personalizations.0.to.0.email", Permanent, "5.1.3"),
        (400, "Does not contain a valid address.", "from.email", Permanent, None),
        (400, "The subject is required.", "subject", Permanent, None),
        (400, "Bad Request", None, Permanent, None),
        (401, "The provided authorization grant is invalid, expired, or revoked", None, ServerDown, None),
        (403, "The from address does not match a verified Sender Identity.", "from", ServerDown, None),
        (413, "The JSON payload you have included in your request is too large.", None, Permanent, None),
        (429, "too many requests", None, Throttled, None),
        (500, "internal error", None, Temporary, None),
        (503, "unavailable", None, Temporary, None),
    ],
)
async def test_each_error_says_whether_to_try_again(
    status: int, message: str, field: str | None, refusal: type[Refusal], enhanced: str | None
) -> None:
    body = {"errors": [{"message": message, "field": field, "help": None}]}
    async with http_server(Reply(status, body)) as server:
        provider = connected(ServerType.sendgrid, server.url)
        (result,) = await send(provider, envelope())
        assert type(result) is refusal
        assert isinstance(result, Refusal)
        assert (result.code, result.enhanced) == (None if refusal is Throttled else status, enhanced)
        assert result.is_bad_address is (enhanced == "5.1.3")
        assert status == 401 or message in result.text
        await provider.aclose()


@pytest.mark.parametrize("body", [{"errors": []}, {"errors": {}}, {"errors": ["x"]}, {"errors": [{}]}, []])
async def test_an_error_in_another_shape_is_still_one(body: object) -> None:
    async with http_server(Reply(400, body)) as server:
        provider = connected(ServerType.sendgrid, server.url)
        (result,) = await send(provider, envelope())
        assert type(result) is Permanent
        await provider.aclose()


async def test_a_connection_test_asks_for_the_right_to_send() -> None:
    async with http_server(Reply(200, {"scopes": ["mail.send", "stats.read"]})) as server:
        provider = connected(ServerType.sendgrid, server.url)
        assert await provider.check() == "SendGrid; the key may send mail"
        assert [(each.method, each.path) for each in server.requests] == [("GET", "/v3/scopes")]
        await provider.aclose()


@pytest.mark.parametrize(
    "reply", [Reply(401), Reply(200, {"scopes": ["stats.read"]}), Reply(200, {"scopes": "mail.send"})]
)
async def test_a_connection_test_fails_where_nothing_could_be_sent(reply: Reply) -> None:
    async with http_server(reply) as server:
        provider = connected(ServerType.sendgrid, server.url)
        with pytest.raises(ServerDown):
            await provider.check()
        await provider.aclose()


# Events


def event(name: str, **details: object) -> dict[str, object]:
    return {
        "email": "zoe@example.com",
        "timestamp": 1795607940,
        "event": name,
        "smtp-id": f"<{MESSAGE_ID}@news.example.com>",
        "sg_event_id": "ZGVsaXZlcmVkLTA",
        "sg_message_id": "fBhKp4yCQ3uGx2.recvd-0",
        "message_id": MESSAGE_ID,
        **details,
    }


def headers(raw: bytes, *, stamp: str = STAMP, key: ec.EllipticCurvePrivateKey = KEY) -> dict[str, str]:
    signature = key.sign(stamp.encode() + raw, ec.ECDSA(SHA256()))
    return {
        "x-twilio-email-event-webhook-signature": b64encode(signature).decode(),
        "x-twilio-email-event-webhook-timestamp": stamp,
    }


def parsed(report: dict[str, object]) -> ProviderEvent:
    (made,) = FEED.parse(json.dumps([report]).encode(), {})
    return made


RAW = json.dumps([event("delivered")]).encode()


async def test_a_report_that_sendgrid_signed_is_taken() -> None:
    await FEED.verify(RAW, headers(RAW), NOW)


async def test_an_altered_report_is_refused() -> None:
    for place in range(len(RAW)):
        altered = RAW[:place] + bytes([RAW[place] ^ 1]) + RAW[place + 1 :]
        with pytest.raises(BadSignature):
            await FEED.verify(altered, headers(RAW), NOW)


async def test_a_forged_signature_is_refused() -> None:
    other = headers(RAW, key=ec.generate_private_key(ec.SECP256R1()))
    good = headers(RAW)
    name = "x-twilio-email-event-webhook-signature"
    moved = good | {"x-twilio-email-event-webhook-timestamp": str(int(STAMP) + 1)}
    for bad in (other, moved, {}, good | {name: ""}, good | {name: "ü"}, good | {name: "AAAA"}):
        with pytest.raises(BadSignature):
            await FEED.verify(RAW, bad, NOW)


async def test_a_report_of_the_day_before_yesterday_is_refused() -> None:
    with pytest.raises(BadSignature):
        await FEED.verify(RAW, headers(RAW), NOW + timedelta(days=2))
    late = headers(RAW, stamp="soon")
    with pytest.raises(BadSignature):
        await FEED.verify(RAW, late, NOW)


async def test_a_server_without_a_public_key_takes_no_reports() -> None:
    feed = SendGridFeed(SendGridConfig.model_validate({"api_key": "k"}))
    with pytest.raises(BadSignature):
        await feed.verify(RAW, headers(RAW), NOW)


@pytest.mark.parametrize("key", ["", "not a key", "AAAA", b64encode(b"x" * 91).decode()])
def test_what_is_no_public_key_is_refused_when_it_is_written_down(key: str) -> None:
    with pytest.raises(ValidationError) as caught:
        SendGridConfig.model_validate({"api_key": "k", "webhook_public_key": key})
    assert [problem["loc"] for problem in caught.value.errors()] == [("webhook_public_key",)]


def test_a_report_holds_many_events() -> None:
    reports = [event("processed"), event("delivered"), event("open", sg_event_id="b3Blbi0w")]
    made = FEED.parse(json.dumps(reports).encode(), {})
    assert [each.kind for each in made] == [EventKind.delivered, EventKind.opened]
    first = made[0]
    assert (first.message_id, first.recipient) == (MESSAGE_ID, "zoe@example.com")
    assert first.event_id == "ZGVsaXZlcmVkLTA"
    assert first.at == datetime(2026, 11, 25, 11, 59, tzinfo=UTC)


def test_the_message_id_of_the_mail_serves_where_no_argument_comes_back() -> None:
    assert parsed({**event("delivered"), "message_id": None}).message_id == MESSAGE_ID
    foreign = {**event("delivered"), "message_id": None, "smtp-id": "<other@example.com>"}
    assert parsed(foreign).message_id is None


@pytest.mark.parametrize(
    ("name", "label", "status", "reason", "kind", "is_permanent"),
    [
        ("bounce", "bounce", "5.1.1", "550 5.1.1 no such user", EventKind.bounced, True),
        ("bounce", "bounce", None, "550 no such user", EventKind.bounced, True),
        ("bounce", "bounce", "5.7.1", "550 5.7.1 policy", EventKind.bounced, True),
        ("bounce", "bounce", "5.2.2", "552 5.2.2 mailbox full", EventKind.bounced, True),
        ("bounce", "blocked", None, "554 blocked", EventKind.bounced, False),
        ("bounce", "blocked", "5.1.1", "550 5.1.1 unknown", EventKind.bounced, False),
        ("dropped", None, None, "Bounced Address", EventKind.rejected, True),
        ("dropped", None, None, "Invalid", EventKind.rejected, True),
        ("dropped", None, None, "Spam Reporting Address", EventKind.rejected, False),
        ("dropped", None, None, "Unsubscribed Address", EventKind.rejected, False),
    ],
)
def test_a_bounce_keeps_its_status_its_reason_and_the_word_of_its_provider(
    name: str, label: str | None, status: str | None, reason: str, kind: EventKind, is_permanent: bool
) -> None:
    made = parsed(event(name, type=label, status=status, reason=reason))
    assert (made.kind, made.is_permanent, made.reason) == (kind, is_permanent, reason)


def test_the_other_events_are_said_in_our_words() -> None:
    for name, kind in (
        ("spamreport", EventKind.complained),
        ("unsubscribe", EventKind.unsubscribed),
        ("group_unsubscribe", EventKind.unsubscribed),
    ):
        assert parsed(event(name)).kind is kind
    delayed = parsed(event("deferred", response="451 4.7.1 try again later"))
    assert (delayed.kind, delayed.status) == (EventKind.deferred, "4.7.1")


def test_opens_and_clicks_tell_by_what_they_were_made() -> None:
    visit = {"ip": "192.0.2.7", "useragent": "Mozilla/5.0"}
    opened = parsed(event("open", sg_machine_open=True, **visit))
    clicked = parsed(event("click", url="https://example.com/a", **visit))
    assert (opened.ip, opened.user_agent, opened.machine) == (
        *("192.0.2.7", "Mozilla/5.0", "opened by Apple Mail"),
    )
    assert (clicked.kind, clicked.url, clicked.machine) == (
        *(EventKind.clicked, "https://example.com/a", None),
    )


def test_what_means_nothing_to_us_is_left_out_and_what_has_no_id_is_no_event() -> None:
    for raw in (b"[]", b"1", b'"x"', b"null", b'[1, "x", null]', b'[{"event": "account_status_change"}]'):
        assert FEED.parse(raw, {}) == []
    # Who left mail of ours comes back by a page of ours, where the consent is recorded.
    assert FEED.parse(json.dumps([event("group_resubscribe")]).encode(), {}) == []
    for missing in ("sg_event_id", "timestamp"):
        with pytest.raises(Malformed):
            FEED.parse(json.dumps([{**event("delivered"), missing: None}]).encode(), {})
