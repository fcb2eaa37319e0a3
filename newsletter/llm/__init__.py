"""Any server that speaks the OpenAI chat completions API, behind a small protocol.

One `complete` is one HTTP request, never more: whoever calls counts calls, decides about
another one and knows what is left of the time. Refusals of the server are this tree:

    ModelError
    ├── Retryable       429, 5xx, a cut connection, a time-out, an empty or garbled answer
    │   └── Adapted     the server does not know an option; the next call goes without it
    ├── Refused         the model declined, or a content filter did
    ├── Truncated       the answer ended at the limit of its length
    ├── TooLong         more bytes than we read, or more prompt than the model takes
    └── Misconfigured   key, address, name of the model or credit: an operator must act
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from newsletter.settings import AISettings


@dataclass(frozen=True, slots=True)
class Usage:
    """What has been asked of a model. Tokens are as its server counts them, 0 where it does not."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.calls + other.calls,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
        )


@dataclass(frozen=True, slots=True)
class Message:
    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model wrote: text, and nothing is known about it yet."""

    text: str
    usage: Usage
    model: str
    """The model that answered, as its server names it; often more exact than what was asked for."""


class ModelError(Exception):
    """A call that gave no answer. The message may be shown to a customer.

    ``detail`` is for the operator's log: it may quote the server.
    """

    def __init__(self, message: str, *, detail: str = "", usage: Usage | None = None) -> None:
        self.message = message
        self.detail = detail or message
        self.usage = usage or Usage(calls=1)
        super().__init__(message)


class Retryable(ModelError):
    """The same call may succeed later; ``retry_after`` is in seconds where the server named a time."""

    def __init__(
        self, message: str, *, detail: str = "", usage: Usage | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message, detail=detail, usage=usage)
        self.retry_after = retry_after


class Adapted(Retryable):
    """The server refused an option that we can do without, and the next call leaves it out."""


class Refused(ModelError):
    pass


class Truncated(ModelError):
    pass


class TooLong(ModelError):
    pass


class Misconfigured(ModelError):
    pass


class Model(Protocol):
    """A language model. One object serves one event loop and may be used concurrently."""

    @property
    def name(self) -> str:
        """The model that is asked for."""

    async def complete(
        self,
        messages: Sequence[Message],
        schema: Mapping[str, object],
        *,
        temperature: float | None,
        max_tokens: int,
        seconds: float,
    ) -> Answer:
        """One request, ``seconds`` at most. Raises `ModelError`.

        The answer should be JSON by ``schema``, but no server is trusted to enforce it:
        the caller validates.
        """

    async def aclose(self) -> None: ...


def connect(settings: AISettings) -> Model | None:
    """The configured model; None when there is none. Call it inside the event loop that uses it."""
    if not settings.is_configured:
        return None
    # The client's types take a fifth of a process's start and 35 MB; most processes have no use for it.
    from newsletter.llm.client import OpenAIModel

    return OpenAIModel(
        settings.model,
        api_key=settings.api_key.get_secret_value() if settings.api_key else None,
        base_url=settings.base_url,
        max_answer_bytes=settings.max_answer_bytes,
    )
