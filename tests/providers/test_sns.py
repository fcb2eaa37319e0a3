"""Reports of Amazon SNS: which are believed, and what is fetched on their word."""

import json
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from newsletter.providers.events import BadSignature
from newsletter.providers.ses import SESConfig, SESFeed
from newsletter.providers.sns import Certificates
from tests.providers.sns import CERTIFICATE_URL, NOW, SNS, TOPIC


@pytest.fixture
def sns() -> SNS:
    return SNS()


@pytest.fixture
def feed(sns: SNS) -> SESFeed:
    config = SESConfig.model_validate({**SESConfig.example, "topic_arns": [TOPIC]})
    return SESFeed(config, Certificates(sns.fetch))


@pytest.mark.parametrize("version", ["1", "2"])
async def test_a_notification_that_amazon_signed_is_taken_and_its_certificate_fetched_once(
    sns: SNS, feed: SESFeed, version: str
) -> None:
    for subject in ({}, {"Subject": "Amazon SES Email Event Notification"}, {"Subject": ""}):
        await feed.verify(sns.signed(version=version, **subject), {}, NOW)
    assert sns.fetched == [CERTIFICATE_URL]


@pytest.mark.parametrize("name", ["Message", "MessageId", "Timestamp", "TopicArn", "Type", "Signature"])
async def test_an_altered_notification_is_refused(sns: SNS, feed: SESFeed, name: str) -> None:
    body = json.loads(sns.signed())
    body[name] = body[name][:-3] + ("AAA" if name == "Signature" else "xyz")
    with pytest.raises(BadSignature):
        await feed.verify(json.dumps(body).encode(), {}, NOW)


@pytest.mark.parametrize("name", ["Signature", "SignatureVersion", "SigningCertURL", "Message", "Timestamp"])
@pytest.mark.parametrize("value", [None, "", 1, [], "9"])
async def test_a_notification_without_what_a_signature_needs_is_refused(
    sns: SNS, feed: SESFeed, name: str, value: object
) -> None:
    body = {**json.loads(sns.signed()), name: value}
    with pytest.raises(BadSignature):
        await feed.verify(json.dumps(body).encode(), {}, NOW)


async def test_a_forged_notification_is_refused(sns: SNS, feed: SESFeed) -> None:
    theirs = SNS(rsa.generate_private_key(65537, 2048))
    with pytest.raises(BadSignature):
        await feed.verify(theirs.signed(), {}, NOW)
    for raw in (b"", b"{}", b"[]", b"null", b"not json", b"[" * 100_000, b"\xff"):
        with pytest.raises(BadSignature):
            await feed.verify(raw, {}, NOW)


async def test_a_well_signed_notification_of_a_foreign_topic_is_refused(sns: SNS, feed: SESFeed) -> None:
    foreign = sns.signed(TopicArn="arn:aws:sns:eu-west-1:999999999999:newsletter")
    with pytest.raises(BadSignature):
        await feed.verify(foreign, {}, NOW)
    assert sns.fetched == []


async def test_a_notification_of_last_week_is_refused(sns: SNS, feed: SESFeed) -> None:
    with pytest.raises(BadSignature):
        await feed.verify(sns.signed(Timestamp="2026-11-18T11:59:30.123Z"), {}, NOW)


async def test_a_certificate_that_has_expired_is_refused(sns: SNS, feed: SESFeed) -> None:
    later = NOW + timedelta(days=60)
    with pytest.raises(BadSignature):
        await feed.verify(sns.signed(Timestamp=later.isoformat()), {}, later)


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
async def test_a_certificate_is_fetched_from_amazon_alone(sns: SNS, feed: SESFeed, url: str) -> None:
    body = {**json.loads(sns.signed()), "SigningCertURL": url}
    with pytest.raises(BadSignature):
        await feed.verify(json.dumps(body).encode(), {}, NOW)
    assert sns.fetched == []


async def test_a_server_without_topics_takes_no_reports(sns: SNS) -> None:
    config = SESConfig.model_validate({**SESConfig.example, "topic_arns": []})
    with pytest.raises(BadSignature):
        await SESFeed(config, Certificates(sns.fetch)).verify(sns.signed(), {}, NOW)
    assert sns.fetched == []


async def test_a_subscription_is_confirmed_where_amazon_says_and_nowhere_else(
    sns: SNS, feed: SESFeed
) -> None:
    def asked(url: str) -> bytes:
        return sns.signed(
            Type="SubscriptionConfirmation", SubscribeURL=url, Token="t" * 64, Message="You have chosen …"
        )

    url = "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&Token=2336412f"
    await feed.verify(asked(url), {}, NOW)
    assert feed.confirmation(asked(url)) == url
    assert feed.parse(asked(url), {}) == []
    assert feed.confirmation(asked("https://evil.example/?Action=ConfirmSubscription")) is None
    assert feed.confirmation(sns.signed()) is None
