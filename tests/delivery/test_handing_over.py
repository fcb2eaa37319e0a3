"""A job that finds its batch in other hands, just as these let go of it."""

from uuid import UUID

import pytest
from sqlalchemy import update

from newsletter.delivery import batches
from newsletter.delivery.batches import Claim
from newsletter.delivery.models import Batch, BatchStatus, Outcome
from newsletter.kit.db import Database, db_in
from newsletter.runtime import Runtime
from tests.delivery.conftest import Launch
from tests.jobs import run_due


async def test_a_batch_that_is_given_back_while_another_job_looks_is_not_forgotten(
    launch: Launch, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owner came back from an outage: another job had taken over its own, found the batch
    leased, and looked again after the owner gave it back. Both then thought the other would come."""
    sent = await launch(5)
    real_claim = batches.claim
    missed = False

    async def claim(db: Database, batch_id: UUID, lease: float, *max_crashes: int, job: str) -> Claim | None:
        nonlocal missed
        if not missed:
            missed = True
            return None  # As it is while the owner still has it.
        return await real_claim(db, batch_id, lease, *max_crashes, job=job)

    monkeypatch.setattr(batches, "claim", claim)
    await run_due(runtime)
    assert missed
    assert set((await sent.outcomes()).values()) == {Outcome.sent}


async def test_a_job_comes_again_when_the_batch_is_free_and_not_at_all_when_it_is_done_or_parked(
    launch: Launch, runtime: Runtime
) -> None:
    sent = await launch(5)
    [batch] = await sent.batches()

    async def wait(**values: object) -> float | None:
        async with runtime.db.unit_of_work() as session:
            await session.execute(update(Batch).where(Batch.id == batch.id).values(**values))
        return await batches.seconds_until_free(runtime.db, batch.id)

    leased = await wait(status=BatchStatus.leased, lease_until=db_in(60), due_at=db_in(-5))
    assert leased is not None
    assert 0 < leased <= 60
    assert await wait(status=BatchStatus.waiting, lease_until=None) == 0
    later = await wait(due_at=db_in(60))
    assert later is not None
    assert 0 < later <= 60
    assert await wait(due_at=None) is None
    assert await wait(status=BatchStatus.done, due_at=db_in(-5)) is None
