"""The reading of reports: whatever comes, it is either understood or said not to be."""

import json
import string
from collections.abc import Mapping
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from standardwebhooks import Webhook

from newsletter.providers.events import (
    BadSignature,
    EventKind,
    Feed,
    Malformed,
    ProviderEvent,
    Report,
    check_age,
    our_message,
    status_in,
)
from newsletter.providers.registry import CONFIGS, ServerType, feed
from newsletter.providers.sns import Certificates
from tests.providers.mails import MESSAGE_ID

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="


async def nothing(url: str) -> bytes:
    pytest.fail(f"{url} was fetched")


def feed_of(kind: ServerType) -> Feed:
    made = feed(CONFIGS[kind].model_validate(CONFIGS[kind].example), Certificates(nothing))
    assert made is not None
    return made


HEADERS = {"svix-id": "msg_1", "webhook-id": "call-1"}
REPORTING = [kind for kind in ServerType if kind is not ServerType.sandbox]
# Names and words that the parsers look for, so that generated reports get past the first look.
NAMES = st.sampled_from(
    [
        *("Type", "Message", "MessageId", "Timestamp", "eventType", "mail", "tags", "message_id", "bounce"),
        *("bouncedRecipients", "bounceType", "complaint", "open", "click", "headers", "name", "value"),
        *("event-data", "event", "id", "timestamp", "severity", "reason", "delivery-status", "signature"),
        *("user-variables", "client-info", "sg_event_id", "email", "type", "created_at", "data", "to"),
        *("RecordType", "BouncedAt", "Metadata", "Geo", "ReceivedAt", "events", "at", "recipient", "status"),
    ]
)
WORDS = st.sampled_from(
    [
        *("Notification", "Bounce", "Complaint", "Open", "Click", "Permanent", "failed", "delivered"),
        *("bounced", "email.bounced", "email.clicked", "bounce", "Delivery", MESSAGE_ID, "5.1.1"),
        *("2026-11-25T12:00:00Z", "\x00", "\ud800", "x" * 3_000, "SpamComplaint"),
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=6),
    max_leaves=25,
)


@pytest.mark.parametrize("kind", REPORTING)
@settings(max_examples=300)
@given(value=JSON)
def test_any_report_makes_sound_events_or_is_said_to_be_malformed(kind: ServerType, value: object) -> None:
    # SES has its report as a text inside another one.
    notification = {"Type": "Notification", "MessageId": "1", "Message": json.dumps(value)}
    _check(feed_of(kind), json.dumps(notification if kind is ServerType.ses else value).encode())


@pytest.mark.parametrize("kind", REPORTING)
@settings(max_examples=200)
@given(raw=st.binary(max_size=200) | st.text(string.printable, max_size=100).map(str.encode))
def test_any_bytes_make_no_events(kind: ServerType, raw: bytes) -> None:
    _check(feed_of(kind), raw)


def _check(reports: Feed, raw: bytes) -> None:
    try:
        confirmation = reports.confirmation(raw)
        assert 1 <= len(reports.key(raw, HEADERS)) <= 200
        events = reports.parse(raw, HEADERS)
    except Malformed:
        return
    assert confirmation is None or confirmation.startswith("https://sns.")
    for event in events:
        assert isinstance(event, ProviderEvent)
        assert event.at.tzinfo is not None
        assert 1 <= len(event.event_id) <= 520
        for text in (event.message_id, event.recipient, event.reason, event.url, event.user_agent, event.ip):
            assert text is None or (0 < len(text) <= 2_000 and "\x00" not in text and text.encode())


@pytest.mark.parametrize("kind", REPORTING)
@settings(max_examples=100)
@given(
    value=JSON, headers=st.dictionaries(st.sampled_from(["authorization", "svix-id"]), st.text(max_size=20))
)
async def test_nothing_passes_unsigned(kind: ServerType, value: object, headers: Mapping[str, str]) -> None:
    with pytest.raises(BadSignature):
        await feed_of(kind).verify(json.dumps(value).encode(), headers, NOW)


