"""A campaign that was sent, and the mails that arrived in the sandbox: where many tests begin."""

from typing import Any

from newsletter.runtime import Runtime
from tests.client import Client
from tests.jobs import run_due

HTML = '<p>Hello {{ first_name | default: "there" }}, <a href="https://acme.example.com">news</a>.</p>'


async def subscribed_list(client: Client, *people: str) -> str:
    """A list with these people, by their first names; returns its id."""
    made = await client.data("POST", "/lists", 201, json={"name": "The Roast Letter"})
    for person in people:
        body = {"list_id": made["id"], "email": f"{person.lower()}@example.com", "first_name": person}
        await client.data("POST", "/subscribers", 201, json=body)
    return str(made["id"])


async def send_campaign(client: Client, runtime: Runtime, list_id: str, **fields: Any) -> dict[str, Any]:
    """Sends a campaign to the list and runs its work to the end."""
    body = {"list_id": list_id, "subject": "Fresh beans", "html": HTML, "send": True, **fields}
    campaign: dict[str, Any] = await client.data("POST", "/campaigns", 201, json=body)
    await run_due(runtime)
    return campaign


async def mail_to(client: Client, address: str) -> dict[str, Any]:
    """The newest mail in the sandbox to this address, parsed."""
    found = await client.data("GET", "/sandbox/messages", params={"to": address})
    assert found, f"no mail to {address}"
    mail: dict[str, Any] = await client.data("GET", f"/sandbox/messages/{found[0]['id']}")
    return mail
