"""What the tests of the mail adapters share."""

from collections.abc import Iterator

import pytest

from tests.providers.moto_server import Moto, moto_server
from tests.smtp_sink import smtp_sink

__all__ = ["smtp_sink"]


@pytest.fixture(scope="session")
def moto() -> Iterator[Moto]:
    with moto_server() as server:
        yield server
