"""What runs twice, dies midway or loses its endpoint leaves the same books."""

import asyncio
from typing import Any
from uuid import UUID

from sqlalchemy import select

from newsletter.kit import jobs
from newsletter.kit.jobs import Job
from newsletter.runtime import Runtime
from newsletter.webhooks import fanning
from newsletter.webhooks.models import WebhookDelivery
from tests.client import Client
from tests.jobs import make_due, run_due
from tests.receiver import Receiver, Reply
from tests.webhooks.conftest import Happen, Register
from tests.webhooks.deliveries import jobs_left, only_delivery
from workers.registry import handlers


async def test_a_second_fan_out_changes_nothing(
    client: Client, runtime: Runtime, register: Register, happen: Happen, receiver: Receiver
) -> None:
    endpoint = await register()
    await happen(times=3)
    async with runtime.db.read() as session:
        [job] = (await session.scalars(select(Job).where(Job.name == "webhooks.fan_out"))).all()
        event_ids = [UUID(text) for text in job.payload["event_ids"]]
    await run_due(runtime)
    before = await client.data("GET", f"/webhooks/{endpoint['id']}/deliveries")
    await fanning.fan_out(runtime.db, event_ids, 0)
    assert await run_due(runtime) == []
    assert await client.data("GET", f"/webhooks/{endpoint['id']}/deliveries") == before
    assert len(receiver.calls) == 3


async def test_a_second_run_of_an_attempt_does_nothing(
    client: Client, runtime: Runtime, register: Register, happen: Happen, receiver: Receiver
) -> None:
    endpoint = await register()
    receiver.replies.append(Reply(500))
    await happen()
    await run_due(runtime)
    await _attempt(runtime, endpoint, number=1)
    assert len(receiver.calls) == 1
    await make_due(runtime)
    await run_due(runtime)
    after = await only_delivery(client, endpoint)
    assert (after["status"], after["attempt_count"]) == ("succeeded", 2)
    for number in (1, 2, 3):
        await _attempt(runtime, endpoint, number)
    assert len(receiver.calls) == 2
    assert await only_delivery(client, endpoint) == after


async def test_two_runs_of_one_attempt_at_once_are_booked_once(
    client: Client, runtime: Runtime, register: Register, happen: Happen, receiver: Receiver
) -> None:
    endpoint = await register()
    receiver.otherwise = Reply(500, delay=0.2)
    await happen()
    await _run_one(runtime, "webhooks.fan_out")
    await asyncio.gather(_attempt(runtime, endpoint, 1), _attempt(runtime, endpoint, 1))
    delivery = await only_delivery(client, endpoint)
    assert delivery["attempt_count"] == len(delivery["attempts"]) == 1
    assert (await client.data("GET", f"/webhooks/{endpoint['id']}"))["consecutive_failures"] == 1


async def test_a_process_that_died_after_the_call_makes_it_again_with_the_same_id(
    client: Client, runtime: Runtime, register: Register, happen: Happen, receiver: Receiver
) -> None:
    endpoint = await register()
    receiver.otherwise = Reply(delay=0.3)
    await happen()
    running = asyncio.create_task(run_due(runtime))
    await receiver.called.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert (await only_delivery(client, endpoint))["attempt_count"] == 0
    await jobs.free_all(runtime.db)
    await run_due(runtime)
    delivery = await only_delivery(client, endpoint)
    assert (delivery["status"], delivery["attempt_count"]) == ("succeeded", 1)
    assert len(receiver.calls) == 2
    assert len({(call.headers["webhook-id"], call.body) for call in receiver.calls}) == 1


async def test_deleting_an_endpoint_with_waiting_deliveries_does_no_harm(
    client: Client, runtime: Runtime, register: Register, happen: Happen, receiver: Receiver
) -> None:
    endpoint = await register()
    receiver.otherwise = Reply(500)
    await happen(times=2)
    await run_due(runtime)
    assert (await client.delete(f"/webhooks/{endpoint['id']}")).status_code == 204
    await make_due(runtime)
    assert await run_due(runtime) == ["webhooks.attempt"] * 2
    assert len(receiver.calls) == 2
    assert await jobs_left(runtime) == 0


async def test_an_endpoint_deleted_during_its_call_does_no_harm(
    client: Client, runtime: Runtime, register: Register, happen: Happen, receiver: Receiver
) -> None:
    endpoint = await register()
    receiver.otherwise = Reply(500, delay=0.3)
    await happen()
    running = asyncio.create_task(run_due(runtime))
    await receiver.called.wait()
    assert (await client.delete(f"/webhooks/{endpoint['id']}")).status_code == 204
    await running
    assert await jobs_left(runtime) == 0


async def _attempt(runtime: Runtime, endpoint: Any, number: int) -> None:
    async with runtime.db.read() as session:
        delivery_id = (await session.scalars(select(WebhookDelivery.id))).one()
    run = handlers(runtime)["webhooks.attempt"].run
    await run({"delivery_id": str(delivery_id), "number": number})


async def _run_one(runtime: Runtime, name: str) -> None:
    async with runtime.db.read() as session:
        job_id = (await session.scalars(select(Job.id).where(Job.name == name))).one()
    await jobs.run(runtime.db, job_id, handlers(runtime), lease=30)
