"""A list with three readers, and campaigns to it."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.client import Client

Make = Callable[..., Awaitable[Any]]


async def make_list(client: Client, *names: str) -> str:
    made = await client.data("POST", "/lists", 201, json={"name": "Newsletter"})
    for name in names:
        body = {"list_id": made["id"], "email": f"{name}@example.com", "first_name": name.title()}
        await client.data("POST", "/subscribers", 201, json=body)
    return str(made["id"])


@pytest.fixture
async def list_id(client: Client) -> str:
    return await make_list(client, "ada", "grace", "linus")


@pytest.fixture
def draft(client: Client, list_id: str) -> Make:
    """``await draft(subject="Hi")``: a campaign from HTML."""

    async def make(**changes: Any) -> Any:
        body = {"list_id": list_id, "subject": "Hi", "html": "<p>Hello {{ first_name }}</p>"} | changes
        return await client.data("POST", "/campaigns", 201, json=body)

    return make
