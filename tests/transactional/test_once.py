"""`Idempotency-Key` on the routes of single mails: one key, one effect, one answer."""

import asyncio

import pytest
from sqlalchemy import func, select

from newsletter.delivery.models import Message
from newsletter.kit.idempotency import Once
from newsletter.runtime import Runtime
from tests.client import Client
from tests.jobs import run_due
from tests.transactional.conftest import MAIL

CALLERS = 50


async def count(runtime: Runtime) -> int:
    async with runtime.db.read() as session:
        return (await session.execute(select(func.count()).select_from(Message))).scalar_one()


async def test_fifty_callers_with_one_key_send_one_mail(client: Client, runtime: Runtime) -> None:
    async def call() -> tuple[int, str]:
        while True:
            answer = await client.post("/send", json=MAIL, headers={"Idempotency-Key": "order-42"})
            if answer.status_code != 409:
                return answer.status_code, answer.text
            assert answer.json()["error"]["code"] == "idempotency_in_progress"
            await asyncio.sleep(0.02)

    answers = await asyncio.gather(*(call() for _ in range(CALLERS)))
    assert {status for status, _ in answers} == {202}
    assert len({text for _, text in answers}) == 1
    assert await count(runtime) == 1
    await run_due(runtime)
    assert len(await client.data("GET", "/sandbox/messages")) == 1


async def test_a_bulk_answers_with_the_same_results_again(client: Client, runtime: Runtime) -> None:
    body = {"messages": [MAIL, {"to": "x"}, MAIL | {"to": "bob@example.com"}]}
    first = await client.post("/send/bulk", json=body, headers={"Idempotency-Key": "bulk"})
    again = await client.post("/send/bulk", json=body, headers={"Idempotency-Key": "bulk"})
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json() == again.json()
    assert again.headers["Idempotent-Replayed"] == "true"
    assert await count(runtime) == 2
    other = await client.post("/send/bulk", json={"messages": [MAIL]}, headers={"Idempotency-Key": "bulk"})
    assert other.json()["error"]["code"] == "idempotency_key_reused"


async def test_a_crash_before_the_answer_leaves_nothing(
    client: Client, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Once.keep

    async def crash(self: Once, session: object, status: int, out: object) -> None:
        await kept(self, session, status, out)  # type: ignore[arg-type]
        raise RuntimeError("the process died here")

    monkeypatch.setattr(Once, "keep", crash)
    for path, body in (("/send", MAIL), ("/send/bulk", {"messages": [MAIL]})):
        answer = await client.post(path, json=body, headers={"Idempotency-Key": "k" + path})
        assert answer.status_code == 500
    assert await count(runtime) == 0
    monkeypatch.setattr(Once, "keep", kept)
    for path, body in (("/send", MAIL), ("/send/bulk", {"messages": [MAIL]})):
        answer = await client.post(path, json=body, headers={"Idempotency-Key": "k" + path})
        assert answer.status_code == 202
    assert await count(runtime) == 2


async def test_an_error_frees_the_key(client: Client) -> None:
    headers = {"Idempotency-Key": "again"}
    assert (await client.post("/send", json=MAIL | {"to": "x"}, headers=headers)).status_code == 422
    assert (await client.post("/send", json=MAIL, headers=headers)).status_code == 202


async def test_a_call_with_two_keys_is_refused_and_has_no_effect(client: Client, runtime: Runtime) -> None:
    headers = [("Idempotency-Key", "order-1"), ("Idempotency-Key", "order-2")]
    answer = await client.post("/send", json=MAIL, headers=headers)
    assert answer.status_code == 422
    assert answer.json()["error"]["errors"] == {"Idempotency-Key": ["must be sent once"]}
    assert await count(runtime) == 0
    for key in ("order-1", "order-2"):  # Neither is taken by what was refused.
        again = await client.post("/send", json=MAIL, headers={"Idempotency-Key": key})
        assert again.status_code == 202
        assert "Idempotent-Replayed" not in again.headers
