"""``/sending-servers`` over HTTP: what is taken, what is shown, and what a test finds."""

import asyncio
from typing import Any

import pytest

from newsletter.kit import ids
from newsletter.runtime import Runtime
from newsletter.settings import RoutingSettings
from tests.client import Client
from tests.conftest import MakeClient, MakeProject
from tests.routing.conftest import Connect
from tests.smtp_sink import Sink

PASSWORD = "a-password-that-nobody-may-see"
CONFIG = {"host": "smtp.example.com", "username": "news@example.com", "password": PASSWORD}
BODY = {"name": "Relay", "type": "smtp", "config": CONFIG}


async def test_a_new_server_has_the_defaults_and_hides_its_password(live_client: Client) -> None:
    made = await live_client.data("POST", "/sending-servers", 201, json=BODY)
    assert made["id"].startswith("srv_")
    assert made["reports_url"].startswith("http://news.test/inbound/smtp/")
    assert made | {"id": "", "reports_url": "", "created_at": "", "updated_at": ""} == {
        "id": "",
        "name": "Relay",
        "type": "smtp",
        "config": {
            "host": "smtp.example.com",
            "port": 587,
            "tls": "required",
            "username": "news@example.com",
        },
        "secrets": {"password": "set", "webhook_secret": "unset"},
        "is_active": True,
        "max_connections": 4,
        "messages_per_connection": 500,
        "quota_per_hour": None,
        "quota_per_day": None,
        "quota_per_month": None,
        "rate_per_second": None,
        "warm_up": None,
        "from_domains": [],
        "used": {"hour": 0, "day": 0, "month": 0},
        "breaker": {"state": "closed", "open_until": None, "reason": None},
        "reports_url": "",
        "created_at": "",
        "updated_at": "",
    }
    assert await live_client.data("GET", f"/sending-servers/{made['id']}") == made
    assert await live_client.data("GET", "/sending-servers") == [made]


async def test_no_answer_log_line_or_row_holds_the_password(
    live_client: Client,
    runtime: Runtime,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    answers = [await live_client.post("/sending-servers", json=BODY)]
    path = f"/sending-servers/{answers[0].json()['data']['id']}"
    answers += [await live_client.get(path), await live_client.get("/sending-servers")]
    answers.append(await live_client.patch(path, json={"config": {"password": PASSWORD, "host": "x y"}}))
    answers.append(await live_client.patch(path, json={"config": {"password": PASSWORD + "\n"}}))
    answers.append(await live_client.post(f"{path}/test"))
    assert [answer.status_code for answer in answers] == [201, 200, 200, 422, 422, 502]
    assert not [answer.text for answer in answers if PASSWORD in answer.text]
    async with runtime.db.read() as session:
        connection = await session.connection()
        rows = [
            (await connection.exec_driver_sql(f"SELECT * FROM {table}")).all()
            for table in ("sending_servers", "idempotency_keys", "jobs", "events")
        ]
    assert PASSWORD not in repr(rows)
    assert PASSWORD not in caplog.text + "".join(capsys.readouterr())


async def test_a_change_keeps_what_it_does_not_name_and_the_password(live_client: Client) -> None:
    path = f"/sending-servers/{(await live_client.data('POST', '/sending-servers', 201, json=BODY))['id']}"
    changed = await live_client.data("PATCH", path, json={"config": {"port": 2525}, "quota_per_day": 500})
    assert changed["config"] == {
        "host": "smtp.example.com",
        "port": 2525,
        "tls": "required",
        "username": "news@example.com",
    }
    assert (changed["name"], changed["secrets"], changed["quota_per_day"]) == (
        "Relay",
        {"password": "set", "webhook_secret": "unset"},
        500,
    )
    cleared = await live_client.data(
        "PATCH", path, json={"config": {"username": None, "password": None}, "quota_per_day": None}
    )
    assert (cleared["secrets"], cleared["quota_per_day"]) == (
        {"password": "unset", "webhook_secret": "unset"},
        None,
    )
    assert "username" not in cleared["config"]


async def test_every_bad_field_is_named(live_client: Client) -> None:
    error = await live_client.expect_error(
        "POST",
        "/sending-servers",
        422,
        "validation_failed",
        json={
            "name": "",
            "type": "pigeon",
            "max_connections": 0,
            "quota_per_day": -1,
            "rate_per_second": 0,
            "warm_up": {"factor": 1},
            "from_domains": ["example.com", "not a domain"],
            "colour": "red",
        },
    )
    assert set(error["errors"]) == {
        "name",
        "type",
        "max_connections",
        "quota_per_day",
        "rate_per_second",
        "warm_up.factor",
        "from_domains.1",
        "colour",
    }


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({}, "config.host"),
        ({"host": "smtp.example.com", "port": 70_000}, "config.port"),
        ({"host": "smtp.example.com", "tls": "maybe"}, "config.tls"),
        ({"host": "smtp.example.com", "username": "a"}, "config"),
        ({"host": "smtp.example.com", "username": "a\0b"}, "config.username"),
        ({"host": "smtp.example.com", "passwort": "a"}, "config.passwort"),
        ({"host": "smtp.example.com", "username": "a", "password": 7}, "config.password"),
    ],
)
async def test_a_bad_configuration_is_named_by_its_field(
    live_client: Client, config: dict[str, Any], field: str
) -> None:
    body = BODY | {"config": config}
    error = await live_client.expect_error("POST", "/sending-servers", 422, "validation_failed", json=body)
    assert set(error["errors"]) == {field}


