"""Amazon SES: against moto's server, and against a socket that refuses as the API does."""

import json
from base64 import b64encode
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from newsletter.providers.base import Permanent, Receipt, Refusal, ServerDown, Temporary
from newsletter.providers.events import BadSignature, EventKind, Malformed, ProviderEvent
from newsletter.providers.registry import ServerType
from newsletter.providers.ses import SESConfig, SESFeed
from newsletter.providers.sns import Certificates
from tests.providers.http_server import Reply, http_server
from tests.providers.mails import MESSAGE_ID, connected, content, envelope, many, send
from tests.providers.moto_server import Moto

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
CERTIFICATE_URL = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123abcd.pem"
TOPIC = "arn:aws:sns:eu-west-1:123456789012:newsletter"


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
        (400, "LimitExceededException", "too many", Temporary, None),
        (400, "ThrottlingException", "Daily message quota exceeded", Temporary, None),
        (429, "TooManyRequestsException", "Maximum sending rate exceeded", Temporary, None),
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
        assert (result.code, result.enhanced) == (status, enhanced)
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


@dataclass
class SNS:
    """A stand-in for Amazon SNS: a key, its certificate on a loopback server, and signatures."""

    key: rsa.RSAPrivateKey
    feed: SESFeed
    fetched: list[str]

    def signed(self, version: str = "2", **changes: str) -> bytes:
        fields = {
            "Type": "Notification",
            "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
            "TopicArn": TOPIC,
            "Message": json.dumps(event("Delivery", delivery={"timestamp": "2026-11-25T11:59:00.000Z"})),
            "Timestamp": "2026-11-25T11:59:30.123Z",
        } | changes
        names = {
            "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
        }.get(
            fields["Type"],
            ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
        )
        text = "".join(f"{name}\n{fields[name]}\n" for name in names if name in fields)
        algorithm = SHA1() if version == "1" else SHA256()
        signature = self.key.sign(text.encode(), PKCS1v15(), algorithm)
        return json.dumps(
            {
                **fields,
                "SignatureVersion": version,
                "Signature": b64encode(signature).decode(),
                "SigningCertURL": CERTIFICATE_URL,
                "UnsubscribeURL": "https://sns.eu-west-1.amazonaws.com/?Action=Unsubscribe",
            }
        ).encode()

    def events(self, report: dict[str, object]) -> list[ProviderEvent]:
        return self.feed.parse(self.signed(Message=json.dumps(report)), {})


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


def certificate(key: rsa.RSAPrivateKey) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW - timedelta(days=30))
        .not_valid_after(NOW + timedelta(days=30))
        .sign(key, SHA256())
    )
    return built.public_bytes(Encoding.PEM)


KEY = rsa.generate_private_key(65537, 2048)


@pytest.fixture
def sns() -> SNS:
    fetched: list[str] = []
    pem = certificate(KEY)

    async def fetch(url: str) -> bytes:
        fetched.append(url)
        return pem

    config = SESConfig.model_validate({**SESConfig.example, "topic_arns": [TOPIC]})
    return SNS(KEY, SESFeed(config, Certificates(fetch)), fetched)


@pytest.mark.parametrize("version", ["1", "2"])
async def test_a_notification_that_amazon_signed_is_taken_and_its_certificate_fetched_once(
    sns: SNS, version: str
) -> None:
    for subject in ({}, {"Subject": "Amazon SES Email Event Notification"}, {"Subject": ""}):
        await sns.feed.verify(sns.signed(version, **subject), {}, NOW)
    assert sns.fetched == [CERTIFICATE_URL]


@pytest.mark.parametrize("name", ["Message", "MessageId", "Timestamp", "TopicArn", "Type", "Signature"])
async def test_an_altered_notification_is_refused(sns: SNS, name: str) -> None:
    body = json.loads(sns.signed())
    body[name] = body[name][:-3] + ("AAA" if name == "Signature" else "xyz")
    with pytest.raises(BadSignature):
        await sns.feed.verify(json.dumps(body).encode(), {}, NOW)


