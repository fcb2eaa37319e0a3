"""Whatever the model's server does: a good draft or a coded error, in three calls at most."""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from newsletter.copywriting import writer
from newsletter.copywriting.draft import Brief, Draft
from newsletter.copywriting.prompts import Task
from newsletter.copywriting.writer import AIFailed, AINotConfigured
from newsletter.llm import Usage
from newsletter.llm.client import OpenAIModel
from newsletter.settings import AISettings
from tests import fake_model as fakes
from tests.fake_model import Behaviour, FakeModel

Limits = Callable[..., AISettings]


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "_FIRST_PAUSE", 0.01)


def body(text: str) -> Behaviour:
    return fakes.well(body_html=text)


GOOD_AFTER = {
    "a busy server": [fakes.busy(0), fakes.well()],
    "a busy server that names a time": [fakes.busy(1), fakes.well()],
    "a busy server that names none": [fakes.fails(429), fakes.well()],
    "two failures": [fakes.fails(500), fakes.fails(503), fakes.well()],
    "a cut connection": [fakes.cuts(), fakes.well()],
    "a call that never ends": [fakes.slowly(60), fakes.well()],
    "a call that drips": [fakes.drips(60), fakes.well()],
    "something else than JSON": [fakes.says("Sure! Here is your newsletter."), fakes.well()],
    "broken JSON": [fakes.says('{"subject": "A", "preheader": '), fakes.well()],
    "a missing field": [fakes.says('{"subject": "A"}'), fakes.well()],
    "a wrong type": [fakes.well(subject=["A"]), fakes.well()],
    "an array": [fakes.says("[1, 2]"), fakes.well()],
    "deep nesting": [fakes.says('{"subject":' * 50_000), fakes.well()],
    "an empty answer": [fakes.says(""), fakes.well()],
    "an empty body": [body(""), fakes.well()],
    "a body that was all script": [body("<script>alert(1)</script>"), fakes.well()],
    "a body of braces": [body("<p>{{{{{{ }} {% for %}</p>"), fakes.well()],
    "a cut answer": [fakes.truncated(), fakes.well()],
    "no chat completion": [fakes.garbled(), fakes.well()],
    "a server without json_schema": [fakes.picky(formats=("json_object",), status=500)],
    "a server without any format": [fakes.picky(formats=())],
    "a server without max_tokens": [fakes.picky(options=("max_completion_tokens",))],
    "a fence": [fakes.says(f"Here:\n```json\n{json.dumps(fakes.DRAFT)}\n```\nEnjoy {{name}}!")],
    "thoughts": [fakes.says("<think>{maybe}</think>" + json.dumps(fakes.DRAFT))],
    "raw control characters": [
        fakes.says('{"subject": "A\x01\tB", "preheader": "x", "body_html": "<p>Line\none\x0c</p>"}')
    ],
    "a lone surrogate": [
        fakes.says('{"subject": "A \\ud800", "preheader": "x", "body_html": "<p>Hi \\udfff</p>"}')
    ],
    "other fields": [fakes.obedient()],
}


@pytest.mark.parametrize("behaviours", GOOD_AFTER.values(), ids=GOOD_AFTER.keys())
async def test_a_good_draft_after(
    behaviours: list[Behaviour],
    fake_server: FakeModel,
    model: OpenAIModel,
    task: Task,
    brief: Brief,
    limits: Limits,
) -> None:
    fake_server.script(*behaviours)
    draft = await writer.write(model, task, brief, limits())
    assert draft.subject
    assert draft.body.startswith("<p>")
    assert draft.writer == "model"
    assert draft.usage.calls == len(fake_server.requests) <= 3
    (draft.subject + draft.preheader + draft.body).encode("utf-8")


