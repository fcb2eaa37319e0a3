"""A project's own host for its tracked links: who may take which, and when it is used."""

from typing import Any

import pytest

from newsletter.delivery.links import Purpose
from newsletter.domains import queries
from newsletter.runtime import Runtime
from newsletter.settings import Settings
from tests.client import Client
from tests.conftest import MakeClient, MakeProject
from tests.dns_server import NameServer
from tests.domains.test_verifying import age, look_daily, of, register, verify

HOST = "click.news.example.com"


async def name(client: Client, domain: dict[str, Any], host: str | None = HOST) -> dict[str, Any]:
    body = {"tracking_host": host}
    named: dict[str, Any] = await client.data("PATCH", f"/sending-domains/{domain['id']}", json=body)
    return named


async def refused(client: Client, domain: dict[str, Any], host: str, status: int, code: str) -> Any:
    path, body = f"/sending-domains/{domain['id']}", {"tracking_host": host}
    return await client.expect_error("PATCH", path, status, code, json=body)


async def verified(client: Client, name_server: NameServer, domain: str = "news.example.com") -> Any:
    made = await client.data("POST", "/sending-domains", 201, json={"domain": domain})
    name_server.publish(made["records"])
    assert (await verify(client, made))["status"] == "verified"
    return made


async def is_asked_for(client: Client, host: str) -> bool:
    response = await client.get(
        "http://news.test/tls/ask", params={"domain": host}, headers={"Authorization": ""}
    )
    assert response.status_code in (200, 404)
    return response.status_code == 200


async def test_a_host_is_used_once_its_cname_was_found_and_no_longer_than_it_stands(
    client: Client, runtime: Runtime, name_server: NameServer
) -> None:
    made = await verified(client, name_server)
    named = await name(client, made, "Click.News.Example.com")
    record = of(named, "tracking")
    assert (record["type"], record["name"], record["value"]) == ("CNAME", HOST, "news.test")
    assert (named["tracking_host"], named["tracking_verified_at"]) == (HOST, None)

    early = await verify(client, made)
    assert (of(early, "tracking")["status"], early["status"]) == ("missing", "verified")
    assert not await is_asked_for(client, HOST)
    name_server.cname(HOST, "somewhere.example.org")
    assert of(await verify(client, made), "tracking")["status"] == "wrong"

    name_server.publish([record])
    found = await verify(client, made)
    assert of(found, "tracking")["status"] == "found"
    assert found["tracking_verified_at"] is not None
    assert await is_asked_for(client, HOST.upper())
    assert not await is_asked_for(client, "news.example.com")
    assert not await is_asked_for(client, "")

    name_server.broken.add(HOST)
    await age(runtime, hours=25)
    await look_daily(runtime)
    assert await is_asked_for(client, HOST)
    name_server.broken.clear()
    del name_server.zone[HOST, "CNAME"]
    await age(runtime, hours=25)
    await look_daily(runtime)
    assert not await is_asked_for(client, HOST)
    assert (await client.data("GET", f"/sending-domains/{made['id']}"))["status"] == "verified"


async def test_a_host_lies_below_a_domain_that_the_project_has_proven(
    client: Client, name_server: NameServer
) -> None:
    made = await register(client)
    await refused(client, made, HOST, 409, "tracking_host_not_proven")
    name_server.publish(made["records"])
    await verify(client, made)
    for other in ("click.example.com", "clicknews.example.com", "news.example.com"):
        await refused(client, made, other, 409, "tracking_host_not_proven")
    await verified(client, name_server, "example.com")
    assert (await name(client, made, "click.example.com"))["tracking_host"] == "click.example.com"


async def test_a_host_of_another_domain_or_project_is_taken(
    client: Client, make_client: MakeClient, make_project: MakeProject, name_server: NameServer
) -> None:
    mine = await verified(client, name_server)
    await name(client, mine)
    await name(client, mine)
    other = await make_client(await make_project())
    theirs = await verified(other, name_server)
    await refused(other, theirs, HOST, 409, "tracking_host_taken")
    assert (await name(client, mine, None))["tracking_host"] is None
    assert (await name(other, theirs))["tracking_host"] == HOST


async def test_of_two_calls_at_one_moment_one_is_told_that_the_host_is_taken(
    client: Client,
    make_client: MakeClient,
    make_project: MakeProject,
    name_server: NameServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await name(client, await verified(client, name_server))
    other = await make_client(await make_project())
    theirs = await verified(other, name_server)

    async def not_yet(*_: object) -> None:
        return None

    monkeypatch.setattr(queries, "by_tracking_host", not_yet)
    await refused(other, theirs, HOST, 409, "tracking_host_taken")


async def test_another_host_begins_unverified(client: Client, name_server: NameServer) -> None:
    made = await verified(client, name_server)
    name_server.publish([of(await name(client, made), "tracking")])
    assert (await verify(client, made))["tracking_verified_at"] is not None
    again = await name(client, made, "links.news.example.com")
    assert (again["tracking_verified_at"], of(again, "tracking")["status"]) == (None, "unchecked")
    assert not await is_asked_for(client, HOST)


async def test_a_key_for_other_domains_may_not_name_a_host(
    client: Client, make_client: MakeClient, project: Any, name_server: NameServer
) -> None:
    made = await verified(client, name_server)
    restricted = await make_client(project, from_domains=("example.org",))
    await refused(restricted, made, HOST, 403, "forbidden")


class TestAnInstallationInsideOfTheDomain:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        hosts = {
            "public_url": "http://www.news.example.com",
            "tracking_url": "http://t.news.example.com:8443/x",
        }
        return settings.model_copy(update=hosts)

    async def test_its_own_hosts_are_no_project_s(self, client: Client, name_server: NameServer) -> None:
        made = await verified(client, name_server)
        for host in ("www.news.example.com", "t.news.example.com"):
            error = await refused(client, made, host, 422, "validation_failed")
            assert error["errors"]["tracking_host"] == ["is a host of this installation"]
        assert of(await name(client, made), "tracking")["value"] == "t.news.example.com"

    async def test_links_keep_its_port_and_path(self, runtime: Runtime) -> None:
        links = runtime.links.at(HOST)
        assert links.base(Purpose.click) == f"http://{HOST}:8443/x/c/"
        assert links.base(Purpose.unsubscribe) == "http://www.news.example.com/u/"
        assert runtime.links.at(HOST) is links, "its keys are derived once"
        assert runtime.links.at(f"other.{HOST}").base(Purpose.open) == f"http://other.{HOST}:8443/x/o/"


class TestAnInstallationWithoutAName:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return settings.model_copy(update={"tracking_url": "http://127.0.0.1:8000"})

    async def test_no_cname_could_lead_to_it(self, client: Client, name_server: NameServer) -> None:
        made = await verified(client, name_server)
        error = await refused(client, made, HOST, 422, "validation_failed")
        assert "no host name" in error["errors"]["tracking_host"][0]


class TestAskersInAHurry:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return settings.model_copy(update={"limits": settings.limits.model_copy(update={"tls_questions": 2})})

    async def test_they_are_told_to_wait(self, client: Client) -> None:
        for _ in range(2):
            assert not await is_asked_for(client, HOST)
        response = await client.get("http://news.test/tls/ask", params={"domain": HOST})
        assert response.status_code == 429
        assert int(response.headers["Retry-After"]) > 0