@pytest.mark.parametrize("name", ["Signature", "SignatureVersion", "SigningCertURL", "Message", "Timestamp"])
@pytest.mark.parametrize("value", [None, "", 1, [], "9"])
async def test_a_notification_without_what_a_signature_needs_is_refused(
    sns: SNS, name: str, value: object
) -> None:
    body = {**json.loads(sns.signed()), name: value}
    with pytest.raises(BadSignature):
        await sns.feed.verify(json.dumps(body).encode(), {}, NOW)


async def test_a_forged_notification_is_refused(sns: SNS) -> None:
    theirs = SNS(rsa.generate_private_key(65537, 2048), sns.feed, [])
    with pytest.raises(BadSignature):
        await sns.feed.verify(theirs.signed(), {}, NOW)
    for raw in (b"", b"{}", b"[]", b"null", b"not json", b"[" * 100_000, b"\xff"):
        with pytest.raises(BadSignature):
            await sns.feed.verify(raw, {}, NOW)


async def test_a_well_signed_notification_of_a_foreign_topic_is_refused(sns: SNS) -> None:
    foreign = sns.signed(TopicArn="arn:aws:sns:eu-west-1:999999999999:newsletter")
    with pytest.raises(BadSignature):
        await sns.feed.verify(foreign, {}, NOW)
    assert sns.fetched == []


async def test_a_notification_of_last_week_is_refused(sns: SNS) -> None:
    with pytest.raises(BadSignature):
        await sns.feed.verify(sns.signed(Timestamp="2026-11-18T11:59:30.123Z"), {}, NOW)


async def test_a_certificate_that_has_expired_is_refused(sns: SNS) -> None:
    later = NOW + timedelta(days=60)
    with pytest.raises(BadSignature):
        await sns.feed.verify(sns.signed(Timestamp=later.isoformat()), {}, later)


@pytest.mark.parametrize(
    "url",
    [
        "http://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0.pem",
        "https://sns.eu-west-1.amazonaws.com.evil.example/SimpleNotificationService-0.pem",
        "https://evil.example/sns.eu-west-1.amazonaws.com/SimpleNotificationService-0.pem",
        "https://sns.eu-west-1.amazonaws.com@evil.example/SimpleNotificationService-0.pem",
        "https://evil.example#sns.eu-west-1.amazonaws.com/SimpleNotificationService-0.pem",
        "https://bucket.s3.amazonaws.com/SimpleNotificationService-0.pem",
        "https://sns.eu-west-1.amazonaws.com:8443/SimpleNotificationService-0.pem",
        "https://sns.eu-west-1.amazonaws.com/other.pem",
        "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0.pem/../x",
        "https://sns.eu-west-1.amazonaws.com\\@evil.example/SimpleNotificationService-0.pem",
        "https://127.0.0.1/SimpleNotificationService-0.pem",
        "file:///etc/passwd",
        "https://[::1",
    ],
)
async def test_a_certificate_is_fetched_from_amazon_alone(sns: SNS, url: str) -> None:
    body = {**json.loads(sns.signed()), "SigningCertURL": url}
    with pytest.raises(BadSignature):
        await sns.feed.verify(json.dumps(body).encode(), {}, NOW)
    assert sns.fetched == []


async def test_a_server_without_topics_takes_no_reports(sns: SNS) -> None:
    config = SESConfig.model_validate({**SESConfig.example, "topic_arns": []})
    feed = SESFeed(config, Certificates(lambda url: pytest.fail("nothing may be fetched")))
    with pytest.raises(BadSignature):
        await feed.verify(sns.signed(), {}, NOW)


async def test_a_subscription_is_confirmed_where_amazon_says_and_nowhere_else(sns: SNS) -> None:
    def asked(url: str) -> bytes:
        return sns.signed(
            Type="SubscriptionConfirmation", SubscribeURL=url, Token="t" * 64, Message="You have chosen …"
        )

    url = "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&Token=2336412f"
    await sns.feed.verify(asked(url), {}, NOW)
    assert sns.feed.confirmation(asked(url)) == url
    assert sns.feed.parse(asked(url), {}) == []
    assert sns.feed.confirmation(asked("https://evil.example/?Action=ConfirmSubscription")) is None
    assert sns.feed.confirmation(sns.signed()) is None


