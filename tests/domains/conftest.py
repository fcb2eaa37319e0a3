"""An installation that asks a name server of the tests' own."""

import pytest

from newsletter.settings import Settings
from tests.dns_server import NameServer


@pytest.fixture
def settings(settings: Settings, name_server: NameServer) -> Settings:
    return settings.model_copy(update={"dns": name_server.settings})
