"""Nothing names a person any more who was mailed, bounced, complained and was told of, and then erased."""

import zlib
from contextlib import suppress

from sqlalchemy import delete, text, update

from newsletter.kit.db import Base
from newsletter.kit.jobs import Job
from newsletter.runtime import Runtime
from newsletter.webhooks.models import Attempt
from tests.client import Client
from tests.feedback.reports.samples import dsn
from tests.jobs import run_due
from tests.mailbox import send_campaign, subscribed_list

NAME = "Zenobia"
ADDRESS = "zenobia@example.com"
QUOTED = dsn(diagnostic=f"smtp; 550 5.1.1 <{ADDRESS}>: no such user").replace(
    b"reader@example.org", ADDRESS.encode()
)


async def everything(runtime: Runtime) -> str:
    """All rows of all tables as lower-case text, what is deflated included."""
    found: list[str] = []
    async with runtime.db.read() as session:
        for table in Base.metadata.sorted_tables:
            for row in await session.execute(text(f'SELECT * FROM "{table.name}"')):
                for value in row:
                    shown = f"{value!r}"
                    if isinstance(value, bytes):
                        with suppress(zlib.error):
                            shown = repr(zlib.decompress(value))
                    found.append(f"{table.name}: {shown}")
    return "\n".join(found).lower()


async def hand_in(client: Client, address: str, raw: bytes) -> None:
    headers = {"Content-Type": "message/rfc822"}
    response = await client.post("/inbound/mail", content=raw, headers=headers, params={"recipient": address})
    assert response.json() == {"data": {"status": "accepted"}}


async def test_an_erased_person_is_named_nowhere(client: Client, runtime: Runtime) -> None:
    list_id = await subscribed_list(client, NAME, "Grace")
    events = ["message.bounced", "subscriber.bounced"]
    await client.data("POST", "/webhooks", 201, json={"url": "https://app.example.com/", "events": events})
    await send_campaign(client, runtime, list_id)
    receipt = {"to": ADDRESS, "subject": f"Hello {NAME}", "text": f"Dear {NAME}"}
    await client.data("POST", "/send", 202, json={"from": "hi@acme.example.com", **receipt})
    await run_due(runtime)
    mails = await client.data("GET", "/sandbox/messages", params={"to": ADDRESS})
    path, later = (runtime.return_paths.of("x@example.com")(mail["message_id"]).sealed for mail in mails)
    await hand_in(client, path, QUOTED)
    await run_due(runtime)
    # A mail that nobody came to read, and an endpoint that repeats what it was told.
    await hand_in(client, path, QUOTED.replace(b"Subject:", b"Message-ID: <2@mx.example.net>\r\nSubject:", 1))
    async with runtime.db.unit_of_work() as session:
        await session.execute(delete(Job).where(Job.name == "feedback.read_mail"))
        await session.execute(update(Attempt).values(answer=f"thanks for {ADDRESS}"))
    before = await everything(runtime)
    for table in (
        "subscribers",
        "messages",
        "events",
        "returned_mails",
        "webhook_attempts",
        "sandbox_messages",
    ):
        assert any(line.startswith(table) and ADDRESS in line for line in before.splitlines()), table

    [person] = await client.data("GET", "/subscribers", params={"search": NAME})
    await client.data("POST", f"/subscribers/{person['id']}/erase")
    await run_due(runtime)
    # What comes back late quotes the address once more.
    await hand_in(client, later, QUOTED)
    await run_due(runtime)

    after = await everything(runtime)
    assert [line for line in after.splitlines() if NAME.lower() in line] == []
    assert "grace@example.com" in after