async def test_a_sandbox_belongs_to_test_projects(client: Client, live_client: Client) -> None:
    body = {"name": "Nowhere", "type": "sandbox"}
    made = await client.data("POST", "/sending-servers", 201, json=body)
    assert (made["type"], made["config"], made["secrets"]) == ("sandbox", {}, {})
    error = await live_client.expect_error("POST", "/sending-servers", 422, "validation_failed", json=body)
    assert set(error["errors"]) == {"type"}


async def test_servers_of_a_project_are_limited(live_client: Client, runtime: Runtime) -> None:
    limit = runtime.settings.limits.sending_servers
    calls = [live_client.post("/sending-servers", json=BODY) for _ in range(limit + 5)]
    answers = await asyncio.gather(*calls)
    assert sorted(answer.status_code for answer in answers) == [201] * limit + [409] * 5
    error = await live_client.expect_error(
        "POST", "/sending-servers", 409, "sending_server_limit_reached", json=BODY
    )
    assert str(limit) in error["message"]


async def test_a_server_that_rules_name_stays(live_client: Client, connect: Connect) -> None:
    server = await connect()
    rule = await live_client.data("POST", "/routing/rules", 201, json={"server_id": server["id"]})
    path = f"/sending-servers/{server['id']}"
    await live_client.expect_error("DELETE", path, 409, "sending_server_in_use")
    assert (await live_client.delete(f"/routing/rules/{rule['id']}")).status_code == 204
    assert (await live_client.delete(path)).status_code == 204
    await live_client.expect_error("GET", path, 404, "not_found")


async def test_a_test_connects_and_sends_nothing(
    live_client: Client, connect: Connect, smtp_sink: Sink
) -> None:
    server = await connect(smtp_sink, is_active=False)
    tested = await live_client.data("POST", f"/sending-servers/{server['id']}/test")
    assert "Connected to 127.0.0.1" in tested["found"]
    assert tested["elapsed_ms"] >= 0
    assert smtp_sink.received == []


async def test_a_failed_test_says_how_to_mend_it(live_client: Client, connect: Connect) -> None:
    with Sink() as gone:
        server = await connect(gone)
    path = f"/sending-servers/{server['id']}/test"
    error = await live_client.expect_error("POST", path, 502, "sending_server_test_failed")
    assert "Check the host and port" in error["message"]


