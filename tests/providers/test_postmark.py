"""Postmark: against a socket that answers as its published API does."""

import json
from base64 import b64encode
from datetime import UTC, datetime

import pytest

from newsletter.providers.base import Permanent, Receipt, Refusal, ServerDown, Temporary, Throttled
from newsletter.providers.events import BadSignature, EventKind, Malformed, ProviderEvent
from newsletter.providers.postmark import PostmarkConfig, PostmarkFeed
from newsletter.providers.registry import ServerType
from tests.providers.http_server import Reply, http_server
from tests.providers.mails import HTML, MESSAGE_ID, TEXT, UNSUBSCRIBE, connected, content, envelope, send

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
FEED = PostmarkFeed(PostmarkConfig.model_validate(PostmarkConfig.example))
LOGIN = {"authorization": "Basic " + b64encode(b"postmark:a-long-random-password").decode()}
TAKEN = Reply(
    200,
    {
        "To": "zoe@example.com",
        "SubmittedAt": "2026-11-25T11:59:00.8483247Z",
        "MessageID": "b7bc2f4a-e38e-4336-af7d-e6c392c2f817",
        "ErrorCode": 0,
        "Message": "OK",
    },
)


# Sends


async def test_the_request_is_the_one_that_the_api_describes() -> None:
    async with http_server(TAKEN) as server:
        provider = connected(ServerType.postmark, server.url)
        (result,) = await send(provider, envelope())
        assert result == Receipt("200 b7bc2f4a-e38e-4336-af7d-e6c392c2f817")
        (request,) = server.requests
        assert (request.method, request.path) == ("POST", "/email")
        assert request.headers["x-postmark-server-token"] == "01234567-89ab-cdef-0123-456789abcdef"
        assert request.headers["accept"] == "application/json"
        assert request.json() == {
            "From": '"Acme \\"News\\", Inc." <news@news.example.com>',
            "To": '"Zoë" <zoe@example.com>',
            "ReplyTo": "help@example.com",
            "Subject": "Grüße aus 東京, and a subject that is long enough to be folded over lines",
            "HtmlBody": HTML,
            "TextBody": TEXT.replace("\n", "\r\n"),
            "MessageStream": "broadcast",
            "Metadata": {"message_id": MESSAGE_ID},
            "Headers": [
                {"Name": "List-Id", "Value": "The list <lst-1.news.example.com>"},
                {"Name": "List-Unsubscribe", "Value": f"<{UNSUBSCRIBE}>"},
                {"Name": "List-Unsubscribe-Post", "Value": "List-Unsubscribe=One-Click"},
                {"Name": "Feedback-ID", "Value": "c1:p1:campaign:acme"},
                {"Name": "X-Entity-Ref", "Value": "42"},
                {"Name": "Message-ID", "Value": f"<{MESSAGE_ID}@news.example.com>"},
                {"Name": "X-PM-KeepID", "Value": "true"},
            ],
            "TrackOpens": False,
            "TrackLinks": "None",
        }
        await provider.aclose()


async def test_postmark_may_track_where_the_customer_wants_it_to_and_keeps_equal_headers() -> None:
    twice = content(headers=(("X-Twice", "1"), ("X-Twice", "2")))
    async with http_server(TAKEN) as server:
        provider = connected(ServerType.postmark, server.url, tracking=True)
        await send(provider, envelope(content=twice))
        body = server.requests[0].json()
        assert "TrackOpens" not in body
        assert "TrackLinks" not in body
        headers = body["Headers"]
        assert isinstance(headers, list)
        assert [each["Value"] for each in headers if each["Name"] == "X-Twice"] == ["1", "2"]
        await provider.aclose()


# Errors


