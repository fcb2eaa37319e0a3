"""Calls through the door: word for word what the layers answer, and counted and logged the same."""

import asyncio
import json
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

from newsletter.accounts.audit.calls import Call, Calls
from newsletter.accounts.project import Project
from newsletter.api.door import Door
from newsletter.api.metrics import Metrics
from newsletter.api.short import MOST_BYTES
from newsletter.asgi import Application
from newsletter.audience.intake import Intake
from newsletter.kit import clock, ratelimit
from newsletter.kit.ratelimit import MemoryLimiter
from newsletter.runtime import Runtime
from tests.api.both_ways import KEY, NAME, MakeWays, Server, Ways, call, recorded_as
from tests.client import Client
from tests.conftest import MakeClient, MakeProject, app_on
from tests.mailbox import subscribed_list
from tests.transactional.conftest import MAIL, send

EXAMPLES = 150
"""Calls that are made up for the comparison."""


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    noted: list[Call] = []
    monkeypatch.setattr(Calls, "note", lambda _, call: noted.append(call))
    return noted


@pytest.fixture
def through_door(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    taken: list[int | None] = []
    answer = Door.answer

    async def noted(self: Door, *call: Any) -> Any:
        said = await answer(self, *call)
        taken.append(said and said.status)
        return said

    monkeypatch.setattr(Door, "answer", noted)
    return taken


@pytest.fixture
def make_ways(
    runtime: Runtime,
    make_client: MakeClient,
    through_door: list[int | None],
    recorded: list[Call],
    monkeypatch: pytest.MonkeyPatch,
) -> MakeWays:
    """``await make_ways(project, scopes=("lists:read",))``, as `make_client` makes clients."""
    # Nothing may turn on when a call comes: not how long a time is, nor what left a window.
    monkeypatch.setattr(clock, "now", lambda: datetime.now(UTC).replace(microsecond=7))
    monkeypatch.setattr(ratelimit, "WINDOW_SECONDS", 36_000.0)
    monkeypatch.setattr("newsletter.protocol.BODY_FOLLOWS_SECONDS", 3_600.0)
    # That of Redis counts in memory for a while once an answer took long.
    monkeypatch.setitem(runtime.__dict__, "limiter", MemoryLimiter())

    async def make(project: Project, **limits: Any) -> Ways:
        secrets = [(await make_client(project, **limits)).secret for _ in range(2)]
        return Ways(secrets, [cast(Application, app_on(runtime)) for _ in range(2)], through_door, recorded)

    return make


@pytest.fixture
async def ways(make_ways: MakeWays, project: Project) -> Ways:
    return await make_ways(project)


@pytest.fixture
async def list_id(client: Client) -> str:
    return str((await client.data("POST", "/lists", 201, json={"name": "News"}))["id"])


def _person(list_id: str, **more: object) -> bytes:
    return json.dumps({"list_id": list_id, "email": "wayx@example.com"} | more).encode()


async def test_a_subscriber_is_new_and_then_known(ways: Ways, list_id: str) -> None:
    for status in (201, 200, 200):
        said = await ways.agree(call("POST", "/subscribers", _person(list_id)))
        assert said.startswith(b"HTTP/1.1 %d " % status)
    assert ways.through_door == [201, 200, 200]


async def test_a_mail_and_a_message_and_a_campaign(ways: Ways, client: Client) -> None:
    list_id = await subscribed_list(client)
    body = {"list_id": list_id, "subject": "Café", "html": "<p>x</p>"}
    campaign = await client.data("POST", "/campaigns", 201, json=body)
    sent = await send(client)
    for said in (
        call("POST", "/send", json.dumps(MAIL).encode()),
        call("GET", f"/messages/{sent['id']}"),
        call("GET", f"/campaigns/{campaign['id']}", key=b"X-API-Key: KEY"),
    ):
        await ways.agree(said)
    assert ways.through_door == [202, 200, 200]


HEADERS = [
    b"User-Agent: tests",
    b"Accept: */*",
    b"Accept-Encoding: gzip",
    b"X-Forwarded-For: wayx",
    b"X-Request-Id: order-12345",
    b"X-Request-Id: bad\xff",
    b"X-Project-Id: prj_1",
    b"Connection: close",
    b"Connection: keep-alive",
    b"Connection: upgrade\r\nUpgrade: h2c",
    b"Content-Encoding: gzip",
    b"Content-Encoding: identity",
    b"Expect: 100-continue",
    b"Idempotency-Key: wayx",
    b"Host: elsewhere",
    b"Host: a b",
    b"If-Match: 1",
    b"Cookie: a=b",
    b"X-API-Key: KEY",
    b"Origin: https://example.com",
]
KEYS = [
    b"",
    b"Authorization: Bearer KEYx",
    b"Authorization: Basic KEY",
    b"Authorization: bearer  KEY ",
    b"X-API-Key: KEY",
]
KINDS = [b"text/plain", b"application/json; charset=utf-8", b"application/hal+json", b"", b"Application/JSON"]
BODIES = [
    None,
    b"",
    b"[]",
    b"{",
    b"null",
    b'{"email": "\xff"}',
    b"[" * 5000,
    b'{"email": NaN}',
    b'{"email": "x", "list_id": "lst_1", "unheard_of": 1, "tags": [1, ""]}',
    b'{"email": "x@example.com", "list_id": "lst_01k9x3v7m8e5tbn2c4r6p0qzaw"}',
    b" " * (MOST_BYTES + 1),
]
FIELDS: dict[str, Sequence[object]] = {
    "email": ["wayx@EXAMPLE.com", "x", "", None, 3, "wayx@exa mple.com", "wayx@b\u00fccher.example"],
    "first_name": ["Zo\u00eb \U0001f98a", None, "a\u2067", 3, "x" * 201, "a\0b"],
    "tags": [["a", "b", "a"], [], None, [""], ["x"] * 200],
    "custom_fields": [{"size": 3, "height": 1.5, "old": True, "gone": None}, {"Bad name": 1}, {"a": [1]}, 3],
    "locale": ["de-CH", "nowhere", None],
    "timezone": ["Europe/Zurich", "Mars"],
    "consent": [{"source": "form", "at": "2020-01-01T00:00:00Z"}, {"source": ""}, {"ip": "x"}, None],
    "list_id": ["lst_1", None, 3],
    "status": ["active"],
    "unheard_of": [1],
}
PATHS = [
    "/subscribers/",
    "//subscribers",
    "/%73ubscribers",
    "/subscribers?x=1",
    "/subscribers#x",
    "/send",
    "/lists",
]


def _made_up(list_id: str) -> list[tuple[bytes, list[int]]]:
    """Calls that differ here and there from a good one, and where they are cut on their way."""
    person = {"list_id": list_id, "email": "wayx@example.com"}
    change = st.sampled_from([(name, value) for name, values in FIELDS.items() for value in values])
    bodies = st.lists(change, max_size=3).map(lambda made: json.dumps(person | dict(made)).encode())
    calls = st.builds(
        call,
        st.sampled_from(["POST"] * 6 + ["PUT", "HEAD", "OPTIONS", "PATCH"]),
        st.sampled_from(["/subscribers"] * 20 + PATHS),
        bodies | bodies | bodies | st.sampled_from(BODIES),
        key=st.sampled_from([b"Authorization: Bearer KEY"] * 12 + KEYS),
        kind=st.sampled_from([b"application/json"] * 12 + KINDS),
        headers=st.lists(st.sampled_from(HEADERS), max_size=2),
        version=st.sampled_from(["1.1"] * 8 + ["1.0"]),
    )
    found: list[tuple[bytes, list[int]]] = []

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(made=st.lists(calls, min_size=1, max_size=3), cuts=st.lists(st.integers(1, 600), max_size=3))
    def collect(made: list[bytes], cuts: list[int]) -> None:
        found.append((b"".join(made), cuts))

    collect()
    return found


async def test_calls_that_are_made_up_are_answered_and_counted_the_same(ways: Ways, list_id: str) -> None:
    for said, cuts in _made_up(list_id):
        await ways.agree(said, cuts)
    counts = [_counts(app.tracking._metrics) for app in ways.apps]
    assert counts[0] == counts[1]
    taken = [status for status in ways.through_door if status is not None]
    assert taken.count(201) + taken.count(200) > EXAMPLES / 10
    assert None in ways.through_door


def _counts(metrics: Metrics) -> dict[tuple[str, ...], float]:
    [found] = [each for each in metrics._registry.collect() if each.name == "newsletter_http_requests"]
    return {tuple(sample.labels.values()): sample.value for sample in found.samples}


async def test_a_length_behind_a_row_of_zeros_is_refused_and_no_error_of_ours(
    ways: Ways, list_id: str
) -> None:
    said = call("POST", "/subscribers", _person(list_id))
    said = said.replace(b"Content-Length: ", b"Content-Length: " + b"0" * 5_000)
    assert (await ways.agree(said)).startswith(b"HTTP/1.1 400 ")


async def test_calls_that_come_together_are_answered_in_their_order(ways: Ways, list_id: str) -> None:
    one = call("POST", "/subscribers", _person(list_id))
    said = await ways.agree(one + call("GET", "/project") + one + call("POST", "/subscribers", b"{") + one)
    assert [part[:3] for part in said.split(b"HTTP/1.1 ")[1:]] == [b"201", b"200", b"200", b"400", b"200"]
    assert ways.through_door == [201, 200, None, 200]


async def test_a_body_behind_its_head_is_waited_for(ways: Ways, list_id: str) -> None:
    said = call("POST", "/subscribers", _person(list_id))
    head = said.replace(KEY, ways.secrets[0].encode()).index(b"\r\n\r\n") + 4
    assert (await ways.agree(said, [head])).startswith(b"HTTP/1.1 201 ")
    await ways.agree(said, [head, head + 5])
    assert ways.through_door == [201]


async def test_what_is_refused_is_told_alike_and_counted_once(
    make_ways: MakeWays, make_project: MakeProject, project: Project, list_id: str
) -> None:
    said = call("POST", "/subscribers", _person(list_id))
    foreign = await make_project(name="Other", plan="free", is_test=False)
    for owner, limits, status in (
        (project, {"scopes": ("lists:read",)}, 403),
        (project, {"list_ids": (project.id,)}, 403),
        (foreign, {}, 422),
    ):
        ways = await make_ways(owner, **limits)
        assert (await ways.agree(said)).startswith(b"HTTP/1.1 %d " % status)
    of_free_plan = await make_ways(foreign)
    heard = [await of_free_plan.agree(said) for _ in range(62)]
    assert [one[9:12] for one in heard] == [b"422"] * 60 + [b"429"] * 2


@pytest.mark.parametrize("at", ["key", "limit", "write"])
@pytest.mark.parametrize(
    "error", [OperationalError("", None, OSError("away"), connection_invalidated=True), ValueError("a bug")]
)
async def test_what_goes_wrong_on_the_way_is_told_alike(
    ways: Ways, list_id: str, monkeypatch: pytest.MonkeyPatch, at: str, error: Exception
) -> None:
    async def fail(*_: object) -> None:
        raise error

    if at == "key":
        monkeypatch.setattr("newsletter.accounts.keys.authenticate", fail)
    if at == "limit":
        monkeypatch.setattr(MemoryLimiter, "hit", fail)
    if at == "write":
        monkeypatch.setattr(Intake, "carry_out", fail)
    status = 503 if isinstance(error, OperationalError) else 500
    said = await ways.agree(call("POST", "/subscribers", _person(list_id)))
    assert said.startswith(b"HTTP/1.1 %d " % status)
    assert ways.through_door == [status]


async def test_a_call_that_outlives_the_server_gets_the_same_503(
    ways: Ways, list_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = asyncio.Event()

    async def hang(*_: object) -> None:
        begun.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(Intake, "carry_out", hang)
    heard = []
    for app, secret in zip(ways.apps, ways.secrets, strict=True):
        server = Server(app, NAME, secret, has_door=app is ways.apps[0])
        answer = asyncio.create_task(server.heard(call("POST", "/subscribers", _person(list_id))))
        await begun.wait()
        begun.clear()
        server.talk.shutdown()
        for task in server.state.tasks:
            task.cancel()
        heard.append(await answer)
        assert server.wire.is_closed
    assert heard[0] == heard[1]
    assert heard[0].startswith(b"HTTP/1.1 503 ")
    assert b"connection: close" in heard[0]


async def test_a_call_is_logged_and_recorded_the_same(
    ways: Ways, list_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="newsletter.api.context")
    with capture_logs() as lines:
        await ways.agree(call("POST", "/subscribers", _person(list_id)))
    assert [recorded_as(each)[1:] for each in ways.recorded] == [
        ("POST", "/api/v1/subscribers", {}, 201, "from-wayx")
    ] * 2
    one, other = [line for line in lines if line["event"] == "request"]
    assert {**one, "elapsed_ms": 0} == {**other, "elapsed_ms": 0}
    assert one["route"] == "/api/v1/subscribers"


async def test_who_left_is_written_down_and_not_answered(ways: Ways, client: Client, list_id: str) -> None:
    server = Server(ways.apps[0], NAME, ways.secrets[0], has_door=True)
    server.send(server.own(call("POST", "/subscribers", _person(list_id))))
    await asyncio.sleep(0)
    server.talk.connection_lost(None)
    assert await server.heard(b"") == b""
    assert ways.through_door == [201]
    assert len(await client.data("GET", "/subscribers")) == 1
