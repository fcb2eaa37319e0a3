"""A customer of the page: an account, its key, and the list of the examples."""

from typing import Any

import pytest

from tests.client import Client


@pytest.fixture
async def newsletter_list(client: Client) -> Any:
    """The page's list: "Newsletter"."""
    return await client.data("POST", "/lists", 201, json={"name": "Newsletter"})


@pytest.fixture
def list_id(newsletter_list: Any) -> str:
    return str(newsletter_list["id"])
