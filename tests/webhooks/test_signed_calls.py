"""Every event arrives signed, and what receivers run to verify it accepts our calls."""

import base64
import hashlib
import hmac
import json
import shutil
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from newsletter.accounts.project import Project
from newsletter.events.vocabulary import EventType
from newsletter.kit import ids
from newsletter.runtime import Runtime
from newsletter.webhooks.models import SignatureStyle
from tests.client import Client
from tests.jobs import run_due
from tests.receiver import Received, Receiver
from tests.services import missing
from tests.webhooks.conftest import CAMPAIGN, SUBSCRIBER, Happen, Register

MAILY_CATALOGUE = (
    "campaign.sent",
    "campaign.failed",
    "subscriber.created",
    "subscriber.unsubscribed",
    "subscriber.bounced",
    "subscriber.complained",
)

MAILY_NODE = """
  const expected = crypto.createHmac('sha256', secret).update(body).digest('hex');
  const verdict = expected === headers['x-webhook-signature'];
"""
YOUR_APP_NODE = """
  const text = JSON.stringify(JSON.parse(body.toString()));
  const wanted = crypto.createHmac('sha256', secret).update(text).digest('hex');
  const given = headers['x-webhook-signature'];
  const verdict = crypto.timingSafeEqual(Buffer.from(given), Buffer.from(wanted));
"""


MAILY_PHP = """
  $expected = hash_hmac('sha256', $body, $secret);
  $verdict = hash_equals($expected, $headers['x-webhook-signature']);
"""


def php_accepts(check: str, call: Received, secret: str) -> bool:
    php = shutil.which("php")
    if php is None:
        missing("PHP", "php-cli")
    script = f"""
  $call = json_decode(stream_get_contents(STDIN), true);
  [$headers, $body, $secret] = [$call['headers'], base64_decode($call['body']), $call['secret']];
  {check}
  echo $verdict ? 'true' : 'false';
"""
    return _verdict([php, "-r", script], call, secret)


def node_accepts(check: str, call: Received, secret: str) -> bool:
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node is not on this machine")
    script = f"""
  const crypto = require('node:crypto');
  const {{ headers, body: encoded, secret }} = JSON.parse(require('node:fs').readFileSync(0));
  const body = Buffer.from(encoded, 'base64');
  {check}
  process.stdout.write(String(verdict));
"""
    return _verdict([node, "-e", script], call, secret)


def _verdict(command: list[str], call: Received, secret: str) -> bool:
    given = {
        "headers": dict(call.headers),
        "body": base64.b64encode(call.body).decode(),
        "secret": secret,
    }
    ran = subprocess.run(
        command, input=json.dumps(given).encode(), capture_output=True, timeout=60, check=True
    )
    return ran.stdout == b"true"


async def call_of(
    style: str, kind: EventType, runtime: Runtime, register: Register, happen: Happen, receiver: Receiver
) -> tuple[Received, str]:
    endpoint = await register(signature_style=style)
    await happen(kind)
    await run_due(runtime)
    [call] = receiver.calls
    return call, endpoint["secret"]


def accepts(style: str, call: Received, secret: str) -> bool:
    """What a receiver does that follows the documentation of the style."""
    if style == "standard":
        try:
            Webhook(secret).verify(call.body, dict(call.headers))
        except WebhookVerificationError:
            return False
        return True
    given, signed = call.headers["x-webhook-signature"], call.body
    if style == "timestamped":
        stamp, given = (part.partition("=")[2] for part in given.split(","))
        signed = stamp.encode() + b"." + call.body
        assert abs(int(stamp) - time.time()) < 60
    return hmac.compare_digest(hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest(), given)


def test_the_catalogue_of_the_reference_is_whole() -> None:
    assert set(MAILY_CATALOGUE) <= {kind.value for kind in EventType}


