"""What runs twice, dies midway or loses its endpoint leaves the same books."""

import asyncio
from uuid import UUID

from sqlalchemy import select, update

from newsletter.kit import ids, jobs
from newsletter.kit.jobs import Job
from newsletter.runtime import Runtime
from newsletter.webhooks import fanning
from newsletter.webhooks.models import Endpoint
from tests.client import Client
from tests.jobs import make_due, run_due
from tests.receiver import Receiver, Reply
from tests.webhooks.conftest import Happen, Register
from tests.webhooks.deliveries import jobs_left, only_delivery, serve
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


async def test_a_second_turn_calls_nothing_that_is_not_due(
    client: Client, runtime: Runtime, register: Register, happen: Happen, receiver: Receiver
) -> None:
    endpoint = await register()
    receiver.replies.append(Reply(500))
    await happen()
    await run_due(runtime)
    await serve(runtime, endpoint)
    assert len(receiver.calls) == 1
    await make_due(runtime)
    await run_due(runtime)
    after = await only_delivery(client, endpoint)
    assert (after["status"], after["attempt_count"]) == ("succeeded", 2)
    await serve(runtime, endpoint)
    assert len(receiver.calls) == 2
    assert await only_delivery(client, endpoint) == after


async def test_a_turn_is_one_job_s_at_a_time(
    client: Client, runtime: Runtime, register: Register, happen: Happen, receiver: Receiver
) -> None:
    endpoint = await register()
    receiver.go_on.clear()
    await happen()
    await _run_one(runtime, "webhooks.fan_out")
    running = asyncio.create_task(_run_one(runtime, "webhooks.deliver"))
    await receiver.called.wait()
    await serve(runtime, endpoint)
    assert len(receiver.calls) == 1
    receiver.go_on.set()
    await running
    delivery = await only_delivery(client, endpoint)
    assert (delivery["status"], delivery["attempt_count"]) == ("succeeded", 1)


async def test_a_turn_that_was_taken_over_writes_nothing_more(
    client: Client, runtime: Runtime, register: Register, happen: Happen, receiver: Receiver
) -> None:
    """As of a process that was stopped for so long that its job was given to another."""
    endpoint = await register()
    receiver.otherwise = Reply(500)
    receiver.go_on.clear()
    await happen()
    await _run_one(runtime, "webhooks.fan_out")
    async with runtime.db.read() as session:
        job_id = (await session.scalars(select(Job.id).where(Job.name == "webhooks.deliver"))).one()
    first = asyncio.create_task(_run_one(runtime, "webhooks.deliver"))
    await receiver.called.wait()
    receiver.called.clear()
    second = asyncio.create_task(serve(runtime, endpoint, job_id))
    await receiver.called.wait()
    receiver.go_on.set()
    await asyncio.gather(first, second)
    delivery = await only_delivery(client, endpoint)
    assert delivery["attempt_count"] == len(delivery["attempts"]) == 1
    assert (await client.data("GET", f"/webhooks/{endpoint['id']}"))["consecutive_failures"] == 1


async def test_a_turn_whose_job_somebody_deleted_is_free(
    client: Client, runtime: Runtime, register: Register, happen: Happen, receiver: Receiver
) -> None:
    endpoint = await register()
    await happen()
    await _run_one(runtime, "webhooks.fan_out")
    async with runtime.db.unit_of_work() as session:
        await session.execute(update(Endpoint).values(turn_job_id=ids.uuid7()))
    await run_due(runtime)
    assert (await only_delivery(client, endpoint))["status"] == "succeeded"


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
    assert await run_due(runtime) == ["webhooks.deliver"]
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


async def _run_one(runtime: Runtime, name: str) -> None:
    async with runtime.db.read() as session:
        job_id = (await session.scalars(select(Job.id).where(Job.name == name))).one()
    await jobs.run(runtime.db, job_id, handlers(runtime), lease=30)
