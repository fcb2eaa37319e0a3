"""A task, a brief and a scripted model."""

from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from newsletter.copywriting.draft import Brief
from newsletter.copywriting.prompts import Task
from newsletter.copywriting.voice import VoiceCard
from newsletter.kit.resources import Resources
from newsletter.llm.client import OpenAIModel
from newsletter.settings import AISettings
from tests.fake_model import FakeModel

PROMPT = "Announce our autumn lamps, see https://acme.example/autumn. Questions go to help@acme.example."


@pytest.fixture(scope="session")
def task() -> Task:
    return Task.load(Resources("prompts"))


@pytest.fixture
def brief() -> Brief:
    return Brief(
        prompt=PROMPT,
        voice=VoiceCard(about="Acme makes lamps.", banned_words=("cheap",), sign_off="Anna", version=3),
        brand_name="Acme",
        website_url="https://acme.example",
        locale="en",
        fields=frozenset({"first_name", "email", "unsubscribe_url"}),
        known_links=frozenset({"https://social.example/acme"}),
    )


@pytest.fixture(scope="session")
def fake_server() -> Iterator[FakeModel]:
    with FakeModel.start() as fake:
        yield fake


@pytest.fixture
async def model(fake_server: FakeModel) -> AsyncIterator[OpenAIModel]:
    fake_server.script()
    client = OpenAIModel("some-model", base_url=fake_server.base_url)
    yield client
    await client.aclose()


@pytest.fixture
def limits() -> Callable[..., AISettings]:
    """Small ones: 2 seconds a call, 3 calls, 6 seconds in all."""

    def make(**changes: float) -> AISettings:
        return AISettings.model_validate({"timeout": 2, "max_calls": 3, "deadline": 6, **changes})

    return make
