"""The API dies while it answers: a call that is repeated with its key has one effect."""

import asyncio
import contextlib

import httpx
import pytest
from sqlalchemy import func, select, update

from newsletter.campaigns.models import Campaign as CampaignRow
from newsletter.copywriting.models import Generation
from newsletter.delivery.models import Mailing
from newsletter.kit.db import db_in
from newsletter.kit.idempotency import IdempotencyKey
from tests.conftest import SIZE
from tests.fake_model import fake_model, slowly, well
from tests.faults.campaign import Campaign, wait_for
from tests.faults.conftest import World

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

MOMENTS = (0.005, 0.02, 0.06)
"""Seconds after the call at which the process dies."""


async def effects(campaign: Campaign) -> tuple[int, int]:
    """How many campaigns and mailings there are."""
    async with campaign.db.read() as session:
        campaigns = await session.execute(select(func.count()).select_from(CampaignRow))
        mailings = await session.execute(select(func.count()).select_from(Mailing))
        return campaigns.scalar_one(), mailings.scalar_one()


async def let_the_key_lapse(campaign: Campaign) -> None:
    """In place of waiting for the lease of a call that nobody carries out any more."""
    async with campaign.db.unit_of_work() as session:
        await session.execute(update(IdempotencyKey).values(lease_until=db_in(-1)))


async def test_a_launch_that_dies_at_any_moment_and_is_repeated_is_one_campaign(world: World) -> None:
    api, _ = await world.start()
    campaign = world.campaign(300)
    for number, moment in enumerate(MOMENTS, start=1):
        headers = {"Idempotency-Key": f"launch {number}"}
        async with campaign.http(api.url) as client:
            call = asyncio.create_task(client.post("/campaigns", json=campaign.body, headers=headers))
            await asyncio.sleep(moment)
            api.kill()
            with contextlib.suppress(httpx.TransportError):
                await call
        await let_the_key_lapse(campaign)
        api.start()
        async with campaign.http(api.url) as client:
            first = await client.post("/campaigns", json=campaign.body, headers=headers)
            second = await client.post("/campaigns", json=campaign.body, headers=headers)
        assert (first.status_code, second.status_code) == (201, 201)
        assert first.json() == second.json()
        assert await effects(campaign) == (number, number)


async def test_a_generation_that_dies_is_written_once_when_it_is_repeated(world: World) -> None:
    with fake_model(slowly(60)) as model:
        world.set(openai_base_url=model.base_url)
        api, _ = await world.start()
        campaign = world.campaign(300)
        body = {"list_id": campaign.list_id, "ai": {"prompt": "Small lamps for long evenings"}}
        headers = {"Idempotency-Key": "one newsletter"}
        async with campaign.http(api.url) as client:
            call = asyncio.create_task(client.post("/campaigns", json=body, headers=headers))
            await wait_for(lambda: len(model.requests) == 1, 30, "the model is asked")
            repeated = await client.post("/campaigns", json=body, headers=headers)
            assert (repeated.status_code, repeated.json()["error"]["code"]) == (
                409,
                "idempotency_in_progress",
            )
            api.kill()
            with pytest.raises(httpx.TransportError):
                await call
        model.script(well())
        await let_the_key_lapse(campaign)
        async with campaign.db.unit_of_work() as session:
            await session.execute(update(Generation).values(deadline=db_in(-1)))
        api.start()
        async with campaign.http(api.url) as client:
            first = await client.post("/campaigns", json=body, headers=headers)
            second = await client.post("/campaigns", json=body, headers=headers)
            assert (first.status_code, second.status_code) == (201, 201)
            assert second.headers["idempotent-replayed"] == "true"
            assert await effects(campaign) == (1, 0)
            assert len(model.requests) == 1, "one generation for two calls"

            if SIZE == "distributed":
                await world.add_worker()  # Its sweeper gives back what nobody settled.

            async def is_settled() -> bool:
                usage = (await client.get("/account/usage")).json()["data"]["generations"]
                return (usage["used"], usage["reserved"]) == (1, 0)

            await wait_for(is_settled, 40, "the unit of the dead generation is given back")
