"""Single calls that share a transaction and a mailing: each with its own answer, as exact as alone."""

import asyncio
from collections import Counter as Tally
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError

from newsletter.accounts.project import Project
from newsletter.delivery.models import Batch, Content, Mailing, Message, Outcome
from newsletter.kit.db import Database
from newsletter.kit.idempotency import Once
from newsletter.plans.models import Counter
from newsletter.runtime import Runtime
from newsletter.transactional import service
from newsletter.transactional.postbox import LARGE, Postbox
from tests.client import Client
from tests.conftest import MakeClient, MakeProject
from tests.jobs import run_due
from tests.mailbox import mail_to
from tests.transactional.conftest import MAIL, message

Expect = Callable[[int], list[int]]
FILE = {"filename": "a.txt", "content": "aGVsbG8="}


@pytest.fixture
def expect(monkeypatch: pytest.MonkeyPatch) -> Expect:
    """Holds the first step until so many calls are there, so that the next takes all that are left. Returns
    what fills with the number of calls of each step."""
    send, step = Postbox.send, Postbox.step
    came, are_here, steps = [0, 0], asyncio.Event(), list[int]()

    async def counted(self: Postbox, *call: Any) -> Any:
        came[1] += 1
        if came[1] == came[0]:
            are_here.set()
        return await send(self, *call)

    async def held(self: Postbox, principal: Any, calls: Sequence[Any]) -> Any:
        await are_here.wait()
        steps.append(len(calls))
        return await step(self, principal, calls)

    def begin(calls: int) -> list[int]:
        came[0] = calls
        monkeypatch.setattr(Postbox, "send", counted)
        monkeypatch.setattr(Postbox, "step", held)
        return steps

    return begin


async def all_at_once(client: Client, *changes: dict[str, Any], keys: Sequence[str] = ()) -> list[Any]:
    headers = [{"Idempotency-Key": key} for key in keys] or [{}] * len(changes)
    calls = (
        client.post("/send", json=MAIL | change, headers=header)
        for change, header in zip(changes, headers, strict=True)
    )
    return list(await asyncio.gather(*calls))


async def count(db: Database, table: Any) -> int:
    async with db.read() as session:
        return (await session.execute(select(func.count()).select_from(table))).scalar_one()


async def test_calls_of_one_moment_share_a_mailing_and_each_says_what_it_says(
    client: Client, runtime: Runtime, expect: Expect
) -> None:
    steps = expect(20)
    bodies = [
        {"to": f"u{n}@example.com", "subject": f"For {n}", "html": "<p>{{ n }}</p>", "variables": {"n": n}}
        for n in range(20)
    ]
    answers = await all_at_once(client, *bodies)

    assert [answer.status_code for answer in answers] == [202] * 20
    assert sum(steps) == 20
    assert len(steps) <= 2
    counted = [await count(runtime.db, table) for table in (Mailing, Batch, Content, Message)]
    assert counted == [len(steps), len(steps), 20, 20]
    sent = [answer.json()["data"] for answer in answers]
    assert [each["messages"][0]["email"] for each in sent] == [body["to"] for body in bodies]
    assert len({each["id"] for each in sent}) == 20
    await run_due(runtime)
    for number in (0, 7, 19):
        mail = await mail_to(client, f"u{number}@example.com")
        assert (mail["subject"], mail["text"].strip()) == (f"For {number}", str(number))
        found = await message(client, sent[number]["id"])
        assert found["status"] == "sent"
        assert found["recipients"] == [sent[number]["id"]]


async def test_a_person_gets_the_mail_of_each_call(client: Client, runtime: Runtime, expect: Expect) -> None:
    expect(4)
    answers = await all_at_once(client, *({"subject": f"Number {n}"} for n in range(4)))

    assert len({answer.json()["data"]["id"] for answer in answers}) == 4
    await run_due(runtime)
    inbox = await client.data("GET", "/sandbox/messages", params={"to": "alice@example.com"})
    assert {each["subject"] for each in inbox} == {f"Number {n}" for n in range(4)}


async def test_each_call_has_its_own_error(client: Client, runtime: Runtime, expect: Expect) -> None:
    await client.data("POST", "/suppressions", 201, json={"email": "gone@example.com", "level": "project"})
    expect(6)
    answers = await all_at_once(
        client,
        {"to": "first@example.com"},
        {"html": "<p>{{ nope }}</p>"},
        {"to": "gone@example.com"},
        {"template_id": "tpl_01k9x3v7m8e5tbn2c4r6p0qzaw"},
        {"to": []},
        {"to": "last@example.com"},
    )

    assert [answer.status_code for answer in answers] == [202, 422, 202, 422, 422, 202]
    assert [list(answers[n].json()["error"]["errors"]) for n in (1, 3, 4)] == [
        ["html"],
        ["template_id"],
        ["to"],
    ]
    assert answers[2].json()["data"]["status"] == "suppressed"
    assert await count(runtime.db, Message) == 3


async def test_what_the_last_mails_of_a_plan_are_for_is_said_to_each(
    make_project: MakeProject, make_client: MakeClient, db: Database, expect: Expect
) -> None:
    """Two readers for each call, and room for five: two calls fit, whichever they are."""
    project = await make_project(plan="free")
    client = await make_client(project)
    items = [MAIL | {"to": f"reader{number}@example.com"} for number in range(995)]
    await client.data("POST", "/send/bulk", 202, json={"messages": items})
    expect(6)
    answers = await all_at_once(
        client, *({"to": [f"a{n}@example.com", f"b{n}@example.com"]} for n in range(6))
    )

    assert Tally(answer.status_code for answer in answers) == {202: 2, 429: 4}
    assert {answer.json()["error"]["code"] for answer in answers if answer.status_code == 429} == {
        "quota_exceeded"
    }
    async with db.read() as session:
        reserved = select(Counter.reserved).where(Counter.owner_id == project.quota_owner_id)
        assert (await session.execute(reserved.where(Counter.resource == "mails"))).scalar_one() == 999


