"""What is remembered of calls ends after its days; what is still to be called stays."""

from datetime import timedelta

from newsletter.kit import clock
from newsletter.runtime import Runtime
from newsletter.webhooks.retention import drop_deliveries
from tests.client import Client
from tests.jobs import run_due
from tests.receiver import Receiver, Reply
from tests.webhooks.conftest import Happen, Register
from tests.webhooks.test_order import statuses


async def test_calls_that_are_over_end_and_open_ones_stay(
    client: Client, runtime: Runtime, register: Register, happen: Happen, receiver: Receiver
) -> None:
    endpoint = await register()
    await happen(times=2)
    await run_due(runtime)
    receiver.replies.append(Reply(503))
    await happen(times=1)
    await run_due(runtime)
    assert await statuses(client, endpoint) == ["succeeded", "succeeded", "retrying"]
    now = clock.now()
    assert not await drop_deliveries(runtime.db, now - timedelta(days=1))
    assert await drop_deliveries(runtime.db, now + timedelta(seconds=1))
    assert not await drop_deliveries(runtime.db, now + timedelta(seconds=1))
    assert await statuses(client, endpoint) == ["retrying"]
