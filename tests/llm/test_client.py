"""The client against a real socket: what each kind of answer becomes."""

import asyncio
import gzip
import threading
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from newsletter.llm import (
    Adapted,
    Answer,
    Message,
    Misconfigured,
    Model,
    ModelError,
    Refused,
    Retryable,
    TooLong,
    Truncated,
    connect,
)
from newsletter.llm.client import OpenAIModel
from newsletter.llm.dialect import Rung
from newsletter.settings import AISettings
from tests import fake_model as fakes
from tests.fake_model import Behaviour, FakeModel

SCHEMA = {
    "type": "object",
    "properties": {"subject": {"type": "string", "maxLength": 78}},
    "required": ["subject"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def server() -> Iterator[FakeModel]:
    with FakeModel.start() as fake:
        yield fake


@pytest.fixture
async def model(server: FakeModel) -> AsyncIterator[OpenAIModel]:
    server.script(fakes.well())
    client = OpenAIModel("some-model", base_url=server.base_url, max_answer_bytes=200_000)
    yield client
    await client.aclose()


async def ask(model: Model, seconds: float = 5) -> Answer:
    return await model.complete(
        [Message("system", "Write."), Message("user", "Lamps.")],
        SCHEMA,
        temperature=0.7,
        max_tokens=500,
        seconds=seconds,
    )


async def test_an_answer_carries_text_tokens_and_the_model_that_wrote_it(
    server: FakeModel, model: OpenAIModel
) -> None:
    answer = await ask(model)
    assert "Small lamps" in answer.text
    assert (answer.usage.calls, answer.usage.input_tokens, answer.usage.output_tokens) == (1, 100, 50)
    assert answer.model == "fake-1"
    body = server.requests[0].body
    assert body["model"] == "some-model"
    assert body["messages"] == [
        {"role": "system", "content": "Write."},
        {"role": "user", "content": "Lamps."},
    ]
    assert body["response_format"]["json_schema"]["strict"] is True
    assert (body["temperature"], body["max_tokens"]) == (0.7, 500)
    assert "tools" not in body


async def test_a_server_without_keys_gets_a_placeholder_and_one_with_keys_the_key(server: FakeModel) -> None:
    server.script(fakes.well())
    for key, header in ((None, "Bearer none"), ("sk-test", "Bearer sk-test")):
        settings = AISettings(base_url=server.base_url, api_key=key)
        client = connect(settings)
        assert client is not None
        await ask(client)
        await client.aclose()
        assert server.requests[-1].headers["authorization"] == header


def test_nothing_configured_is_no_model() -> None:
    assert connect(AISettings(api_key=None, base_url=None)) is None


@pytest.mark.parametrize(
    ("behaviour", "error"),
    [
        (fakes.fails(500), Retryable),
        (fakes.fails(503), Retryable),
        (fakes.busy(), Retryable),
        (fakes.cuts(), Retryable),
        (fakes.garbled(), Retryable),
        (fakes.garbled(b'{"choices": []}'), Retryable),
        (fakes.garbled(b"[" * 100_000), Retryable),
        (fakes.garbled(b'{"choices": [{"message": {"content": {"a": 1}}}]}'), Retryable),
        (fakes.says(""), Retryable),
        (fakes.says(None), Retryable),
        (fakes.slowly(5), Retryable),
        (fakes.drips(5), Retryable),
        (fakes.refuses(), Refused),
        (fakes.filtered(), Refused),
        (fakes.truncated(), Truncated),
        (fakes.huge(), TooLong),
        (fakes.fails(400, "This model's maximum context length is 8192 tokens"), TooLong),
        (fakes.fails(413), TooLong),
        (fakes.fails(401), Misconfigured),
        (fakes.fails(404, "no such model"), Misconfigured),
        (fakes.fails(400, "no"), Misconfigured),
        (fakes.fails(429, "You exceeded your current quota (insufficient_quota)"), Misconfigured),
    ],
)
async def test_every_failure_has_its_class(
    server: FakeModel, model: OpenAIModel, behaviour: Behaviour, error: type[ModelError]
) -> None:
    server.script(behaviour)
    with pytest.raises(ModelError) as raised:
        await ask(model, seconds=0.5)
    assert type(raised.value) is error
    assert len(server.requests) == 1, "one complete is one request"


async def test_a_huge_answer_is_cut_off_while_it_is_read(server: FakeModel, model: OpenAIModel) -> None:
    sent = [0]
    server.script(fakes.huge(50_000_000, sent=sent))
    with pytest.raises(TooLong):
        await ask(model, seconds=30)
    # What the two ends of a socket buffer is all that goes beyond the limit.
    assert sent[0] < 25_000_000


async def test_a_huge_error_page_is_cut_off_as_well(server: FakeModel, model: OpenAIModel) -> None:
    server.script(fakes.fails(400, "x" * 1_000_000))
    with pytest.raises(TooLong):
        await ask(model)


async def test_a_compressed_answer_is_not_unpacked(server: FakeModel, model: OpenAIModel) -> None:
    async def bomb(_: fakes.Request, writer: asyncio.StreamWriter) -> None:
        body = gzip.compress(fakes.completion("a" * 10_000_000))
        await fakes.send(writer, 200, body, {"Content-Encoding": "gzip"})

    server.script(bomb)
    with pytest.raises(TooLong):
        await ask(model)
    assert server.requests[0].headers["accept-encoding"] == "identity"


async def test_a_redirect_takes_neither_key_nor_prompt_along(server: FakeModel, model: OpenAIModel) -> None:
    with fakes.fake_model() as elsewhere:
        server.script(fakes.redirects(elsewhere.base_url + "/chat/completions"))
        with pytest.raises(Misconfigured):
            await ask(model)
        assert elsewhere.requests == []


async def test_nobody_listens() -> None:
    with fakes.fake_model() as gone:
        url = gone.base_url
    client = OpenAIModel("m", base_url=url)
    with pytest.raises(Retryable):
        await ask(client)
    await client.aclose()


async def test_the_words_of_a_refused_key_go_nowhere(server: FakeModel, model: OpenAIModel) -> None:
    server.script(fakes.fails(401, "Incorrect API key provided: sk-abcdef"))
    with pytest.raises(Misconfigured) as raised:
        await ask(model)
    assert "sk-abc" not in raised.value.message + raised.value.detail


@pytest.mark.parametrize(("header", "seconds"), [("2", 2.0), ("0.5", 0.5), ("-3", 0.0), ("soon", None)])
async def test_retry_after_in_seconds(
    server: FakeModel, model: OpenAIModel, header: str, seconds: float | None
) -> None:
    server.script(fakes.busy(header))
    with pytest.raises(Retryable) as raised:
        await ask(model)
    assert raised.value.retry_after == seconds


async def test_retry_after_as_a_date(server: FakeModel, model: OpenAIModel) -> None:
    server.script(fakes.busy(format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)))
    with pytest.raises(Retryable) as raised:
        await ask(model)
    assert raised.value.retry_after is not None
    assert 30 < raised.value.retry_after <= 90


async def test_a_refused_json_schema_steps_down_once_and_is_remembered(
    server: FakeModel, model: OpenAIModel
) -> None:
    server.script(fakes.picky(formats=("json_object",), status=500))
    with pytest.raises(Adapted):
        await ask(model)
    for _ in range(2):
        await ask(model)
    formats = [request.body.get("response_format", {}).get("type") for request in server.requests]
    assert formats == ["json_schema", "json_object", "json_object"]
    assert server.requests[1].body["response_format"]["schema"] == SCHEMA


async def test_a_server_that_knows_no_format_is_asked_plainly(server: FakeModel, model: OpenAIModel) -> None:
    server.script(fakes.picky(formats=(), status=422))
    for _ in range(2):
        with pytest.raises(Adapted):
            await ask(model)
    await ask(model)
    assert "response_format" not in server.requests[-1].body
    assert model.dialect.rung is Rung.PLAIN


@pytest.mark.parametrize("formats", [("json_schema",), ("json_object",), ()])
@pytest.mark.parametrize(
    "options", [("max_completion_tokens",), ("max_tokens",), ("max_tokens", "temperature")]
)
async def test_the_third_request_to_any_server_is_answered(
    server: FakeModel, model: OpenAIModel, formats: tuple[str, ...], options: tuple[str, ...]
) -> None:
    server.script(fakes.picky(formats=formats, options=options))
    for _ in range(2):
        try:
            await ask(model)
        except Adapted:
            continue
    assert (await ask(model)).text
    tokens = {"max_tokens", "max_completion_tokens"} & server.requests[-1].body.keys()
    assert len(tokens) == 1, "a limit of the length is always sent"


async def test_concurrent_refusals_step_down_once(server: FakeModel, model: OpenAIModel) -> None:
    server.script(fakes.slowly(0.2, fakes.picky(formats=("json_object",))))
    results = await asyncio.gather(*(ask(model) for _ in range(4)), return_exceptions=True)
    assert all(isinstance(result, Adapted) for result in results)
    assert model.dialect.rung is Rung.JSON_OBJECT


async def test_a_late_refusal_does_not_undo_what_was_learned_since(
    server: FakeModel, model: OpenAIModel
) -> None:
    knows_nothing = fakes.picky(formats=())
    others_are_done = threading.Event()
    server.script(fakes.after(others_are_done, knows_nothing), knows_nothing)
    late = asyncio.create_task(ask(model))
    while not server.requests:
        await asyncio.sleep(0.01)
    for _ in range(2):
        with pytest.raises(Adapted):
            await ask(model)
    others_are_done.set()
    with pytest.raises(Adapted):
        await late
    assert model.dialect.rung is Rung.PLAIN


async def test_a_schema_without_lengths_for_servers_that_refuse_them(
    server: FakeModel, model: OpenAIModel
) -> None:
    server.script(
        fakes.fails(400, "Invalid schema for response_format: 'maxLength' is not permitted"), fakes.well()
    )
    with pytest.raises(Adapted):
        await ask(model)
    await ask(model)
    schema = server.requests[1].body["response_format"]["json_schema"]["schema"]
    assert schema["properties"] == {"subject": {"type": "string"}}


async def test_an_outage_does_not_step_down(server: FakeModel, model: OpenAIModel) -> None:
    server.script(fakes.fails(500, "Internal Server Error"))
    with pytest.raises(Retryable):
        await ask(model)
    assert model.dialect.rung is Rung.JSON_SCHEMA


def test_openai_itself_is_asked_in_its_newer_dialect() -> None:
    model = OpenAIModel("gpt-5-mini", api_key="sk-test")
    assert model.dialect.tokens_field == "max_completion_tokens"
    assert not model.dialect.has_temperature


async def test_a_slow_answer_ends_at_its_time(server: FakeModel, model: OpenAIModel) -> None:
    server.script(fakes.drips(20))
    started = time.monotonic()
    with pytest.raises(Retryable):
        await ask(model, seconds=0.5)
    assert time.monotonic() - started < 10
