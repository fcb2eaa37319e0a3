"""What tests of sending by SMTP begin with."""

import pytest

from tests.client import Client


@pytest.fixture
async def login(client: Client) -> tuple[str, str]:
    """User name and password of a credential that the API made."""
    made = await client.data("POST", "/smtp-credentials", 201, json={"name": "shop"})
    return made["username"], made["password"]