@pytest.mark.parametrize(
    ("status", "code", "message", "refusal", "enhanced"),
    [
        (401, 10, "No Account or Server API tokens were supplied", ServerDown, None),
        (422, 10, "Bad or missing API token", ServerDown, None),
        (422, 100, "Maintenance", Temporary, None),
        (422, 300, "Invalid 'To' address: 'zoe@'.", Permanent, "5.1.3"),
        (422, 300, "Invalid 'From' address: 'news'.", Permanent, None),
        (422, 400, "The Sender Signature was not found", Permanent, None),
        (422, 405, "Not allowed to send: out of credits", ServerDown, None),
        (422, 406, "You tried to send to recipient(s) that have been marked as inactive", Permanent, None),
        (422, 412, "Your account is pending approval", ServerDown, None),
        (422, 413, "This account may not send", ServerDown, None),
        (200, 406, "marked as inactive", Permanent, None),
        (403, None, "Forbidden", ServerDown, None),
        (413, None, "Payload Too Large", Permanent, None),
        (429, None, "Too Many Requests", Throttled, None),
        (500, None, "Internal Server Error", Temporary, None),
        (503, None, "Service Unavailable", Temporary, None),
    ],
)
async def test_each_error_says_whether_to_try_again(
    status: int, code: int | None, message: str, refusal: type[Refusal], enhanced: str | None
) -> None:
    async with http_server(Reply(status, {"ErrorCode": code, "Message": message})) as server:
        provider = connected(ServerType.postmark, server.url)
        (result,) = await send(provider, envelope())
        assert type(result) is refusal
        assert isinstance(result, Refusal)
        assert (result.code, result.enhanced) == (None if refusal is Throttled else status, enhanced)
        assert result.is_bad_address is (enhanced == "5.1.3")
        assert code == 10 or message in result.text
        await provider.aclose()


async def test_a_connection_test_says_which_server_it_found() -> None:
    async with http_server(Reply(200, {"ID": 1, "Name": "Newsletters"})) as server:
        provider = connected(ServerType.postmark, server.url)
        assert await provider.check() == "Postmark, server “Newsletters”, stream broadcast"
        assert [(each.method, each.path) for each in server.requests] == [("GET", "/server")]
        await provider.aclose()


async def test_a_connection_test_fails_where_the_token_is_wrong() -> None:
    async with http_server(Reply(401, {"ErrorCode": 10, "Message": "bad token"})) as server:
        provider = connected(ServerType.postmark, server.url)
        with pytest.raises(ServerDown):
            await provider.check()
        await provider.aclose()


# Events


def event(record: str, moment: str, **details: object) -> dict[str, object]:
    return {
        "RecordType": record,
        "ServerID": 23,
        "MessageStream": "broadcast",
        "MessageID": "00000000-0000-0000-0000-000000000000",
        "Metadata": {"message_id": MESSAGE_ID},
        moment: "2026-11-25T06:59:00.0000000-05:00",
        **details,
    }


def bounce(label: str, **details: object) -> dict[str, object]:
    return event("Bounce", "BouncedAt", ID=42, Type=label, Email="zoe@example.com", **details)


def parsed(report: dict[str, object]) -> ProviderEvent:
    (made,) = FEED.parse(json.dumps(report).encode(), {})
    return made


DELIVERY = event("Delivery", "DeliveredAt", Recipient="zoe@example.com", Details="smtp;250 2.0.0 OK")


async def test_postmark_signs_in_with_a_user_and_a_password() -> None:
    await FEED.verify(b"{}", LOGIN, NOW)


@pytest.mark.parametrize(
    "given",
    [
        None,
        "",
        "Basic ",
        "Bearer a-long-random-password",
        "Basic " + b64encode(b"postmark:wrong").decode(),
        "Basic " + b64encode(b"other:a-long-random-password").decode(),
        LOGIN["authorization"][:-4],
        LOGIN["authorization"] + "=",
        "Basic ü",
    ],
)
async def test_who_does_not_know_the_password_is_refused(given: str | None) -> None:
    with pytest.raises(BadSignature):
        await FEED.verify(b"{}", {} if given is None else {"authorization": given}, NOW)


@pytest.mark.parametrize("half", [{}, {"webhook_username": "u"}, {"webhook_password": "p"}])
async def test_a_server_without_user_and_password_takes_no_reports(half: dict[str, str]) -> None:
    feed = PostmarkFeed(PostmarkConfig.model_validate({"server_token": "t", **half}))
    for given in ("Basic " + b64encode(b":").decode(), "Basic " + b64encode(b"u:p").decode(), ""):
        with pytest.raises(BadSignature):
            await feed.verify(b"{}", {"authorization": given}, NOW)


def test_a_delivery_names_our_message() -> None:
    made = parsed(DELIVERY)
    assert (made.kind, made.message_id, made.recipient) == (
        EventKind.delivered,
        MESSAGE_ID,
        "zoe@example.com",
    )
    assert made.at == datetime(2026, 11, 25, 11, 59, tzinfo=UTC)