FAILURES = {
    "busy for ever": ([fakes.busy(0)], 3, "retryable"),
    "busy for too long": ([fakes.busy(3600)], 1, "retryable"),
    "failing for ever": ([fakes.fails(500)], 3, "retryable"),
    "cut for ever": ([fakes.cuts()], 3, "retryable"),
    "slow for ever": ([fakes.slowly(60)], 3, "retryable"),
    "broken for ever": ([fakes.says("no")], 2, "unusable"),
    "missing fields for ever": ([fakes.says('{"subject": "A"}')], 2, "unusable"),
    "empty for ever": ([fakes.says("")], 3, "retryable"),
    "no text for ever": ([body("<img src='https://evil.test/a.png'>")], 2, "unusable"),
    "cut short for ever": ([fakes.truncated()], 2, "truncated"),
    "a refusal": ([fakes.refuses(), fakes.well()], 1, "refused"),
    "a content filter": ([fakes.filtered(), fakes.well()], 1, "refused"),
    "five megabytes": ([fakes.huge(), fakes.well()], 1, "toolong"),
    "a wrong key": ([fakes.fails(401), fakes.well()], 1, "misconfigured"),
    "an unknown model": ([fakes.fails(404), fakes.well()], 1, "misconfigured"),
}


@pytest.mark.parametrize(("behaviours", "calls", "reason"), FAILURES.values(), ids=FAILURES.keys())
async def test_a_coded_error_for(
    behaviours: list[Behaviour],
    calls: int,
    reason: str,
    fake_server: FakeModel,
    model: OpenAIModel,
    task: Task,
    brief: Brief,
    limits: Limits,
) -> None:
    fake_server.script(*behaviours)
    with pytest.raises(AIFailed) as raised:
        await writer.write(model, task, brief, limits(timeout=0.5))
    error = raised.value
    assert (error.status, error.code) == (502, "ai_failed")
    assert error.usage.calls == len(fake_server.requests) == calls
    assert type(error.__cause__).__name__.lower() == reason
    assert len(error.message) > 40


async def test_the_deadline_ends_everything(
    fake_server: FakeModel, model: OpenAIModel, task: Task, brief: Brief, limits: Limits
) -> None:
    fake_server.script(fakes.slowly(60))
    started = time.monotonic()
    with pytest.raises(AIFailed, match="within 1 seconds") as raised:
        await writer.write(model, task, brief, limits(timeout=30, deadline=1))
    assert time.monotonic() - started < 10
    assert raised.value.usage.calls == 1, "the call that was under way is counted"


async def test_retry_after_beyond_the_deadline_is_passed_on(
    fake_server: FakeModel, model: OpenAIModel, task: Task, brief: Brief, limits: Limits
) -> None:
    fake_server.script(fakes.busy(120))
    with pytest.raises(AIFailed) as raised:
        await writer.write(model, task, brief, limits())
    assert raised.value.retry_after == 120


async def test_a_cancelled_caller_is_not_told_of_a_failure(
    fake_server: FakeModel, model: OpenAIModel, task: Task, brief: Brief, limits: Limits
) -> None:
    fake_server.script(fakes.slowly(60))
    generation = asyncio.create_task(writer.write(model, task, brief, limits(timeout=30, deadline=60)))
    await asyncio.sleep(0.2)
    generation.cancel()
    with pytest.raises(asyncio.CancelledError):
        await generation


async def test_a_draft_names_all_that_made_it(
    fake_server: FakeModel, model: OpenAIModel, task: Task, brief: Brief, limits: Limits
) -> None:
    draft = await writer.write(model, task, brief, limits())
    assert draft.model == "fake-1"
    assert (draft.prompt_name, draft.prompt_hash) == ("newsletter", task.hash)
    assert draft.voice_version == 3
    assert draft.usage == Usage(1, 100, 50)
    assert draft.notes == ()


async def test_the_repair_round_quotes_the_validator_once(
    fake_server: FakeModel, model: OpenAIModel, task: Task, brief: Brief, limits: Limits
) -> None:
    fake_server.script(fakes.says('{"subject": "A", "preheader": "B"}'), fakes.well())
    draft = await writer.write(model, task, brief, limits())
    first, second = (request.body["messages"] for request in fake_server.requests)
    assert second[: len(first)] == first
    assert second[-2] == {"role": "assistant", "content": '{"subject": "A", "preheader": "B"}'}
    assert "body_html: Field required" in second[-1]["content"]
    assert draft.usage == Usage(2, 200, 100)


async def test_a_banned_word_is_mended_by_the_repair_round(
    fake_server: FakeModel, model: OpenAIModel, task: Task, brief: Brief, limits: Limits
) -> None:
    fake_server.script(body("<p>Cheap lamps for you.</p>"), fakes.well())
    draft = await writer.write(model, task, brief, limits())
    assert "bans these words: cheap" in fake_server.requests[1].prompt
    assert "Cheap" not in draft.body
    assert draft.notes == ()