@pytest.mark.parametrize(
    ("texts", "status"),
    [
        (("smtp; 550 5.1.1 user unknown",), "5.1.1"),
        (("550-5.7.26 blocked", "5.1.1"), "5.7.26"),
        ((None, "", "5.1.10"), "5.1.10"),
        (("connected to 5.1.1.2 and 10.5.1.1",), None),
        (("version 15.1.1",), None),
        (("6.1.1 and 5.1", "3.1.1"), None),
    ],
)
def test_a_status_is_found_in_what_a_server_said(texts: tuple[str | None, ...], status: str | None) -> None:
    assert status_in(*texts) == status


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        ((MESSAGE_ID,), MESSAGE_ID),
        ((None, f"<{MESSAGE_ID}@news.example.com>"), MESSAGE_ID),
        ((f"{MESSAGE_ID}@news.example.com",), MESSAGE_ID),
        (("<other@example.com>", "someone-elses-id"), None),
        (("x msg_0@example.com",), None),
        ((), None),
    ],
)
def test_our_id_is_told_from_those_of_others(texts: tuple[str | None, ...], found: str | None) -> None:
    assert our_message(*texts) == found


def test_a_moment_is_read_in_each_form_that_is_in_use() -> None:
    at = datetime(2026, 11, 25, 11, 59, tzinfo=UTC)
    for value in (
        "2026-11-25T11:59:00Z",
        "2026-11-25T06:59:00.0000000-05:00",
        "2026-11-25T11:59:00",
        1795607940,
    ):
        assert Report(value).moment() == at
    for wrong in (Report("soon"), Report(""), Report(1e300), Report(float("nan")), Report(True), Report([])):
        assert wrong.moment() is None


@pytest.mark.parametrize("stamp", ["", "soon", "1e9", "9" * 400, "-1", "1795608601", "1795607399"])
def test_a_time_that_is_too_far_from_now_is_refused(stamp: str) -> None:
    check_age("1795608000", NOW)
    with pytest.raises(BadSignature):
        check_age(stamp, NOW)


# One's own mail server

OWN = feed_of(ServerType.smtp)


def own(**changes: object) -> bytes:
    event = {"id": "42", "type": "bounced", "at": "2026-11-25T11:59:00Z", "message_id": MESSAGE_ID} | changes
    return json.dumps({"events": [event]}).encode()


def own_headers(raw: bytes) -> dict[str, str]:
    return {
        "webhook-id": "call-1",
        "webhook-timestamp": str(int(NOW.timestamp())),
        "webhook-signature": Webhook(SECRET).sign("call-1", NOW, raw.decode()),
    }


async def test_ones_own_mail_server_reports_by_the_standard_webhooks_scheme() -> None:
    raw = own(status="5.1.1", permanent=True, reason="550 5.1.1 no such user", recipient="zoe@example.com")
    await OWN.verify(raw, own_headers(raw), NOW)
    (made,) = OWN.parse(raw, {})
    assert made == ProviderEvent(
        kind=EventKind.bounced,
        event_id="42",
        at=datetime(2026, 11, 25, 11, 59, tzinfo=UTC),
        message_id=MESSAGE_ID,
        recipient="zoe@example.com",
        is_permanent=True,
        status="5.1.1",
        reason="550 5.1.1 no such user",
    )
    with pytest.raises(BadSignature):
        await OWN.verify(raw + b" ", own_headers(raw), NOW)


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"type": "exploded"}, "events.0.type"),
        ({"at": "2026-11-25T11:59:00"}, "events.0.at"),
        ({"id": ""}, "events.0.id"),
        ({"message_id": None}, "events.0.message_id"),
        ({"status": "550"}, "events.0.status"),
        ({"colour": "red"}, "events.0.colour"),
    ],
)
def test_a_report_of_ones_own_server_is_told_what_is_wrong_with_it(
    changes: dict[str, object], place: str
) -> None:
    with pytest.raises(Malformed) as caught:
        OWN.parse(own(**changes), {})
    assert place in str(caught.value)


def test_the_sandbox_makes_its_own_reports() -> None:
    config = CONFIGS[ServerType.sandbox].model_validate({})
    assert feed(config, Certificates(nothing)) is None
