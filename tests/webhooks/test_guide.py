"""The samples of docs/webhooks.md verify real calls."""

import base64
import json
import os
import re
import shutil
import subprocess
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


GO_MAIN = """
package main

import (
	"encoding/json"
	"os"
	"strconv"
)

func main() {
	var call struct {
		Headers map[string]string
		Body    []byte
		Secret  string
	}
	if err := json.NewDecoder(os.Stdin).Decode(&call); err != nil {
		panic(err)
	}
	header := func(name string) string { return call.Headers[name] }
	os.Stdout.WriteString(strconv.FormatBool(IsGenuine(header, call.Body, call.Secret)))
}
"""
RUBY_MAIN = """
require "json"
call = JSON.parse(STDIN.read)
print genuine?(call["headers"], Base64.decode64(call["body"]), call["secret"])
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_the_go_sample_tells_genuine_from_forged(call: tuple[Received, str], tmp_path: Path) -> None:
    go = tool("go")
    (tmp_path / "hooks.go").write_text(sample("go").replace("package hooks", "package main"))
    (tmp_path / "main.go").write_text(GO_MAIN)
    (tmp_path / "go.mod").write_text("module example.com/hooks\n\ngo 1.19\n")
    # Nothing is fetched: the sample needs the standard library alone.
    environment = {**os.environ, "GOFLAGS": "-mod=mod", "GOPROXY": "off"}
    program = tmp_path / "check"
    subprocess.run([go, "build", "-o", str(program), "."], cwd=tmp_path, env=environment, check=True)
    tells_genuine_from_forged([str(program)], *call)


async def test_the_ruby_sample_tells_genuine_from_forged(call: tuple[Received, str], tmp_path: Path) -> None:
    script = tmp_path / "check.rb"
    script.write_text(sample("ruby") + RUBY_MAIN)
    tells_genuine_from_forged([tool("ruby"), str(script)], *call)


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed: its sample in docs/webhooks.md was NOT run")
    return found


def tells_genuine_from_forged(command: list[str], received: Received, secret: str) -> None:
    old = {**received.headers, "webhook-timestamp": "1700000000"}
    for headers, body, expected in (
        (received.headers, received.body, "true"),
        (received.headers, received.body + b" ", "false"),
        (old, received.body, "false"),
        ({**received.headers, "webhook-signature": "v1,AAAA"}, received.body, "false"),
        (
            {**received.headers, "webhook-signature": "v1,AAAA " + received.headers["webhook-signature"]},
            received.body,
            "true",
        ),
    ):
        given = {"headers": dict(headers), "body": base64.b64encode(body).decode(), "secret": secret}
        ran = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, check=True)
        assert ran.stdout == expected


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
