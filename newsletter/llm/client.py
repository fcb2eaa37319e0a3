"""The client of the OpenAI chat completions API; the only module that knows ``openai``."""

import asyncio
import json
import math
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx2
import openai
from openai.types.chat import ChatCompletionMessageParam
from pydantic import BaseModel, ConfigDict, ValidationError

from newsletter.llm import (
    Adapted,
    Answer,
    Message,
    Misconfigured,
    ModelError,
    Refused,
    Retryable,
    TooLong,
    Truncated,
    Usage,
)
from newsletter.llm.dialect import Dialect


class OpenAIModel:
    """A model behind the OpenAI chat completions API. Redirects are not followed: a redirect
    would carry the key and the prompt to a host that nobody configured."""

    def __init__(
        self,
        name: str,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        max_answer_bytes: int = 1_000_000,
    ) -> None:
        self.name = name
        self.dialect = Dialect.of(base_url)
        self._limit = max_answer_bytes
        self._http = httpx2.AsyncClient(
            follow_redirects=False,
            # A compressed answer could grow far beyond the bytes that are counted.
            headers={"Accept-Encoding": "identity"},
            event_hooks={"response": [self._bound]},
        )
        self._client = openai.AsyncOpenAI(
            # Servers that need no key still get an Authorization header; the client insists on one.
            api_key=api_key or "none",
            base_url=base_url,
            max_retries=0,
            http_client=self._http,
        )

    async def complete(
        self,
        messages: Sequence[Message],
        schema: Mapping[str, object],
        *,
        temperature: float | None,
        max_tokens: int,
        seconds: float,
    ) -> Answer:
        """See `Model.complete`."""
        dialect = self.dialect
        try:
            # The client's own time-out is per read, which a server that drips never reaches.
            async with asyncio.timeout(seconds):
                raw = await self._client.chat.completions.with_raw_response.create(
                    model=self.name,
                    messages=[_param(message) for message in messages],
                    extra_body=dialect.options(schema, temperature, max_tokens),
                    timeout=seconds,
                )
        except (TimeoutError, openai.APITimeoutError) as error:
            raise Retryable(f"The model did not answer within {seconds:g} seconds.") from error
        except openai.APIStatusError as error:
            raise self._status_error(error, dialect) from error
        except (openai.APIConnectionError, httpx2.HTTPError) as error:
            raise Retryable(
                "The connection to the model failed or was cut.", detail=repr(error.__cause__ or error)
            ) from error
        return _answer(raw.content, self.name)

    async def aclose(self) -> None:
        await self._client.close()

    async def _bound(self, response: httpx2.Response) -> None:
        """Runs before the body is read, so that an endless answer costs us its limit and no more."""
        if response.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
            raise TooLong("The model's server compressed its answer although it was told not to.")
        if isinstance(response.stream, httpx2.AsyncByteStream):
            response.stream = _Bounded(response.stream, self._limit)

    def _status_error(self, error: openai.APIStatusError, used: Dialect) -> ModelError:
        status, text = error.status_code, _text_of(error)
        detail = f"status {status}: {text[:300]}"
        if status == 429 and ("insufficient_quota" in text or "billing" in text):
            return Misconfigured("The account at the model's provider has no credit left.", detail=detail)
        if status in (400, 422, 500) and (better := used.after(text)) is not None:
            # A concurrent call may have learned the same; then the dialect moves once, not twice.
            if self.dialect == used:
                self.dialect = better
            return Adapted("The model's server refused an option of the request.", detail=detail)
        if status in (408, 409, 425, 429) or status >= 500:
            reason = "is busy (429)" if status == 429 else f"failed with status {status}"
            return Retryable(
                f"The model's server {reason}.",
                detail=detail,
                retry_after=_retry_after(error.response.headers),
            )
        if status in (401, 403):
            # Providers quote a part of the key here; the text goes nowhere.
            return Misconfigured("The model's server refused our credentials.", detail=f"status {status}")
        if status == 413 or "context" in text.casefold():
            return TooLong("The request is longer than the model can take.", detail=detail)
        return Misconfigured(f"The model's server refused the request with status {status}.", detail=detail)


class _Bounded(httpx2.AsyncByteStream):
    """A body that stops at a number of bytes."""

    def __init__(self, stream: httpx2.AsyncByteStream, limit: int) -> None:
        self._stream = stream
        self._limit = limit

    async def __aiter__(self) -> AsyncIterator[bytes]:
        seen = 0
        async for chunk in self._stream:
            seen += len(chunk)
            if seen > self._limit:
                raise TooLong(f"The model's answer is larger than {self._limit:,} bytes.")
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


class _Lenient(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)


class _Message(_Lenient):
    content: str | None = None
    refusal: str | None = None


class _Choice(_Lenient):
    message: _Message
    finish_reason: str | None = None


class _Tokens(_Lenient):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Completion(_Lenient):
    choices: list[_Choice]
    model: str | None = None
    usage: _Tokens | None = None


def _answer(content: bytes, asked: str) -> Answer:
    """Reads the body ourselves: the client's types believe whatever the server sent."""
    try:
        completion = _Completion.model_validate(json.loads(content, strict=False))
        choice = completion.choices[0]
    except (ValueError, ValidationError, IndexError, RecursionError) as error:
        raise Retryable(
            "The model's server sent something that is no chat completion. Does OPENAI_BASE_URL end in /v1?",
            detail=f"{len(content)} bytes: {type(error).__name__}",
        ) from error
    tokens = completion.usage or _Tokens()
    usage = Usage(1, _count(tokens.prompt_tokens), _count(tokens.completion_tokens))
    if choice.message.refusal or choice.finish_reason == "content_filter":
        raise Refused(
            "The model declined to write this.",
            detail=(choice.message.refusal or "filter")[:300],
            usage=usage,
        )
    if choice.finish_reason == "length":
        raise Truncated("The model's answer was cut at the limit of its length.", usage=usage)
    text = choice.message.content or ""
    if not text.strip():
        raise Retryable("The model's answer is empty.", usage=usage)
    name = "".join(character for character in completion.model or "" if character.isprintable())
    return Answer(text, usage, name[:200] or asked)


def _count(tokens: int | None) -> int:
    """A number of tokens that fits into a column, whatever the server counted."""
    return min(max(tokens or 0, 0), 2**31 - 1)


def _param(message: Message) -> ChatCompletionMessageParam:
    if message.role == "system":
        return {"role": "system", "content": message.content}
    if message.role == "assistant":
        return {"role": "assistant", "content": message.content}
    return {"role": "user", "content": message.content}


def _text_of(error: openai.APIStatusError) -> str:
    """The server's words on one line, whatever shape they came in."""
    try:
        text = error.response.text
    except (httpx2.StreamError, LookupError):
        text = error.message
    return re.sub(r"[\s\x00-\x1f\x7f]+", " ", text)[:4_000]


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds from ``Retry-After`` (RFC 9110 §10.2.3: seconds or a date), or its variant in ms."""
    for name, unit in (("retry-after-ms", 1_000), ("retry-after", 1)):
        value = headers.get(name, "")
        try:
            seconds = float(value) / unit
        except ValueError:
            continue
        return max(seconds, 0.0) if math.isfinite(seconds) else None
    try:
        at = parsedate_to_datetime(headers.get("retry-after", ""))
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max((at - datetime.now(UTC)).total_seconds(), 0.0)
