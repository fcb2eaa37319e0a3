"""Automations whose process dies in the middle of steps: each step of each run is taken once, with what it
causes, and no run is left behind."""

import asyncio
from collections import Counter
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import func, select

from newsletter.automations.models import Run, RunStatus, RunStep
from newsletter.delivery.ledger import OPEN
from newsletter.delivery.models import Mailing, MailingKind, Message, Outcome
from tests.conftest import SIZE
from tests.faults.campaign import wait_for
from tests.faults.conftest import TWO_BLOCKS, World
from tests.faults.processes import Newsletter

READERS = 300
BLOCK = 30
"""Runs of a transaction: there are at least ten for each step."""
STEPS: list[dict[str, Any]] = [
    {"id": "hello", "send": {"subject": "Hello", "html": "<p>Hello {{ first_name }}</p>"}},
    {"id": "mark", "tag": {"add": ["greeted"]}},
    {"id": "rest", "wait": {"seconds": 1}},
    {
        "id": "look",
        "branch": {
            "when": {"tag": "greeted"},
            "yes": [{"id": "bye", "send": {"subject": "Goodbye", "html": "<p>That was it</p>"}}],
        },
    },
]
TAKEN = [("hello", "sent"), ("mark", "tagged"), ("rest", "waited"), ("look", "yes"), ("bye", "sent")]

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]


@pytest.mark.parametrize("block", [1, 4])
async def test_a_process_that_dies_between_the_mails_of_a_step_and_its_books_leaves_neither(
    world: World, block: int
) -> None:
    world.set(automation_block=BLOCK)
    mortal = world.with_options({"mortal_block": block})
    victim: Newsletter
    heir: Newsletter
    if SIZE == "embedded":
        victim = api = mortal.api("tests.faults.mortal")
        heir = world.installation.api()
    else:
        victim, heir = mortal.worker("tests.faults.mortal"), world.installation.worker()
        api, _ = await world.start()
    for process in (victim, heir):
        world.stack.callback(process.close)
    await asyncio.to_thread(victim.start)
    await _begin(world, api.url)
    await wait_for(lambda: not victim.is_running, 60, "the process is dead")
    await asyncio.to_thread(heir.start)
    await wait_for(partial(_is_over, world), 120, "every run is over, and every mail decided")
    await _check(world)


async def _begin(world: World, url: str) -> None:
    """Everybody of the list starts at once."""
    body = {
        "name": "Under fault",
        "list_id": world.seeded.lists[READERS],
        "start": {"condition": {"when": {"none": [{"tag": "staff"}]}}},
        "steps": STEPS,
    }
    async with world.campaign(READERS).http(url) as client:
        made = await client.post("/automations", json=body)
        assert made.status_code == 201, made.text
        try:
            begun = await client.post(f"/automations/{made.json()['data']['id']}/activate")
        except httpx.TransportError:
            return  # The one process may be dead before it answers.
        assert begun.status_code == 200, begun.text


async def _is_over(world: World) -> bool:
    async with world.db.read() as session:
        completed = select(func.count()).where(Run.status == RunStatus.completed)
        still = select(func.count()).where(Message.outcome.in_(OPEN))
        counted = [(await session.execute(each)).scalar_one() for each in (completed, still)]
        return counted == [READERS, 0]


async def _check(world: World) -> None:
    async with world.db.read() as session:
        begun = {run.id: run for run in await session.scalars(select(Run))}
        steps = (await session.scalars(select(RunStep).order_by(RunStep.run_id, RunStep.number))).all()
        mine = select(Message).join(Mailing, Mailing.id == Message.mailing_id)
        of_automations = mine.where(Mailing.kind == MailingKind.automation)
        rows = (await session.scalars(of_automations)).all()
    messages: dict[tuple[UUID | None, int | None], Message] = {(row.mailing_id, row.seq): row for row in rows}
    assert len({run.subscriber_id for run in begun.values()}) == len(begun) == READERS
    for run_id, taken in groupby(steps, attrgetter("run_id")):
        assert [(step.step_id, step.outcome.value) for step in taken] == TAKEN, run_id
    # Every message is that of one step, and every step that sends has one, to its own subscriber.
    sent = {(step.mailing_id, step.seq): step.run_id for step in steps if step.mailing_id and step.seq}
    assert len(sent) == 2 * READERS
    assert sent.keys() == messages.keys()
    for key, run_id in sent.items():
        assert messages[key].subscriber_id == begun[run_id].subscriber_id
    assert set(Counter(mail.message_id for mail in world.sink.mails).values()) == {1}
    came = Counter(mail.recipient for mail in world.sink.mails)
    recorded = Counter(row.address for row in rows if row.outcome is Outcome.sent)
    for row in rows:
        assert recorded[row.address] <= came[row.address] <= 2
    outcomes = Counter(message.outcome for message in messages.values())
    assert outcomes[Outcome.unknown] <= TWO_BLOCKS
    assert outcomes[Outcome.sent] + outcomes[Outcome.unknown] == 2 * READERS
