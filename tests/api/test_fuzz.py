"""Calls that schemathesis writes from the OpenAPI document, good and bad ones, by two tenants.

No answer is a 5xx or has a status that the document does not name, and nothing of one tenant
is in an answer to the other. ``make fuzz`` tries fifty calls of each kind and
operation (``NEWSLETTER_FUZZ``); the suite tries two.
"""

import asyncio
import os
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, GenerationMode

from newsletter.runtime import Runtime
from tests.client import Client
from tests.conftest import MakeClient, MakeProject

CALLS = int(os.environ.get("NEWSLETTER_FUZZ", "2"))
"""Of each operation and kind."""
MARK = "zq7marker"
"""In the name of all that the first tenant has, and of nothing else."""
OUTSIDE = {"test_sending_server", "test_webhook"}
"""They call what the body or the resource names, which is not the suite's to call."""
WRITES = ("delete", "post", "put", "patch")


@pytest.fixture
async def mine(client: Client) -> dict[str, str]:
    """One resource of each kind of the first tenant, by the parameter or the part of the path that
    names it."""
    made = await client.data("POST", "/lists", 201, json={"name": f"{MARK} list"})
    person = {"list_id": made["id"], "email": f"{MARK}@example.com", "first_name": MARK}
    subscriber = await client.data("POST", "/subscribers", 201, json=person)
    copy = {"list_id": made["id"], "subject": MARK, "html": f"<p>{MARK}</p>"}
    campaign = await client.data("POST", "/campaigns", 201, json=copy)
    named = {"list_id": made["id"], "name": MARK, "conditions": {"tag": MARK}}
    segment = await client.data("POST", "/segments", 201, json=named)
    held = {"email": f"{MARK}2@example.com", "source": MARK}
    suppression = await client.data("POST", "/suppressions", 201, json=held)
    left = await client.data("POST", "/unsubscribes", 201, json=held | {"email": f"{MARK}4@example.com"})
    hook = await client.data("POST", "/webhooks", 201, json={"url": f"https://{MARK}.example.com/"})
    server = await client.data("POST", "/sending-servers", 201, json={"name": MARK, "type": "sandbox"})
    rule = await client.data("POST", "/routing/rules", 201, json={"server_id": server["id"]})
    domain = await client.data("POST", "/sending-domains", 201, json={"domain": f"{MARK}.example.com"})
    mail = {"from": f"{MARK}@acme.example.com", "to": f"{MARK}3@example.com", "subject": MARK, "text": MARK}
    message = await client.data("POST", "/send", 202, json=mail)
    credential = await client.data("POST", "/smtp-credentials", 201, json={"name": MARK})
    return {
        "/lists/": made["id"],
        "/subscribers/": subscriber["id"],
        "/campaigns/": campaign["id"],
        "/segments/": segment["id"],
        "/suppressions/": suppression["id"],
        "/unsubscribes/": left["id"],
        "/webhooks/": hook["id"],
        "/sending-servers/": server["id"],
        "/routing/rules/": rule["id"],
        "/sending-domains/": domain["id"],
        "/messages/": message["id"],
        "/smtp-credentials/": credential["id"],
    }


def written(operation: Any, mode: GenerationMode) -> list[Case[Any]]:
    """Some calls of one operation, the same in each run."""
    found: list[Case[Any]] = []

    @settings(
        max_examples=CALLS,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def collect(case: Case[Any]) -> None:
        found.append(case)

    collect()
    return found


def calls(document: dict[str, Any]) -> Iterator[tuple[Any, Case[Any]]]:
    """Of all operations; what deletes comes last."""
    read: Any = schemathesis.openapi.from_dict(document)
    operations = [each.ok() for each in read.get_all_operations()]
    operations.sort(key=lambda each: ("get", *reversed(WRITES)).index(each.method.lower()))
    for operation in operations:
        body = operation.definition.raw.get("requestBody", {}).get("content", {"application/json": {}})
        if operation.definition.raw["operationId"] in OUTSIDE or "application/json" not in body:
            continue  # Bodies that are no JSON have hostile tests of their own.
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            for case in written(operation, mode):
                yield operation, case


def arguments(case: Case[Any], mine: dict[str, str]) -> dict[str, Any]:
    """How httpx makes the call; ids of the path are those of the first tenant, where it has one."""
    made = case.as_transport_kwargs(base_url="http://news.test")
    path = case.operation.path
    for part, own in mine.items():
        before, found, rest = path.partition(f"{part}{{")
        if found:
            path = f"{before}{part}{own}{rest.partition('}')[2]}"
    values = case.path_parameters or {}
    for name, value in values.items():
        path = path.replace(f"{{{name}}}", str(value))
    headers = {name: str(value) for name, value in (made.get("headers") or {}).items()}
    kept = {name: value for name, value in headers.items() if name.lower() in ("content-type", "if-match")}
    return {
        "method": case.method,
        "url": httpx.URL("http://news.test").copy_with(raw_path=_ascii(path)),
        "params": made.get("params"),
        "headers": kept,
        "content": made.get("data") if isinstance(made.get("data"), (bytes, str)) else None,
        "json": made.get("json"),
    }


def _ascii(path: str) -> bytes:
    return quote(path, safe="/%@:{}").encode()


@pytest.mark.slow
@pytest.mark.timeout(600 + 60 * CALLS)
async def test_the_document_keeps_its_word_to_two_tenants(
    client: Client,
    runtime: Runtime,
    make_client: MakeClient,
    make_project: MakeProject,
    mine: dict[str, str],
) -> None:
    document = (await client.get("http://news.test/api/openapi.json")).json()
    stranger = await make_client(await make_project(name="Other"))
    everything = await asyncio.to_thread(lambda: list(calls(document)))
    assert len(everything) > 200
    wrong, done = [], 0
    for operation, case in everything:
        known = set(operation.definition.raw["responses"])
        for caller in (stranger, client):
            try:
                answer = await caller.request(**arguments(case, mine))
            except (httpx.InvalidURL, UnicodeError, ValueError):
                continue  # Not a call that any client could make.
            done += answer.is_success
            said = f"{case.method} {operation.path}: {answer.status_code} {answer.text[:300]}"
            if str(answer.status_code) not in known or answer.status_code >= 500:
                wrong.append(said)
            elif caller is stranger and MARK in answer.text:
                wrong.append(f"somebody else's data: {said}")
    assert wrong == []
    # Most bad calls are refused; good ones reach what they are about.
    assert done > len(everything) // 5