@pytest.mark.parametrize("style", [style.value for style in SignatureStyle])
@pytest.mark.parametrize("name", MAILY_CATALOGUE)
async def test_each_event_of_the_catalogue_arrives_signed(
    name: str,
    style: str,
    runtime: Runtime,
    project: Project,
    register: Register,
    happen: Happen,
    receiver: Receiver,
) -> None:
    call, secret = await call_of(style, EventType(name), runtime, register, happen, receiver)
    assert (call.method, call.path) == ("POST", "/hook")
    assert call.headers["content-type"].startswith("application/json")
    assert call.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert call.headers["x-newsletter-event"] == name
    assert call.headers["x-newsletter-delivery-id"].startswith("whd_")
    assert call.headers["webhook-id"].startswith("evt_")
    assert abs(int(call.headers["webhook-timestamp"]) - time.time()) < 60
    assert accepts(style, call, secret)
    body = json.loads(call.body)
    data = CAMPAIGN if name.startswith("campaign.") else SUBSCRIBER
    assert body | {"created_at": ""} == {
        "id": call.headers["webhook-id"],
        "type": name,
        "event": name,
        "created_at": "",
        "project_id": ids.public("prj", project.id),
        "data": data,
    }
    assert body["created_at"].endswith("Z")
    assert json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode() == call.body


@pytest.mark.parametrize("style", [style.value for style in SignatureStyle])
async def test_a_changed_body_or_another_secret_is_not_accepted(
    style: str, client: Client, runtime: Runtime, register: Register, happen: Happen, receiver: Receiver
) -> None:
    call, secret = await call_of(style, EventType.campaign_sent, runtime, register, happen, receiver)
    forged = Received(call.method, call.path, call.headers, call.body.replace(b"2099", b"2098"))
    other: Any = await client.data("POST", "/webhooks", 201, json={"url": receiver.url})
    assert accepts(style, call, secret)
    assert not accepts(style, forged, secret)
    assert not accepts(style, call, other["secret"])


@pytest.mark.parametrize(
    ("accepted", "sample"),
    [(node_accepts, MAILY_NODE), (node_accepts, YOUR_APP_NODE), (php_accepts, MAILY_PHP)],
    ids=["maily-node", "your-app-node", "maily-php"],
)
@pytest.mark.parametrize("kind", [EventType.campaign_sent, EventType.subscriber_created])
async def test_the_published_samples_accept_our_calls(
    accepted: Callable[[str, Received, str], bool],
    sample: str,
    kind: EventType,
    runtime: Runtime,
    register: Register,
    happen: Happen,
    receiver: Receiver,
) -> None:
    call, secret = await call_of("hex", kind, runtime, register, happen, receiver)
    assert accepted(sample, call, secret)
    forged = Received(call.method, call.path, call.headers, call.body.replace(b"evt_", b"evu_"))
    assert not accepted(sample, forged, secret)


@pytest.mark.parametrize("name", MAILY_CATALOGUE)
async def test_a_test_call_is_signed_like_a_real_one(
    name: str, client: Client, register: Register, receiver: Receiver
) -> None:
    endpoint = await register()
    await client.data("POST", f"/webhooks/{endpoint['id']}/test", json={"event_type": name})
    [call] = receiver.calls
    assert accepts("standard", call, endpoint["secret"])
    body = json.loads(call.body)
    assert (body["type"], set(body["data"])) == (name, {name.partition(".")[0]})


async def test_what_happens_to_a_subscriber_reaches_the_endpoint_and_a_batch_does_not(
    client: Client, runtime: Runtime, register: Register, receiver: Receiver
) -> None:
    endpoint = await register()
    list_id = (await client.data("POST", "/lists", 201, json={"name": "News"}))["id"]
    one = {"list_id": list_id, "email": "zoe@example.com"}
    made = await client.data("POST", "/subscribers", 201, json=one)
    batch = {"list_id": list_id, "subscribers": [{"email": "ada@example.com"}]}
    await client.data("POST", "/subscribers/batch", 200, json=batch)
    assert (await client.delete("/subscribers/zoe@example.com")).status_code == 204
    await run_due(runtime)
    bodies = [json.loads(call.body) for call in receiver.calls]
    seen = [(body["type"], body["data"]["subscriber"]["status"]) for body in bodies]
    assert seen == [("subscriber.created", "active"), ("subscriber.unsubscribed", "unsubscribed")]
    assert {body["data"]["subscriber"]["id"] for body in bodies} == {made["id"]}
    assert all(accepts("standard", call, endpoint["secret"]) for call in receiver.calls)
