"""Amazon SES: against moto's server, and against a socket that refuses as the API does."""

from base64 import b64encode
from datetime import UTC, datetime

import pytest

from newsletter.providers.base import Permanent, Receipt, Refusal, ServerDown, Temporary, Throttled
from newsletter.providers.events import EventKind, Malformed, ProviderEvent
from newsletter.providers.registry import ServerType
from newsletter.providers.ses import SESConfig, SESFeed
from newsletter.providers.sns import Certificates
from tests.providers.http_server import Reply, http_server
from tests.providers.mails import MESSAGE_ID, connected, content, envelope, many, send
from tests.providers.moto_server import Moto
from tests.providers.sns import SNS

FEED = SESFeed(SESConfig.model_validate(SESConfig.example), Certificates(SNS().fetch))


# Sends


async def test_amazon_takes_the_message_byte_for_byte(moto: Moto) -> None:
    moto.reset(identity="news.example.com")
    provider = connected(ServerType.ses, moto.url)
    (result,) = await send(provider, envelope())
    assert isinstance(result, Receipt)
    (sent,) = moto.sent()
    assert sent["raw_data"].encode() == content()
    assert "zoe@example.com" in sent["destinations"]
    assert sent["source"] == "news@news.example.com"
    await provider.aclose()


async def test_amazon_takes_many_at_once(moto: Moto) -> None:
    moto.reset(identity="news.example.com")
    provider = connected(ServerType.ses, moto.url)
    results = await send(provider, *many(20))
    assert {type(result) for result in results} == {Receipt}
    assert len(moto.sent()) == 20
    await provider.aclose()


async def test_a_sender_that_is_not_verified_is_refused_for_good(moto: Moto) -> None:
    moto.reset(identity="other.example.com")
    provider = connected(ServerType.ses, moto.url)
    (result,) = await send(provider, envelope())
    assert type(result) is Permanent
    assert "authority" in result.text
    assert not result.is_bad_address
    await provider.aclose()


async def test_the_request_is_the_one_that_the_api_describes() -> None:
    async with http_server(Reply(200, {"MessageId": "0100-ses"})) as server:
        provider = connected(ServerType.ses, server.url, session_token="lent-for-an-hour")
        (result,) = await send(provider, envelope())
        assert result == Receipt("200 0100-ses")
        (request,) = server.requests
        assert (request.method, request.path) == ("POST", "/v2/email/outbound-emails")
        body = request.json()
        assert body == {
            "Content": {"Raw": {"Data": b64encode(content()).decode()}},
            "Destination": {"ToAddresses": ["zoe@example.com"]},
            "EmailTags": [{"Name": "message_id", "Value": MESSAGE_ID}],
            "ConfigurationSetName": "newsletter",
        }
        assert request.headers["x-amz-security-token"] == "lent-for-an-hour"
        assert request.headers["host"] == f"127.0.0.1:{server.port}"
        assert request.headers["authorization"].startswith(
            "AWS4-HMAC-SHA256 Credential=EXAMPLEACCESSKEY0001/"
        )
        assert (
            "SignedHeaders=content-type;host;x-amz-date;x-amz-security-token,"
            in (request.headers["authorization"])
        )
        await provider.aclose()


# Errors