async def test_a_banned_word_that_stays_is_noted(
    fake_server: FakeModel, model: OpenAIModel, task: Task, brief: Brief, limits: Limits
) -> None:
    fake_server.script(body("<p>Cheap lamps for you.</p>"))
    draft = await writer.write(model, task, brief, limits())
    assert draft.usage.calls == 2, "one repair round, no second"
    assert draft.notes == ("The text uses banned words: cheap.",)


async def test_a_usable_answer_survives_a_repair_round_that_fails(
    fake_server: FakeModel, model: OpenAIModel, task: Task, brief: Brief, limits: Limits
) -> None:
    for trouble in (fakes.fails(500), fakes.refuses(), fakes.says("no"), fakes.slowly(60)):
        fake_server.script(body("<p>Cheap lamps for you.</p>"), trouble)
        draft = await writer.write(model, task, brief, limits(timeout=0.5, deadline=4))
        assert "Cheap lamps" in draft.body
        assert draft.notes


async def test_with_one_call_there_is_no_repair_round(
    fake_server: FakeModel, model: OpenAIModel, task: Task, brief: Brief, limits: Limits
) -> None:
    fake_server.script(fakes.says("no"), fakes.well())
    with pytest.raises(AIFailed):
        await writer.write(model, task, brief, limits(max_calls=1))
    assert len(fake_server.requests) == 1


async def test_an_unknown_server_learned_in_two_calls_still_gives_a_draft(
    fake_server: FakeModel, model: OpenAIModel, task: Task, brief: Brief, limits: Limits
) -> None:
    fake_server.script(fakes.picky(formats=(), options=("max_completion_tokens",)))
    assert (await writer.write(model, task, brief, limits())).usage.calls == 3
    assert (await writer.write(model, task, brief, limits())).usage.calls == 1, "remembered"


async def test_the_callers_subject_and_preheader_win(
    fake_server: FakeModel, model: OpenAIModel, task: Task, brief: Brief, limits: Limits
) -> None:
    settled = replace(brief, subject="Settled {{ first_name }}", preheader="Also settled")
    draft = await writer.write(model, task, settled, limits())
    assert (draft.subject, draft.preheader) == ("Settled {{ first_name }}", "Also settled")
    assert "Settled {{ first_name }}" in fake_server.requests[0].prompt


async def test_long_lines_are_asked_for_again_and_shortened_in_the_end(
    fake_server: FakeModel, model: OpenAIModel, task: Task, brief: Brief, limits: Limits
) -> None:
    fake_server.script(fakes.well(subject="lamp " * 40, preheader="warm " * 40))
    draft = await writer.write(model, task, brief, limits())
    assert draft.usage.calls == 2
    assert len(draft.subject) <= 78
    assert len(draft.preheader) <= 150
    assert len(draft.notes) == 2


def assert_harmless(draft: Draft) -> None:
    whole = draft.subject + draft.preheader + draft.body
    for evil in (
        "evil",
        "script",
        "onclick",
        "iframe",
        "<form",
        "<input",
        "api_key",
        "SECRET",
        "{%",
        "style=",
    ):
        assert evil not in whole, evil


async def test_a_model_that_obeys_every_injection_does_no_harm(
    fake_server: FakeModel, model: OpenAIModel, task: Task, brief: Brief, limits: Limits
) -> None:
    fake_server.script(fakes.obedient())
    draft = await writer.write(model, task, brief, limits())
    assert_harmless(draft)
    assert "Confirm your account" in draft.body, "the text of a removed link stays"
    assert "https://evil.test/login?e={{ email }}" in draft.removed_links
    assert any("SECRET_KEY" in tag for tag in draft.removed_tags)
    for request in fake_server.requests:
        assert not {"tools", "functions", "tool_choice"} & request.body.keys(), "the model has no tools"


def test_no_model_has_its_own_code() -> None:
    error = AINotConfigured()
    assert (error.status, error.code) == (503, "ai_not_configured")
    assert "OPENAI_API_KEY" in error.message
