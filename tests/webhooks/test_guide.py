"""The samples of docs/webhooks.md verify real calls."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from newsletter.events.vocabulary import EventType
from newsletter.runtime import Runtime
from newsletter.settings import WebhookSettings
from newsletter.webhooks import samples
from tests.jobs import run_due
from tests.receiver import Received, Receiver
from tests.webhooks.conftest import Happen, Register
from tests.webhooks.test_signed_calls import node_accepts, php_accepts

GUIDE = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text(encoding="utf-8")


def sample(language: str) -> str:
    [found] = re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)
    return cast(str, found)


@pytest.fixture
async def call(
    runtime: Runtime, register: Register, happen: Happen, receiver: Receiver
) -> tuple[Received, str]:
    endpoint = await register()
    await happen()
    await run_due(runtime)
    return receiver.calls[0], endpoint["secret"]


async def test_the_python_sample_tells_genuine_from_forged(call: tuple[Received, str]) -> None:
    received, secret = call
    names: dict[str, Any] = {}
    exec(sample("python"), names)
    is_genuine: Callable[..., bool] = names["is_genuine"]
    assert is_genuine(received.headers, received.body, secret)
    assert not is_genuine(received.headers, received.body + b" ", secret)
    assert not is_genuine({**received.headers, "webhook-timestamp": "1700000000"}, received.body, secret)
    assert not is_genuine({**received.headers, "webhook-signature": "v1,AAAA"}, received.body, secret)


async def test_the_node_sample_tells_genuine_from_forged(call: tuple[Received, str]) -> None:
    received, secret = call
    # The harness brings its own crypto.
    check = sample("javascript").replace('const crypto = require("node:crypto");', "")
    check += "const verdict = isGenuine(headers, body, secret);"
    assert node_accepts(check, received, secret)
    forged = Received(received.method, received.path, received.headers, received.body + b" ")
    assert not node_accepts(check, forged, secret)


async def test_the_php_sample_tells_genuine_from_forged(call: tuple[Received, str]) -> None:
    received, secret = call
    check = sample("php").replace("<?php", "") + "$verdict = is_genuine($headers, $body, $secret);"
    assert php_accepts(check, received, secret)
    forged = Received(received.method, received.path, received.headers, received.body + b" ")
    assert not php_accepts(check, forged, secret)
    old = {**received.headers, "webhook-timestamp": "1700000000"}
    assert not php_accepts(check, Received(received.method, received.path, old, received.body), secret)


def test_the_guide_names_every_event_its_fields_and_the_schedule_that_is_in_force() -> None:
    for kind in EventType:
        assert f"`{kind.value}`" in GUIDE
        for name, fields in cast(Any, samples.data(kind)).items():
            [row] = re.findall(rf"^\| `{name}` \|(.*)\|$", GUIDE, re.MULTILINE)
            assert re.findall(r"`(\w+)`", row) == list(fields)
    [row] = re.findall(r"^\| Wait \|(.*)\|$", GUIDE, re.MULTILINE)
    units = {"s": 1, "min": 60, "h": 3600}
    waits = [
        int(number) * units[unit]
        for number, unit in (cell.split() for cell in row.split("|") if cell.strip() != "none")
    ]
    assert tuple(waits) == WebhookSettings().retry_seconds
