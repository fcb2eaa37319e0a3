"""Lists over HTTP."""

from tests.client import Client


async def test_a_list_is_created_and_read(client: Client) -> None:
    made = await client.data("POST", "/lists", 201, json={"name": "Newsletter"})
    assert made["id"].startswith("lst_")
    assert (made["opt_in"], made["total_subscribers"], made["active_subscribers"]) == ("single", 0, 0)
    assert await client.data("GET", f"/lists/{made['id']}") == made
    sub = await client.data(
        "POST", "/subscribers", 201, json={"email": "Alice@Example.com", "list_id": made["id"]}
    )
    assert sub["email"] == "Alice@Example.com"
    assert await client.data("GET", f"/subscribers/{sub['id']}") == sub
