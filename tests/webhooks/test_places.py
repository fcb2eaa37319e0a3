"""Endpoints that say nothing hold back no other project."""

from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import update

from newsletter.accounts.project import Project
from newsletter.events import service as events
from newsletter.events.vocabulary import EventType
from newsletter.kit import ids
from newsletter.kit.jobs import Job
from newsletter.runtime import Runtime
from newsletter.settings import Settings, WebhookSettings
from newsletter.webhooks.silence import Silence
from tests.client import Client
from tests.conftest import MakeClient, MakeProject
from tests.jobs import until, workers
from tests.receiver import Receiver
from tests.webhooks.conftest import CAMPAIGN

SILENT = 20
"""As many endpoints as a project may have, and more than a process calls at the same time."""


@pytest.fixture
def webhook_settings() -> WebhookSettings:
    """A call may take a minute: longer than anybody waits here."""
    return WebhookSettings(allowed_ranges=("127.0.0.0/8",), timeout=60)


async def happen(runtime: Runtime, project: Project) -> None:
    async with runtime.db.unit_of_work() as session:
        await events.record_many(session, project.id, EventType.campaign_sent, [CAMPAIGN])
        # The sweeper of the workers rings for what was never rung for.
        await session.execute(update(Job).values(rung_at=None))


async def test_twenty_silent_endpoints_of_a_project_hold_back_no_other(
    client: Client,
    project: Project,
    runtime: Runtime,
    settings: Settings,
    make_client: MakeClient,
    make_project: MakeProject,
    receiver: Receiver,
) -> None:
    assert settings.webhooks.threads < SILENT <= settings.webhooks.silent_of_project
    for _ in range(SILENT):
        await client.data("POST", "/webhooks", 201, json={"url": receiver.url})
    receiver.go_on.clear()
    other = await make_project(name="Other")
    async with Receiver() as heard, workers(settings):
        body: dict[str, Any] = {"url": heard.url}
        await (await make_client(other)).data("POST", "/webhooks", 201, json=body)
        await happen(runtime, project)
        await until(lambda: len(receiver.calls) >= settings.webhooks.threads)
        await happen(runtime, other)
        await until(lambda: len(heard.calls) == 1)
        # And all of its own are called by then or soon.
        await until(lambda: len(receiver.calls) == SILENT)
        assert receiver.answered == 0
        receiver.go_on.set()
        await until(lambda: receiver.answered == SILENT)


def test_what_is_silent_beyond_its_share_keeps_its_place() -> None:
    left: list[UUID] = []
    silence = Silence(left.append, most=3, most_of_project=2)
    one, other = ids.uuid7(), ids.uuid7()
    jobs = [ids.uuid7() for _ in range(6)]

    assert [silence.begin(one, job) for job in jobs[:3]] == [True, True, False]
    assert [silence.begin(other, job) for job in jobs[3:5]] == [True, False]
    assert left == [jobs[0], jobs[1], jobs[3]]
    silence.end(one)
    assert silence.begin(other, jobs[5])
