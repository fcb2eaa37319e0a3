"""Our calls, verified the way receivers verify them: by the library and by published samples."""

import base64
import hashlib
import hmac
import json
import shutil
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from newsletter.webhooks import signing
from newsletter.webhooks.models import SignatureStyle

NEW, OLD = signing.new_secret(), signing.new_secret()
AT = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
DATA = {
    "subscriber": {"id": "sub_1", "email": "zoë@example.com", "custom_fields": {"city": "Ålesund </script>"}}
}

# The ideas of the receivers that are published: one hashes the raw body, one what its
# framework made of it; read from standard input.
NODE_RAW = """
const crypto = require('crypto'), call = JSON.parse(require('fs').readFileSync(0));
const body = Buffer.from(call.body, 'base64');
const expected = crypto.createHmac('sha256', call.secret).update(body).digest('hex');
process.stdout.write(String(expected === call.headers['X-Webhook-Signature']));
"""
NODE_PARSED = """
const crypto = require('crypto'), call = JSON.parse(require('fs').readFileSync(0));
const parsed = JSON.parse(Buffer.from(call.body, 'base64').toString());
const expected = crypto.createHmac('sha256', call.secret).update(JSON.stringify(parsed)).digest('hex');
const given = call.headers['X-Webhook-Signature'];
process.stdout.write(String(crypto.timingSafeEqual(Buffer.from(given), Buffer.from(expected))));
"""
NODE_TWICE = """
const bodies = JSON.parse(require('fs').readFileSync(0));
const out = bodies.map(b => Buffer.from(JSON.stringify(JSON.parse(Buffer.from(b, 'base64').toString()))));
process.stdout.write(JSON.stringify(out.map(b => b.toString('base64'))));
"""