async def test_a_wrong_password_is_told_from_a_wrong_host(live_client: Client, connect: Connect) -> None:
    with Sink(users={"news": "right"}) as sink:
        config = {"host": "127.0.0.1", "port": sink.port, "tls": "none", "username": "news"}
        server = await connect(sink, config=config | {"password": "wrong"})
        path = f"/sending-servers/{server['id']}"
        error = await live_client.expect_error("POST", f"{path}/test", 502, "sending_server_test_failed")
        assert "Check the user name and password" in error["message"]
        await live_client.data("PATCH", path, json={"config": {"password": "right"}})
        assert "signed in as news" in (await live_client.data("POST", f"{path}/test"))["found"]


class TestGuard:
    """Where the operator allows no private range."""

    @pytest.fixture
    def routing_settings(self) -> RoutingSettings:
        return RoutingSettings()

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "169.254.169.254", "10.0.0.1"])
    async def test_a_server_in_the_operator_s_network_is_not_connected_to(
        self, live_client: Client, smtp_sink: Sink, host: str
    ) -> None:
        body = BODY | {"config": {"host": host, "port": smtp_sink.port, "tls": "offered"}}
        server = await live_client.data("POST", "/sending-servers", 201, json=body)
        error = await live_client.expect_error(
            "POST", f"/sending-servers/{server['id']}/test", 502, "sending_server_test_failed"
        )
        assert "not public" in error["message"]
        assert "NEWSLETTER_ROUTING_ALLOWED_RANGES" in error["message"]
        assert smtp_sink.connections == 0


async def test_another_project_sees_and_changes_nothing(
    live_client: Client, connect: Connect, make_project: MakeProject, make_client: MakeClient
) -> None:
    server = await connect()
    rule = await live_client.data("POST", "/routing/rules", 201, json={"server_id": server["id"]})
    stranger = await make_client(await make_project(is_test=False, name="Other"))
    for path in (f"/sending-servers/{server['id']}", f"/routing/rules/{rule['id']}"):
        await stranger.expect_error("GET", path, 404, "not_found")
        await stranger.expect_error("PATCH", path, 404, "not_found", json={"is_active": False})
        await stranger.expect_error("DELETE", path, 404, "not_found")
    await stranger.expect_error("POST", f"/sending-servers/{server['id']}/test", 404, "not_found")
    body = {"server_id": server["id"]}
    error = await stranger.expect_error("POST", "/routing/rules", 422, "validation_failed", json=body)
    assert set(error["errors"]) == {"server_id"}
    assert await stranger.data("GET", "/sending-servers") == []
    assert await live_client.data("GET", f"/routing/rules/{rule['id']}") == rule


async def test_reading_needs_one_scope_and_writing_another(
    live_client: Client, connect: Connect, make_client: MakeClient, live: Any
) -> None:
    server = await connect()
    nothing = ids.public("rul", ids.uuid7())
    reader = await make_client(live, scopes=("servers:read", "routing:read"))
    await reader.data("GET", f"/sending-servers/{server['id']}")
    await reader.data("GET", "/routing/rules")
    await reader.data(
        "POST", "/routing/explain", json={"from": "news@example.com", "to": "alice@example.org"}
    )
    for method, path, body in (
        ("POST", "/sending-servers", BODY),
        ("PATCH", f"/sending-servers/{server['id']}", {}),
        ("DELETE", f"/sending-servers/{server['id']}", None),
        ("POST", f"/sending-servers/{server['id']}/test", None),
        ("POST", "/routing/rules", {"server_id": server["id"]}),
        ("PATCH", f"/routing/rules/{nothing}", {}),
        ("DELETE", f"/routing/rules/{nothing}", None),
    ):
        await reader.expect_error(method, path, 403, "forbidden", json=body)
    writer = await make_client(live, scopes=("servers:write", "routing:write"))
    await writer.expect_error("GET", "/sending-servers", 403, "forbidden")
    await writer.expect_error("GET", "/routing/rules", 403, "forbidden")