async def test_each_key_keeps_the_answer_of_its_own_call(
    client: Client, runtime: Runtime, expect: Expect
) -> None:
    steps = expect(5)
    bodies = [{"to": f"u{n}@example.com"} for n in range(5)]
    keys = [f"order-{n}" for n in range(5)]
    answers = await all_at_once(client, *bodies, keys=keys)
    again = await all_at_once(client, *bodies, keys=keys)

    assert len(steps) <= 2
    assert [answer.json() for answer in again] == [answer.json() for answer in answers]
    assert all(answer.headers["Idempotent-Replayed"] == "true" for answer in again)
    assert await count(runtime.db, Message) == 5


async def test_one_whose_answer_cannot_be_kept_fails_alone(
    client: Client, runtime: Runtime, expect: Expect, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Once.keep

    async def refuse(self: Once, session: Any, status: int, out: Any) -> None:
        await kept(self, session, status, out)
        if out.data.messages[0].email == "bad@example.com":
            raise ValueError("the database refused it")

    monkeypatch.setattr(Once, "keep", refuse)
    expect(5)
    emails = ["first", "u1", "bad", "u2", "u3"]
    answers = await all_at_once(
        client, *({"to": f"{name}@example.com"} for name in emails), keys=[f"k-{name}" for name in emails]
    )

    assert [answer.status_code for answer in answers] == [202, 202, 500, 202, 202]
    assert await count(runtime.db, Message) == 4
    monkeypatch.setattr(Once, "keep", kept)
    again = await client.post(
        "/send", json=MAIL | {"to": "bad@example.com"}, headers={"Idempotency-Key": "k-bad"}
    )
    assert again.status_code == 202
    assert "Idempotent-Replayed" not in again.headers
    assert await count(runtime.db, Message) == 5


async def test_an_outage_is_said_to_all_and_nothing_is_tried_again(
    client: Client, expect: Expect, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = 0

    async def away(*arguments: Any, **named: Any) -> Any:
        nonlocal tries
        tries += 1
        raise OperationalError("INSERT", {}, Exception("away"))

    monkeypatch.setattr(service, "post", away)
    steps = expect(5)
    answers = await all_at_once(client, *({"to": f"u{n}@example.com"} for n in range(5)))

    assert [answer.status_code for answer in answers] == [503] * 5
    assert tries == len(steps) <= 2
    assert await count(db, Message) == 0


async def test_nobody_is_told_before_it_is_on_disk(
    client: Client, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next transaction goes on meanwhile."""
    is_synced, on_disk = asyncio.Event(), db.on_disk

    async def late() -> None:
        await is_synced.wait()
        await on_disk()

    monkeypatch.setattr(db, "on_disk", late)
    bodies = [MAIL | {"to": f"u{number}@example.com"} for number in range(3)]

    def call(number: int) -> asyncio.Task[Any]:
        headers = {"Idempotency-Key": f"order-{number}"}
        return asyncio.create_task(client.post("/send", json=bodies[number], headers=headers))

    calls = [call(number) for number in range(3)]
    async with asyncio.timeout(30):
        while await count(db, Message) < 3:
            await asyncio.sleep(0.01)
    # Nor who asks again, though the answer is in the books by then.
    again = call(0)
    done, _ = await asyncio.wait([*calls, again], timeout=0.5)
    assert done == set()
    is_synced.set()
    assert [(await each).status_code for each in (*calls, again)] == [202] * 4
    assert again.result().headers["Idempotent-Replayed"] == "true"


@pytest.mark.parametrize(
    "change",
    [
        {"scheduled_at": "2090-01-01T00:00:00Z"},
        {"attachments": [FILE]},
        {"html": f"<p>{'x' * LARGE}</p>"},
    ],
    ids=["later", "with a file", "large"],
)
async def test_what_is_no_quick_mail_has_a_mailing_of_its_own(
    client: Client, db: Database, expect: Expect, change: dict[str, Any]
) -> None:
    """The mails of a mailing are given up together, at the time of the last."""
    steps = expect(4)
    answers = await all_at_once(client, {}, change | {"to": "other@example.com"}, {}, {})

    assert [answer.status_code for answer in answers] == [202] * 4
    assert sum(steps) == 3
    async with db.read() as session:
        own = select(Message.mailing_id).where(Message.address_key == "other@example.com")
        mailing_id = (await session.execute(own)).scalar_one()
        inside = select(func.count()).where(Message.mailing_id == mailing_id)
        assert (await session.execute(inside)).scalar_one() == 1


async def test_calls_of_two_projects_share_nothing(
    make_project: MakeProject, make_client: MakeClient, project: Project, db: Database
) -> None:
    clients = [await make_client(project), await make_client(await make_project(name="Other"))]
    halves = await asyncio.gather(
        *(all_at_once(client, *({"to": f"u{n}@example.com"} for n in range(6))) for client in clients)
    )

    assert {answer.status_code for half in halves for answer in half} == {202}
    async with db.read() as session:
        owners = select(Mailing.project_id, func.count()).join(Message, Message.mailing_id == Mailing.id)
        counted = dict((await session.execute(owners.group_by(Mailing.project_id))).all())
        assert sorted(counted.values()) == [6, 6]
        pending = select(func.count()).where(Message.outcome == Outcome.pending)
        assert (await session.execute(pending)).scalar_one() == 12
    for client, half in zip(clients, halves, strict=True):
        mine = {answer.json()["data"]["id"] for answer in half}
        assert {each["id"] for each in (await client.get("/messages")).json()["data"]} == mine
