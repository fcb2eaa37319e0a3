"""Where the operator requires verified domains: who is refused, and how they get through."""

from typing import Any

import pytest
from pydantic import SecretStr

from newsletter.runtime import Runtime
from newsletter.settings import Settings, SMTPSettings
from tests.client import Client
from tests.conftest import MakeClient, MakeProject
from tests.dns_server import NameServer

MAIL = {
    "from": "news@news.example.com",
    "to": "ada@example.com",
    "subject": "Hi",
    "text": "Hello",
}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    smtp = SMTPSettings(url=SecretStr("smtp://127.0.0.1:1"))
    return settings.model_copy(update={"require_verified_domain": True, "smtp": smtp})


@pytest.fixture
async def live_client(make_client: MakeClient, make_project: MakeProject) -> Client:
    client = await make_client(await make_project(is_test=False))
    await client.data("PATCH", "/project", json={"from_email": "news@news.example.com"})
    return client


async def campaign(client: Client) -> str:
    lst = await client.data("POST", "/lists", 201, json={"name": "All"})
    reader = {"list_id": lst["id"], "email": "ada@example.com"}
    await client.data("POST", "/subscribers", 201, json=reader)
    body = {"list_id": lst["id"], "subject": "Hi", "html": "<p>x</p>"}
    return str((await client.data("POST", "/campaigns", 201, json=body))["id"])


async def register(client: Client) -> dict[str, Any]:
    made: dict[str, Any] = await client.data(
        "POST", "/sending-domains", 201, json={"domain": "news.example.com"}
    )
    return made


async def test_mail_is_refused_until_the_domain_is_registered_published_and_looked_up(
    live_client: Client, runtime: Runtime, name_server: NameServer
) -> None:
    launch = f"/campaigns/{await campaign(live_client)}/send"
    calls: list[tuple[str, dict[str, str]]] = [(launch, {}), ("/send", MAIL)]
    for path, body in calls:
        error = await live_client.expect_error("POST", path, 409, "domain_not_verified", json=body)
        assert "POST /sending-domains." in error["message"]

    made = await register(live_client)
    key = made["records"][0]["name"]
    for path, body in calls:
        error = await live_client.expect_error("POST", path, 409, "domain_not_verified", json=body)
        assert f"TXT {key} (unchecked)" in error["message"]
    await live_client.data("POST", f"/sending-domains/{made['id']}/verify")
    error = await live_client.expect_error("POST", launch, 409, "domain_not_verified", json={})
    assert f"TXT {key} (missing)" in error["message"]
    assert f"POST /sending-domains/{made['id']}/verify" in error["message"]

    name_server.publish(made["records"])
    await live_client.data("POST", f"/sending-domains/{made['id']}/verify")
    assert (await live_client.data("POST", launch, json={}))["status"] == "sending"
    await live_client.data("POST", "/send", 202, json=MAIL)


async def test_a_verified_domain_is_no_leave_for_another_of_the_project(
    live_client: Client, name_server: NameServer
) -> None:
    made = await register(live_client)
    name_server.publish(made["records"])
    await live_client.data("POST", f"/sending-domains/{made['id']}/verify")
    await live_client.data("POST", "/sending-domains", 201, json={"domain": "example.com"})
    other = {**MAIL, "from": "news@example.com"}
    await live_client.expect_error("POST", "/send", 409, "domain_not_verified", json=other)


async def test_a_sandbox_needs_no_domain(client: Client) -> None:
    assert (await client.data("POST", f"/campaigns/{await campaign(client)}/send", json={}))["status"]
    await client.data("POST", "/send", 202, json=MAIL)