@pytest.mark.parametrize(
    ("status", "kind", "text", "refusal", "enhanced"),
    [
        (400, "MessageRejected", "Email address is not verified.", Permanent, None),
        (400, "MailFromDomainNotVerifiedException", "no MX", Permanent, None),
        (400, "BadRequestException", "Local address contains illegal characters", Permanent, "5.1.3"),
        (400, "BadRequestException", "Message length exceeds the limit", Permanent, None),
        (400, "AccountSuspendedException", "suspended", ServerDown, None),
        (400, "SendingPausedException", "paused", ServerDown, None),
        (404, "NotFoundException", "Configuration set does not exist", ServerDown, None),
        (400, "LimitExceededException", "too many", Throttled, None),
        (400, "ThrottlingException", "Daily message quota exceeded", Throttled, None),
        (429, "TooManyRequestsException", "Maximum sending rate exceeded", Throttled, None),
        (403, "InvalidSignatureException", "The signature does not match", ServerDown, None),
        (403, "UnrecognizedClientException", "The security token is invalid", ServerDown, None),
        (403, "AccessDeniedException", "not authorized to perform ses:SendEmail", ServerDown, None),
        (500, "InternalFailure", "", Temporary, None),
        (503, "ServiceUnavailable", "", Temporary, None),
    ],
)
@pytest.mark.parametrize("place", ["header", "body"])
async def test_each_error_says_whether_to_try_again(
    status: int, kind: str, text: str, refusal: type[Refusal], enhanced: str | None, place: str
) -> None:
    reply = Reply(status, {"message": text}, {"x-amzn-ErrorType": f"{kind}:http://internal.example/"})
    if place == "body":
        reply = Reply(status, {"__type": f"com.amazonaws.ses#{kind}", "message": text})
    async with http_server(reply) as server:
        provider = connected(ServerType.ses, server.url)
        (result,) = await send(provider, envelope())
        assert type(result) is refusal
        assert isinstance(result, Refusal)
        assert (result.code, result.enhanced) == (None if refusal is Throttled else status, enhanced)
        assert kind in result.text
        assert text in result.text
        await provider.aclose()


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (
            Reply(
                200,
                {
                    "SendingEnabled": True,
                    "ProductionAccessEnabled": False,
                    "SendQuota": {"Max24HourSend": 200.0, "MaxSendRate": 1.0, "SentLast24Hours": 3.0},
                },
            ),
            "Amazon SES in eu-west-1, 200.0 mails a day, in the SES sandbox",
        ),
        (
            Reply(403, {"message": "no"}, {"x-amzn-ErrorType": "AccessDeniedException"}),
            "Amazon SES in eu-west-1; the key is good, and may not read the account (ses:GetAccount)",
        ),
    ],
)
async def test_a_connection_test_says_what_it_found(reply: Reply, words: str) -> None:
    async with http_server(reply) as server:
        provider = connected(ServerType.ses, server.url)
        assert await provider.check() == words
        assert [(each.method, each.path) for each in server.requests] == [("GET", "/v2/email/account")]
        await provider.aclose()


@pytest.mark.parametrize(
    "reply",
    [
        Reply(403, {"message": "wrong"}, {"x-amzn-ErrorType": "InvalidSignatureException"}),
        Reply(200, {"SendingEnabled": False}),
    ],
)
async def test_a_connection_test_fails_where_nothing_could_be_sent(reply: Reply) -> None:
    async with http_server(reply) as server:
        provider = connected(ServerType.ses, server.url)
        with pytest.raises(ServerDown):
            await provider.check()
        await provider.aclose()


# Events


def event(kind: str, **details: object) -> dict[str, object]:
    return {
        "eventType": kind,
        "mail": {
            "timestamp": "2026-11-25T11:58:00.000Z",
            "messageId": "0102018f-ses",
            "source": "news@news.example.com",
            "destination": ["zoe@example.com"],
            "tags": {"ses:operation": ["SendEmail"], "message_id": [MESSAGE_ID]},
        },
        **details,
    }


def parsed(report: dict[str, object]) -> list[ProviderEvent]:
    return FEED.parse(SNS().signed(report), {})


def test_a_delivery_names_our_message() -> None:
    (made,) = parsed(event("Delivery", delivery={"timestamp": "2026-11-25T11:59:00.000Z"}))
    assert made.kind is EventKind.delivered
    assert made.message_id == MESSAGE_ID
    assert made.recipient == "zoe@example.com"
    assert made.event_id == "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324"
    assert made.at == datetime(2026, 11, 25, 11, 59, tzinfo=UTC)


def test_the_message_id_of_the_mail_serves_where_no_tag_comes_back() -> None:
    report = event("Delivery", delivery={})
    report["mail"] = {
        "destination": ["zoe@example.com"],
        "headers": [
            {"name": "Subject", "value": "msg_of_the_subject@example.com"},
            {"name": "Message-Id", "value": f"<{MESSAGE_ID}@news.example.com>"},
        ],
    }
    (made,) = parsed(report)
    assert made.message_id == MESSAGE_ID