def node(program: str, given: object) -> str:
    command = shutil.which("node")
    if command is None:
        pytest.skip("node is not installed, so the published Node receivers were not run")
    ran = subprocess.run(
        [command, "-e", program],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return ran.stdout


def payload(data: Any = DATA) -> bytes:
    told = signing.event(
        event_id="evt_1", event_type="subscriber.created", created_at=AT, project_id="prj_1", data=data
    )
    return signing.payload(told)


def sign(
    style: SignatureStyle, body: bytes, secrets: Sequence[str] = (NEW,), timestamp: int | None = None
) -> dict[str, str]:
    now = int(datetime.now(UTC).timestamp()) if timestamp is None else timestamp
    return signing.sign(style, secrets, "evt_1", "whd_1", "subscriber.created", now, body)


def test_the_body_is_compact_json_in_a_fixed_order() -> None:
    assert (
        payload({"a": "é"})
        == (
            '{"id":"evt_1","type":"subscriber.created","event":"subscriber.created",'
            '"created_at":"2026-11-21T09:30:00Z","project_id":"prj_1","data":{"a":"é"}}'
        ).encode()
    )


@pytest.mark.parametrize("style", list(SignatureStyle))
def test_every_style_carries_the_common_headers(style: SignatureStyle) -> None:
    headers = sign(style, b"{}", timestamp=1763717400)
    assert headers["webhook-id"] == "evt_1"
    assert headers["webhook-timestamp"] == "1763717400"
    assert headers["X-Newsletter-Event"] == "subscriber.created"
    assert headers["X-Newsletter-Delivery-Id"] == "whd_1"
    assert headers["Content-Type"] == "application/json"
    assert ("webhook-signature" in headers) == (style is SignatureStyle.standard)
    assert ("X-Webhook-Signature" in headers) == (style is not SignatureStyle.standard)


def test_the_standard_library_of_receivers_verifies_us_with_either_live_secret() -> None:
    body = payload()
    headers = sign(SignatureStyle.standard, body, [NEW, OLD])
    for secret in (NEW, OLD):
        assert Webhook(secret).verify(body, headers)["data"] == DATA
    with pytest.raises(WebhookVerificationError):
        Webhook(NEW).verify(body.replace(b"sub_1", b"sub_2"), headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(signing.new_secret()).verify(body, headers)


def test_the_example_of_the_specification() -> None:
    # Computed by hand from the specification: HMAC of "id.timestamp.body" with the decoded key.
    key = bytes(range(24))
    expected = base64.b64encode(hmac.digest(key, b"evt_1.1763717400.{}", "sha256")).decode()
    secret = "whsec_" + base64.b64encode(key).decode()
    headers = sign(SignatureStyle.standard, b"{}", [secret], 1763717400)
    assert headers["webhook-signature"] == f"v1,{expected}"


def test_a_receiver_that_hashes_the_raw_body() -> None:
    body = payload()
    headers = sign(SignatureStyle.hex, body)
    assert hmac.compare_digest(
        hmac.new(NEW.encode(), body, hashlib.sha256).hexdigest(), headers["X-Webhook-Signature"]
    )


def test_receivers_in_node_verify_the_raw_and_the_parsed_body() -> None:
    body = payload(
        {"text": 'line\u2028 \u007f \u0001 \b\f\n\r\t "\\/ 🎉 é </script>', "n": [1, -2, True, None]}
    )
    call = {
        "body": base64.b64encode(body).decode(),
        "secret": NEW,
        "headers": sign(SignatureStyle.hex, body),
    }
    assert node(NODE_RAW, call) == "true"
    assert node(NODE_PARSED, call) == "true"
    assert node(NODE_RAW, {**call, "secret": OLD}) == "false"


def test_while_a_secret_rotates_hex_receivers_find_both_signatures() -> None:
    headers = sign(SignatureStyle.hex, b"{}", [NEW, OLD])
    assert headers["X-Webhook-Signature"] == hmac.new(NEW.encode(), b"{}", "sha256").hexdigest()
    assert headers["X-Webhook-Signature-Previous"] == hmac.new(OLD.encode(), b"{}", "sha256").hexdigest()


def test_a_receiver_of_timestamped_signatures_finds_one_for_each_secret() -> None:
    body = payload()
    header = sign(SignatureStyle.timestamped, body, [NEW, OLD], 1763717400)["X-Webhook-Signature"]
    stamp, *signatures = header.split(",")
    assert stamp == "t=1763717400"
    assert signatures == [
        "v1=" + hmac.new(secret.encode(), b"1763717400." + body, "sha256").hexdigest()
        for secret in (NEW, OLD)
    ]


def test_secrets_are_32_random_bytes() -> None:
    assert len({signing.new_secret() for _ in range(100)}) == 100
    assert len(base64.b64decode(NEW.removeprefix("whsec_"), validate=True)) == 32


def test_a_call_without_a_secret_is_not_made() -> None:
    with pytest.raises(ValueError, match="secret"):
        sign(SignatureStyle.hex, b"{}", [])


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (1.0, 1),
        (1.5, "1.5"),
        (1e300, "1" + "0" * 300),
        (1e-7, "0.0000001"),
        (-0.0, 0),
        (2**53 - 1, 2**53 - 1),
        (2**53, "9007199254740992"),
        (-(2**60), "-1152921504606846976"),
        (True, True),
        ("\ud800", "\ufffd"),
    ],
)
def test_numbers_that_languages_write_differently_become_strings(value: Any, written: Any) -> None:
    assert json.loads(payload({"field": value}))["data"]["field"] == written
    assert type(json.loads(payload({"field": value}))["data"]["field"]) is type(written)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_json_cannot_say_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="infinity"):
        payload({"field": value})


SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
KEYS = (
    st.text(max_size=5)
    | st.integers(0, 2**33).map(str)
    | st.sampled_from(
        ["__proto__", "00", "01", "-1", "4294967294", "4294967295", "1e3", "constructor", "toString", "é"]
    )
)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5)
)


def test_javascript_gives_every_body_back_as_it_is() -> None:
    bodies: list[str] = []

    @settings(max_examples=150, database=None)
    @given(st.dictionaries(KEYS, JSON, max_size=6))
    def collect(data: dict[str, Any]) -> None:
        bodies.append(base64.b64encode(payload(data)).decode())

    collect()
    assert json.loads(node(NODE_TWICE, bodies)) == bodies
