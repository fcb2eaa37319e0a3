"""RabbitMQ in the place of Redis: it wakes workers, and nothing is lost with it."""

import asyncio
from collections.abc import Iterator

import pytest

from newsletter.doctor import services
from newsletter.doctor.finding import Level
from newsletter.settings import Settings
from tests.conftest import SECRET_KEY, SIZE
from tests.faults.conftest import World
from tests.rabbitmq import RabbitMQ
from tests.services import require

pytestmark = [
    pytest.mark.faults,
    pytest.mark.timeout(300),
    pytest.mark.skipif(SIZE != "distributed", reason="needs the distributed size"),
]


@pytest.fixture
def rabbitmq() -> Iterator[RabbitMQ]:
    require(RabbitMQ)
    with RabbitMQ() as server:
        yield server


async def test_a_campaign_goes_out_by_rabbitmq_which_is_killed_on_the_way(
    world: World, rabbitmq: RabbitMQ
) -> None:
    world.set(broker_url=rabbitmq.url)
    api, _ = await world.start(workers=2)
    async with world.campaign(300).http(api.url) as client:
        probed = (await client.get(f"{api.url}/readyz")).json()
    assert probed["checks"]["broker"] == "ok"

    first = world.campaign(2_000)
    await first.start(api.url)
    await first.goes_on(15)  # Before a sweeper rings again for what nobody took.
    verdict = await first.end()
    assert (verdict.sent, verdict.unknown) == (2_000, 0)

    world.sink.mails.clear()
    world.sink.faults.delay = 0.005
    second = world.campaign(2_000)
    await second.start(api.url)
    await second.received(500)
    rabbitmq.kill()
    async with second.http(api.url) as client:
        degraded = await client.get(f"{api.url}/readyz")
    assert (degraded.status_code, degraded.json()["status"]) == (200, "degraded")
    rabbitmq.start()
    verdict = await second.end()
    assert (verdict.sent, verdict.unknown) == (2_000, 0)


async def test_the_doctor_asks_rabbitmq_and_shows_no_password(rabbitmq: RabbitMQ) -> None:
    settings = Settings(broker_url=rabbitmq.url, secret_key=SECRET_KEY)
    found, limits = await services.broker(settings)
    assert (found.level, found.text) == (Level.ok, f"RabbitMQ at amqp://127.0.0.1:{rabbitmq.port}/%2F")
    assert limits.level is Level.warning
    assert "NEWSLETTER_REDIS_URL" in limits.mend

    wrong = settings.model_copy(update={"broker_url": rabbitmq.url.replace(":guest@", ":hush@")})
    refused, _ = await services.broker(wrong)
    await asyncio.to_thread(rabbitmq.kill)
    away, _ = await services.broker(settings)
    assert (refused.level, away.level) == (Level.broken, Level.broken)
    assert "ACCESS_REFUSED" in refused.text
    assert "NEWSLETTER_BROKER_URL" in away.mend
    assert "hush" not in refused.text + refused.mend
