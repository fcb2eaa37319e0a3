"""Resend: against a socket that answers as its published API does."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks import Webhook

from newsletter.providers.base import Permanent, Receipt, Refusal, ServerDown, Temporary, Throttled, Unknown
from newsletter.providers.events import BadSignature, EventKind, Malformed, ProviderEvent
from newsletter.providers.registry import ServerType
from newsletter.providers.resend import ResendConfig, ResendFeed
from tests.providers.http_server import Fault, Reply, Request, http_server
from tests.providers.mails import HTML, MESSAGE_ID, TEXT, UNSUBSCRIBE, connected, envelope, send

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
FEED = ResendFeed(ResendConfig.model_validate(ResendConfig.example))
TAKEN = Reply(200, {"id": "49a3999c-0ce1-4ea6-ab68-afcd6dc2e794"})


# Sends


async def test_the_request_is_the_one_that_the_api_describes() -> None:
    async with http_server(TAKEN) as server:
        provider = connected(ServerType.resend, server.url)
        (result,) = await send(provider, envelope())
        assert result == Receipt("200 49a3999c-0ce1-4ea6-ab68-afcd6dc2e794")
        (request,) = server.requests
        assert (request.method, request.path) == ("POST", "/emails")
        assert request.headers["authorization"] == "Bearer re_0123456789abcdef"
        assert request.json() == {
            "from": '"Acme \\"News\\", Inc." <news@news.example.com>',
            "to": ['"Zoë" <zoe@example.com>'],
            "reply_to": ["help@example.com"],
            "subject": "Grüße aus 東京, and a subject that is long enough to be folded over lines",
            "html": HTML,
            "text": TEXT.replace("\n", "\r\n"),
            "headers": {
                "List-Id": "The list <lst-1.news.example.com>",
                "List-Unsubscribe": f"<{UNSUBSCRIBE}>",
                "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
                "Feedback-ID": "c1:p1:campaign:acme",
                "X-Entity-Ref": "42",
                "Message-ID": f"<{MESSAGE_ID}@news.example.com>",
            },
            "tags": [{"name": "message_id", "value": MESSAGE_ID}],
        }
        await provider.aclose()


async def test_a_repeated_message_has_the_same_key_and_body_in_each_attempt() -> None:
    """Resend answers a repeated key with the first answer, and another body with an error."""
    async with http_server(TAKEN) as server:
        provider = connected(ServerType.resend, server.url)
        await send(provider, envelope(attempt=1))
        await send(provider, envelope(attempt=2))
        first, second = server.requests
        assert first.headers["idempotency-key"] == second.headers["idempotency-key"] == MESSAGE_ID
        assert first.body == second.body
        await provider.aclose()


async def test_a_message_whose_answer_was_lost_is_sent_once_when_it_is_tried_again() -> None:
    sent: dict[str, str] = {}
    acts = [Fault.CUT]

    def answer(request: Request) -> Reply | Fault:
        identifier = sent.setdefault(request.headers["idempotency-key"], f"id-{len(sent)}")
        return acts.pop() if acts else Reply(200, {"id": identifier})

    async with http_server(answer) as server:
        provider = connected(ServerType.resend, server.url)
        (lost,) = await send(provider, envelope())
        assert type(lost) is Temporary
        (result,) = await send(provider, envelope(attempt=2))
        assert result == Receipt("200 id-0")
        assert len(sent) == 1
        await provider.aclose()


# Errors


@pytest.mark.parametrize(
    ("status", "name", "message", "refusal", "enhanced"),
    [
        (400, "validation_error", "We found an error with one or more fields", Permanent, None),
        (400, "invalid_idempotency_key", "The key must be between 1-256 chars", Permanent, None),
        (401, "missing_api_key", "Missing API key", ServerDown, None),
        (401, "restricted_api_key", "This API key is restricted", ServerDown, None),
        (403, "invalid_api_key", "API key is invalid", ServerDown, None),
        (403, "validation_error", "The example.com domain is not verified", ServerDown, None),
        (404, "not_found", "The requested endpoint does not exist", ServerDown, None),
        (409, "concurrent_idempotent_requests", "in progress", Temporary, None),
        (409, "invalid_idempotent_request", "another payload", Unknown, None),
        (
            422,
            "validation_error",
            "Invalid `to` field. The email address needs to follow",
            Permanent,
            "5.1.3",
        ),
        (422, "invalid_from_address", "Invalid `from` field", Permanent, None),
        (422, "missing_required_field", "Missing `subject` field", Permanent, None),
        (429, "rate_limit_exceeded", "Too many requests", Throttled, None),
        (429, "daily_quota_exceeded", "You have reached your daily quota", ServerDown, None),
        (429, "monthly_quota_exceeded", "You have reached your monthly quota", ServerDown, None),
        (451, "security_error", "We may have found a security issue", Permanent, None),
        (500, "application_error", "An unexpected error occurred", Temporary, None),
    ],
)
async def test_each_error_says_whether_to_try_again(
    status: int, name: str, message: str, refusal: type[Refusal], enhanced: str | None
) -> None:
    body = {"statusCode": status, "name": name, "message": message}
    async with http_server(Reply(status, body)) as server:
        provider = connected(ServerType.resend, server.url)
        (result,) = await send(provider, envelope())
        assert type(result) is refusal
        assert isinstance(result, Refusal)
        assert (result.code, result.enhanced) == (None if refusal is Throttled else status, enhanced)
        assert result.is_bad_address is (enhanced == "5.1.3")
        assert status == 401 or message in result.text
        await provider.aclose()


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (
            Reply(200, {"data": [{"name": "news.example.com"}, {"name": "b.example.com"}]}),
            "Resend, domains news.example.com, b.example.com",
        ),
        (Reply(200, {"data": []}), "Resend, no domain yet"),
        (
            Reply(401, {"name": "restricted_api_key", "message": "only send emails"}),
            "Resend; the key may only send mail",
        ),
    ],
)
async def test_a_connection_test_says_what_it_found(reply: Reply, words: str) -> None:
    async with http_server(reply) as server:
        provider = connected(ServerType.resend, server.url)
        assert await provider.check() == words
        assert [(each.method, each.path) for each in server.requests] == [("GET", "/domains")]
        await provider.aclose()


async def test_a_connection_test_fails_where_the_key_is_wrong() -> None:
    async with http_server(
        Reply(400, {"name": "validation_error", "message": "API key is invalid"})
    ) as server:
        provider = connected(ServerType.resend, server.url)
        with pytest.raises(Refusal):
            await provider.check()
        await provider.aclose()


# Events


def event(name: str, **details: object) -> dict[str, object]:
    return {
        "type": f"email.{name}",
        "created_at": "2026-11-25T11:59:00.000Z",
        "data": {
            "created_at": "2026-11-25T11:58:58.126Z",
            "email_id": "56761188-7520-42d8-8898-ff6fc54ce618",
            "from": "News <news@news.example.com>",
            "to": ["zoe@example.com"],
            "subject": "Hello",
            "tags": {"message_id": MESSAGE_ID},
            **details,
        },
    }


def headers(
    raw: bytes, *, secret: str = SECRET, at: datetime = NOW, name: str = "msg_svix_1"
) -> dict[str, str]:
    """Signed by the library of the specification, not by our own code."""
    return {
        "svix-id": name,
        "svix-timestamp": str(int(at.timestamp())),
        "svix-signature": Webhook(secret).sign(name, at, raw.decode()),
    }


def parsed(report: dict[str, object]) -> ProviderEvent:
    (made,) = FEED.parse(json.dumps(report).encode(), {"svix-id": "msg_svix_1"})
    return made


RAW = json.dumps(event("delivered")).encode()


async def test_a_report_that_resend_signed_is_taken_also_while_its_secret_rotates() -> None:
    await FEED.verify(RAW, headers(RAW), NOW)
    good = headers(RAW)
    other = headers(RAW, secret="whsec_b3RoZXItc2VjcmV0LW90aGVyLXNlY3JldA==")
    both = good | {"svix-signature": f"{other['svix-signature']} v2,x {good['svix-signature']}"}
    await FEED.verify(RAW, both, NOW)
    with pytest.raises(BadSignature):
        await FEED.verify(RAW, other, NOW)


async def test_an_altered_report_is_refused() -> None:
    for place in range(len(RAW)):
        altered = RAW[:place] + bytes([RAW[place] ^ 1]) + RAW[place + 1 :]
        with pytest.raises(BadSignature):
            await FEED.verify(altered, headers(RAW), NOW)


@pytest.mark.parametrize("name", ["svix-id", "svix-timestamp", "svix-signature"])
@pytest.mark.parametrize("value", [None, "", "x", "v1,", "v1,AAAA", "ü", "1795607999"])
async def test_an_altered_signature_is_refused(name: str, value: str | None) -> None:
    bad = {**headers(RAW), name: value or ""}
    with pytest.raises(BadSignature):
        await FEED.verify(RAW, bad, NOW)


async def test_a_report_that_is_replayed_after_five_minutes_is_refused() -> None:
    await FEED.verify(RAW, headers(RAW), NOW + timedelta(minutes=4))
    for later in (timedelta(minutes=6), timedelta(minutes=-6)):
        with pytest.raises(BadSignature):
            await FEED.verify(RAW, headers(RAW), NOW + later)


@pytest.mark.parametrize("secret", [None, "whsec_", "whsec_not base64!", "x"])
async def test_a_server_without_a_secret_takes_no_reports(secret: str | None) -> None:
    feed = ResendFeed(ResendConfig.model_validate({"api_key": "k", "webhook_secret": secret}))
    with pytest.raises(BadSignature):
        await feed.verify(RAW, headers(RAW), NOW)


def test_a_delivery_names_our_message() -> None:
    made = parsed(event("delivered"))
    assert (made.kind, made.message_id, made.recipient) == (
        EventKind.delivered,
        MESSAGE_ID,
        "zoe@example.com",
    )
    assert made.event_id == "msg_svix_1"
    assert made.at == datetime(2026, 11, 25, 11, 59, tzinfo=UTC)


def test_our_id_comes_back_as_an_object_a_list_or_a_header() -> None:
    listed = [{"name": "other", "value": "x"}, {"name": "message_id", "value": MESSAGE_ID}]
    assert parsed(event("delivered", tags=listed)).message_id == MESSAGE_ID
    named = [{"name": "Message-Id", "value": f"<{MESSAGE_ID}@news.example.com>"}]
    assert parsed(event("delivered", tags=None, headers=named)).message_id == MESSAGE_ID
    assert parsed(event("delivered", tags=None)).message_id is None


@pytest.mark.parametrize(
    ("label", "text", "is_permanent"),
    [
        ("Permanent", "550 5.1.1 no such user", True),
        ("Permanent", "The recipient's email provider sent a hard bounce message.", True),
        ("Permanent", "550 5.7.1 blocked", True),
        ("Transient", "552 5.2.2 over quota", False),
        ("Transient", "The mailbox is full", False),
        ("Undetermined", "", False),
    ],
)
def test_a_bounce_keeps_its_status_its_reason_and_the_word_of_its_provider(
    label: str, text: str, is_permanent: bool
) -> None:
    made = parsed(event("bounced", bounce={"type": label, "subType": "General", "message": text}))
    assert (made.kind, made.is_permanent, made.reason) == (EventKind.bounced, is_permanent, text or None)


def test_the_other_events_are_said_in_our_words() -> None:
    assert parsed(event("complained")).kind is EventKind.complained
    assert parsed(event("delivery_delayed")).kind is EventKind.deferred
    failed = parsed(event("failed", failed={"reason": "reached_daily_quota"}))
    assert (failed.kind, failed.reason) == (EventKind.rejected, "reached_daily_quota")
    suppressed = parsed(event("suppressed", suppressed={"message": "on the list", "type": "OnAccountList"}))
    assert (suppressed.kind, suppressed.reason, suppressed.is_permanent) == (
        *(EventKind.rejected, "on the list", False),
    )


def test_opens_and_clicks_tell_by_what_they_were_made() -> None:
    visit = {"ipAddress": "192.0.2.7", "userAgent": "Mozilla/5.0", "link": "https://example.com/a"}
    clicked = parsed(event("clicked", click=visit))
    assert (clicked.kind, clicked.url, clicked.ip, clicked.user_agent) == (
        *(EventKind.clicked, "https://example.com/a", "192.0.2.7", "Mozilla/5.0"),
    )
    assert parsed(event("opened")).kind is EventKind.opened


def test_what_means_nothing_to_us_is_left_out_and_what_has_no_time_is_no_event() -> None:
    for name in ("sent", "scheduled", "received", "something_new"):
        assert FEED.parse(json.dumps(event(name)).encode(), {"svix-id": "1"}) == []
    assert FEED.parse(b'{"type": "contact.created"}', {"svix-id": "1"}) == []
    with pytest.raises(Malformed):
        FEED.parse(json.dumps({**event("opened"), "created_at": "soon"}).encode(), {"svix-id": "1"})