@pytest.mark.parametrize(
    ("kind", "subtype", "status", "diagnosis", "is_permanent"),
    [
        ("Permanent", "General", "5.1.1", "smtp; 550 5.1.1 user unknown", True),
        ("Permanent", "NoEmail", None, None, True),
        ("Permanent", "Suppressed", "5.1.1", "Amazon SES has suppressed sending to this address", True),
        ("Permanent", "General", "5.7.1", "smtp; 550 5.7.1 blocked", True),
        ("Permanent", "General", "5.0.0", "smtp; 550 no thanks", True),
        ("Transient", "MailboxFull", "5.2.2", "smtp; 552 5.2.2 over quota", False),
        ("Transient", "General", None, None, False),
        ("Transient", "General", "5.1.1", "smtp; 550 5.1.1 no such user", False),
        ("Undetermined", "Undetermined", "4.4.7", "smtp; 450 4.4.7 expired", False),
    ],
)
def test_a_bounce_keeps_its_status_its_reason_and_the_word_of_its_provider(
    kind: str, subtype: str, status: str | None, diagnosis: str | None, is_permanent: bool
) -> None:
    recipient = {"emailAddress": "zoe@example.com", "action": "failed"}
    recipient |= {"status": status} if status else {}
    recipient |= {"diagnosticCode": diagnosis} if diagnosis else {}
    bounce = {
        "bounceType": kind,
        "bounceSubType": subtype,
        "bouncedRecipients": [recipient],
        "timestamp": "2026-11-25T11:59:10.000Z",
    }
    (made,) = parsed(event("Bounce", bounce=bounce))
    assert (made.kind, made.is_permanent) == (EventKind.bounced, is_permanent)
    assert made.status == status
    assert made.reason == (diagnosis or subtype)
    assert made.message_id == MESSAGE_ID


@pytest.mark.parametrize(
    ("report", "kind", "reason"),
    [
        (
            event(
                "Bounce",
                bounce={
                    "bounceType": "Permanent",
                    "bounceSubType": "OnAccountSuppressionList",
                    "bouncedRecipients": [{"emailAddress": "zoe@example.com"}],
                },
            ),
            *(EventKind.rejected, "OnAccountSuppressionList"),
        ),
        (
            event(
                "DeliveryDelay",
                deliveryDelay={
                    "delayType": "MailboxFull",
                    "delayedRecipients": [
                        {"emailAddress": "zoe@example.com", "diagnosticCode": "smtp; 452 4.2.2 full"}
                    ],
                },
            ),
            *(EventKind.deferred, "smtp; 452 4.2.2 full"),
        ),
        (
            event("Complaint", complaint={"complaintFeedbackType": "abuse", "userAgent": "Feedback-Loop/1"}),
            *(EventKind.complained, "abuse"),
        ),
        (
            event("Complaint", complaint={"complaintSubType": "OnAccountSuppressionList"}),
            *(EventKind.rejected, "OnAccountSuppressionList"),
        ),
        (event("Reject", reject={"reason": "Bad content"}), EventKind.rejected, "Bad content"),
        (
            event("Rendering Failure", failure={"errorMessage": "no such value"}),
            *(EventKind.rejected, "no such value"),
        ),
        (
            event("Subscription", subscription={"newTopicPreferences": {"unsubscribeAll": True}}),
            *(EventKind.unsubscribed, None),
        ),
        ({**event("", complaint={}), "notificationType": "Complaint"}, EventKind.complained, None),
    ],
)
def test_the_other_events_are_said_in_our_words(
    report: dict[str, object], kind: EventKind, reason: str | None
) -> None:
    (made,) = parsed(report)
    assert (made.kind, made.reason, made.is_permanent) == (kind, reason, False)
    assert made.message_id == MESSAGE_ID


def test_opens_and_clicks_tell_by_what_they_were_made() -> None:
    visit = {"timestamp": "2026-11-25T11:59:20Z", "ipAddress": "192.0.2.7", "userAgent": "Mozilla/5.0"}
    (opened,) = parsed(event("Open", open=visit))
    (clicked,) = parsed(event("Click", click={**visit, "link": "https://example.com/a?b=c"}))
    assert (opened.kind, opened.ip, opened.user_agent) == (EventKind.opened, "192.0.2.7", "Mozilla/5.0")
    assert (clicked.kind, clicked.url) == (EventKind.clicked, "https://example.com/a?b=c")


@pytest.mark.parametrize(
    "report",
    [
        event("Send", send={}),
        event("SomethingNew", somethingNew={}),
        event("Complaint", complaint={"complaintFeedbackType": "not-spam"}),
        event("Complaint", complaint={"complaintFeedbackType": "auth-failure"}),
        event("Subscription", subscription={"newTopicPreferences": {"unsubscribeAll": False}}),
    ],
)
def test_what_means_nothing_to_us_is_left_out(report: dict[str, object]) -> None:
    assert parsed(report) == []


def test_the_words_by_which_ses_greets_a_topic_are_no_events() -> None:
    raw = SNS().signed(Message="Successfully validated SNS topic for Amazon SES event publishing.")
    assert FEED.parse(raw, {}) == []
    with pytest.raises(Malformed):
        FEED.parse(b"not json", {})
