"""Servers and rules over HTTP, on a service that may connect to the loopback."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from newsletter.accounts.project import Project
from newsletter.settings import RoutingSettings, Settings
from tests.client import Client
from tests.conftest import MakeClient, MakeProject
from tests.smtp_sink import Sink, smtp_sink

__all__ = ["smtp_sink"]


@pytest.fixture
def routing_settings() -> RoutingSettings:
    return RoutingSettings(allowed_ranges=("127.0.0.0/8",), refresh_seconds=0.05)


@pytest.fixture
def settings(settings: Settings, routing_settings: RoutingSettings) -> Settings:
    return settings.model_copy(update={"routing": routing_settings})


@pytest.fixture
async def live(make_project: MakeProject) -> Project:
    return await make_project(is_test=False)


@pytest.fixture
async def live_client(make_client: MakeClient, live: Project) -> Client:
    return await make_client(live)


Connect = Callable[..., Awaitable[Any]]


@pytest.fixture
def connect(live_client: Client) -> Connect:
    """``await connect(sink, name="b", rate_per_second=5)``: a server of the live project at the sink."""

    async def make(sink: Sink | None = None, **fields: Any) -> Any:
        config = {"host": "127.0.0.1", "port": sink.port, "tls": "offered"} if sink else {}
        body = {"name": "relay", "type": "smtp", "config": config or {"host": "smtp.example.com"}, **fields}
        return await live_client.data("POST", "/sending-servers", 201, json=body)

    return make