def test_a_repeated_report_has_the_same_id_and_no_other_has_it() -> None:
    opened = event("Open", "ReceivedAt", Recipient="zoe@example.com")
    clicked = event("Click", "ReceivedAt", Recipient="zoe@example.com", OriginalLink="https://example.com/a")
    later = {**opened, "ReceivedAt": "2026-11-25T07:00:00Z"}
    elsewhere = {**clicked, "OriginalLink": "https://example.com/b"}
    reports = [DELIVERY, opened, clicked, later, elsewhere, bounce("SoftBounce")]
    assert len({parsed(report).event_id for report in reports}) == len(reports)
    assert [parsed(report).event_id for report in reports] == [parsed(report).event_id for report in reports]


@pytest.mark.parametrize(
    ("label", "details", "kind", "is_permanent"),
    [
        ("HardBounce", "smtp;550 5.1.1 no such user", EventKind.bounced, True),
        ("HardBounce", "smtp;550 no such user", EventKind.bounced, True),
        ("HardBounce", "smtp;550 5.7.1 blocked", EventKind.bounced, True),
        ("BadEmailAddress", "", EventKind.bounced, True),
        ("SoftBounce", "smtp;552 5.2.2 full", EventKind.bounced, False),
        ("SoftBounce", "smtp;550 5.1.1 no such user", EventKind.bounced, False),
        ("Blocked", "smtp;554 refused", EventKind.bounced, False),
        ("SpamNotification", "", EventKind.bounced, False),
        ("DMARCPolicy", "", EventKind.bounced, False),
        ("Transient", "smtp;451 4.7.1 later", EventKind.deferred, False),
        ("DnsError", "", EventKind.deferred, False),
        ("SpamComplaint", "", EventKind.complained, False),
        ("Unsubscribe", "", EventKind.unsubscribed, False),
        ("ManuallyDeactivated", "", EventKind.rejected, False),
        ("SMTPApiError", "", EventKind.rejected, False),
    ],
)
def test_a_bounce_keeps_its_status_its_reason_and_the_word_of_its_provider(
    label: str, details: str, kind: EventKind, is_permanent: bool
) -> None:
    made = parsed(bounce(label, Details=details))
    assert (made.kind, made.is_permanent, made.recipient) == (kind, is_permanent, "zoe@example.com")
    assert made.reason == (details or None)


@pytest.mark.parametrize("label", ["AutoResponder", "AddressChange", "Subscribe", "ChallengeVerification"])
def test_an_automatic_answer_is_no_bounce(label: str) -> None:
    assert FEED.parse(json.dumps(bounce(label)).encode(), {}) == []


def test_the_other_events_are_said_in_our_words() -> None:
    spam = event("SpamComplaint", "BouncedAt", ID=42, Type="SpamComplaint", Email="zoe@example.com")
    assert parsed(spam).kind is EventKind.complained
    left = event("SubscriptionChange", "ChangedAt", Recipient="zoe@example.com", SuppressSending=True)
    assert parsed({**left, "SuppressionReason": "ManualSuppression"}).kind is EventKind.unsubscribed
    for reason in ("HardBounce", "SpamComplaint"):
        assert FEED.parse(json.dumps({**left, "SuppressionReason": reason}).encode(), {}) == []
    back = {**left, "SuppressSending": False, "SuppressionReason": None}
    assert FEED.parse(json.dumps(back).encode(), {}) == []


def test_opens_and_clicks_tell_by_what_they_were_made() -> None:
    visit = {"Recipient": "zoe@example.com", "UserAgent": "Mozilla/5.0", "Geo": {"IP": "192.0.2.7"}}
    opened = parsed(event("Open", "ReceivedAt", **visit))
    clicked = parsed(event("Click", "ReceivedAt", OriginalLink="https://example.com/a", **visit))
    assert (opened.kind, opened.ip, opened.user_agent) == (EventKind.opened, "192.0.2.7", "Mozilla/5.0")
    assert (clicked.kind, clicked.url) == (EventKind.clicked, "https://example.com/a")


def test_what_means_nothing_to_us_is_left_out_and_what_has_no_time_is_no_event() -> None:
    for raw in (b"{}", b"[]", b"1", b'{"RecordType": "Inbound"}', b'{"RecordType": "SomethingNew"}'):
        assert FEED.parse(raw, {}) == []
    with pytest.raises(Malformed):
        FEED.parse(json.dumps({**DELIVERY, "DeliveredAt": None}).encode(), {})