def test_a_delivery_names_our_message(sns: SNS) -> None:
    (made,) = sns.events(event("Delivery", delivery={"timestamp": "2026-11-25T11:59:00.000Z"}))
    assert made.kind is EventKind.delivered
    assert made.message_id == MESSAGE_ID
    assert made.recipient == "zoe@example.com"
    assert made.event_id == "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324"
    assert made.at == datetime(2026, 11, 25, 11, 59, tzinfo=UTC)


def test_the_message_id_of_the_mail_serves_where_no_tag_comes_back(sns: SNS) -> None:
    report = event("Delivery", delivery={})
    report["mail"] = {
        "destination": ["zoe@example.com"],
        "headers": [
            {"name": "Subject", "value": "msg_of_the_subject@example.com"},
            {"name": "Message-Id", "value": f"<{MESSAGE_ID}@news.example.com>"},
        ],
    }
    (made,) = sns.events(report)
    assert made.message_id == MESSAGE_ID


@pytest.mark.parametrize(
    ("kind", "subtype", "status", "diagnosis", "is_hard"),
    [
        ("Permanent", "General", "5.1.1", "smtp; 550 5.1.1 user unknown", True),
        ("Permanent", "NoEmail", None, None, True),
        ("Permanent", "Suppressed", "5.1.1", "Amazon SES has suppressed sending to this address", True),
        ("Permanent", "General", "5.7.1", "smtp; 550 5.7.1 blocked", False),
        ("Permanent", "General", "5.0.0", "smtp; 550 no thanks", True),
        ("Transient", "MailboxFull", "5.2.2", "smtp; 552 5.2.2 over quota", False),
        ("Transient", "General", None, None, False),
        ("Transient", "General", "5.1.1", "smtp; 550 5.1.1 no such user", True),
        ("Undetermined", "Undetermined", "4.4.7", "smtp; 450 4.4.7 expired", False),
    ],
)
def test_a_bounce_is_hard_by_its_status_rather_than_by_its_label(
    sns: SNS, kind: str, subtype: str, status: str | None, diagnosis: str | None, is_hard: bool
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
    (made,) = sns.events(event("Bounce", bounce=bounce))
    assert (made.kind, made.is_hard) == (EventKind.bounced, is_hard)
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
    sns: SNS, report: dict[str, object], kind: EventKind, reason: str | None
) -> None:
    (made,) = sns.events(report)
    assert (made.kind, made.reason, made.is_hard) == (kind, reason, False)
    assert made.message_id == MESSAGE_ID


def test_opens_and_clicks_tell_by_what_they_were_made(sns: SNS) -> None:
    visit = {"timestamp": "2026-11-25T11:59:20Z", "ipAddress": "192.0.2.7", "userAgent": "Mozilla/5.0"}
    (opened,) = sns.events(event("Open", open=visit))
    (clicked,) = sns.events(event("Click", click={**visit, "link": "https://example.com/a?b=c"}))
    assert (opened.kind, opened.ip, opened.user_agent) == (EventKind.opened, "192.0.2.7", "Mozilla/5.0")
    assert (clicked.kind, clicked.url) == (EventKind.clicked, "https://example.com/a?b=c")


@pytest.mark.parametrize(
    "report",
    [
        event("Send", send={}),
        event("SomethingNew", somethingNew={}),
        event("Complaint", complaint={"complaintFeedbackType": "not-spam"}),
        event("Subscription", subscription={"newTopicPreferences": {"unsubscribeAll": False}}),
    ],
)
def test_what_means_nothing_to_us_is_left_out(sns: SNS, report: dict[str, object]) -> None:
    assert sns.events(report) == []


def test_the_words_by_which_ses_greets_a_topic_are_no_events(sns: SNS) -> None:
    raw = sns.signed(Message="Successfully validated SNS topic for Amazon SES event publishing.")
    assert sns.feed.parse(raw, {}) == []
    with pytest.raises(Malformed):
        sns.feed.parse(b"not json", {})
