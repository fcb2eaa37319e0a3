"""Ports of endpoints: what no call would be made to is refused when it is registered, and nothing else is."""

from collections.abc import Sequence

import pytest

from newsletter.kit.egress import EgressRefused, Guard
from newsletter.settings import WebhookSettings
from tests.client import Client

GOOD = ("https://app.example.com/", "http://app.example.com/", "https://app.example.com:443/")
CROSSED = ("https://app.example.com:80/", "http://app.example.com:443/")


class TestPublicAddressesAlone:
    @pytest.fixture
    def webhook_settings(self) -> WebhookSettings:
        return WebhookSettings()

    @pytest.mark.parametrize("url", ["https://app.example.com:8443/", "http://app.example.com:22/hook"])
    async def test_another_port_is_refused_with_those_that_there_are(self, client: Client, url: str) -> None:
        says = {"url": ["must have the port 80 or 443"]}
        error = await client.expect_error("POST", "/webhooks", 422, "validation_failed", json={"url": url})
        assert error["errors"] == says
        made = await client.data("POST", "/webhooks", 201, json={"url": GOOD[0]})
        path = f"/webhooks/{made['id']}"
        error = await client.expect_error("PATCH", path, 422, "validation_failed", json={"url": url})
        assert error["errors"] == says
        assert (await client.data("GET", path))["url"] == GOOD[0]

    async def test_the_two_ports_are_taken_named_or_not(self, client: Client) -> None:
        for url in (*GOOD, *CROSSED):
            made = await client.data("POST", "/webhooks", 201, json={"url": url})
            await client.data("PATCH", f"/webhooks/{made['id']}", json={"url": url})
            await client.data("PATCH", f"/webhooks/{made['id']}", json={"description": "CRM"})


class TestPortsOfTheOperator:
    @pytest.fixture
    def webhook_settings(self) -> WebhookSettings:
        return WebhookSettings(allowed_ports=(443, 8443))

    async def test_a_port_that_the_operator_allows_is_taken(self, client: Client) -> None:
        await client.data("POST", "/webhooks", 201, json={"url": "https://app.example.com:8443/"})
        plain = {"url": "http://app.example.com/"}
        error = await client.expect_error("POST", "/webhooks", 422, "validation_failed", json=plain)
        assert error["errors"] == {"url": ["must have the port 443 or 8443"]}


class TestPrivateRanges:
    async def test_any_port_is_taken_as_a_name_may_lead_there(self, client: Client) -> None:
        await client.data("POST", "/webhooks", 201, json={"url": "https://hooks.internal:8443/"})


@pytest.mark.parametrize(("scheme", "own"), [("https", 443), ("http", 80)])
@pytest.mark.parametrize("port", [None, 22, 80, 443, 8443])
async def test_registering_and_calling_agree_about_a_public_address(
    scheme: str, own: int, port: int | None
) -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return ["93.184.215.14"]

    guard = Guard((), (80, 443), resolve)
    url = f"{scheme}://app.example.com{'' if port is None else f':{port}'}/"
    try:
        guard.check_url(url)
        is_taken = True
    except ValueError:
        is_taken = False
    try:
        is_called = bool(await guard.addresses("app.example.com", port or own))
    except EgressRefused:
        is_called = False
    assert is_taken == is_called == (port in (None, 80, 443))
