"""Writes a newsletter with a language model, in a bounded number of calls and seconds.

Every request to the server counts as a call, also one that only taught us its dialect
(`newsletter.llm.dialect.Dialect`) or was refused because the server is busy. One repair round
quotes what is wrong with an answer. What ends without a draft is `AIFailed`.
"""

import asyncio
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import structlog

from newsletter.copywriting import answers, checks
from newsletter.copywriting.checks import Copy, Unusable
from newsletter.copywriting.draft import Brief, Draft
from newsletter.copywriting.links import KnownLinks
from newsletter.copywriting.prompts import Task
from newsletter.kit import clock
from newsletter.kit.errors import NewsletterError
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
    Usage,
)
from newsletter.settings import AISettings

__all__ = ["AIFailed", "AINotConfigured", "Brief", "Draft", "known_links", "write"]

_FIRST_PAUSE = 0.5
"""Seconds before the first retry; each further pause doubles, with ±50 % jitter."""
_MAX_ECHO_CHARS = 20_000
"""Of a bad answer, how much is shown to the model again."""

_log = structlog.get_logger(__name__)


class AIFailed(NewsletterError):
    """Its cause is the last problem."""

    code, status = "ai_failed", 502
    summary = "The language model gave no usable draft. The unit is given back; try again later."

    usage: Usage = Usage()
    """What was spent before it failed."""


class AINotConfigured(NewsletterError):
    code, status = "ai_not_configured", 503
    summary: ClassVar[str] = (
        "No language model is configured on this server. Send 'html' instead of 'ai', or ask the "
        "operator to set OPENAI_API_KEY or OPENAI_BASE_URL."
    )


def known_links(brief: Brief) -> KnownLinks:
    """The links that a draft for this brief may hold."""
    given = [brief.website_url] if brief.website_url else []
    texts = [brief.prompt, *brief.voice.texts(), brief.subject or "", brief.preheader or ""]
    return KnownLinks(texts, [*given, *sorted(brief.known_links)])


async def write(model: Model, task: Task, brief: Brief, limits: AISettings) -> Draft:
    """A draft in at most ``limits.max_calls`` calls and ``limits.deadline`` seconds.

    Opens no transaction and needs none. Raises `AIFailed`, which knows what was spent.
    An answer that is good but for complaints (banned words, lengths) is mended by the
    repair round where a call is left for it, and used with notes where none is.
    """
    attempt = _Generation(model, task, brief, limits)
    try:
        async with asyncio.timeout(limits.deadline):
            await attempt.run()
    except TimeoutError:
        attempt.trouble = Retryable(f"The language model gave no draft within {limits.deadline:g} seconds.")
    if attempt.copy is None:
        raise attempt.failure() from attempt.trouble
    return attempt.draft(attempt.copy)


@dataclass(slots=True)
class _Generation:
    """The state of one generation; `copy` is the best text so far."""

    model: Model
    task: Task
    brief: Brief
    limits: AISettings
    usage: Usage = field(default_factory=Usage)
    copy: Copy | None = None
    answered_by: str = ""
    trouble: Exception | None = None
    """Why the last call gave no copy."""
    links: KnownLinks = field(init=False)
    started: float = field(init=False)

    def __post_init__(self) -> None:
        self.links = known_links(self.brief)
        self.started = asyncio.get_running_loop().time()

    async def run(self) -> None:
        """Returns when there is nothing more to win."""
        messages = self.task.messages(self.brief, self.links, clock.now().date())
        is_repair = False
        while self.usage.calls < self.limits.max_calls:
            answer = await self._call(messages)
            if answer is None:
                if not await self._may_retry():
                    return
                problems: Sequence[str] = self._length_problem()
            else:
                problems = self._judge(answer)
                if not problems:
                    return
            if problems:
                if is_repair:
                    return
                is_repair = True
                echo = [Message("assistant", answer.text[:_MAX_ECHO_CHARS])] if answer else []
                messages = [*messages, *echo, self.task.repair_message(problems)]

    async def _call(self, messages: Sequence[Message]) -> Answer | None:
        """One call; None when it failed, and `trouble` says how."""
        try:
            answer = await self.model.complete(
                messages,
                self.task.schema,
                temperature=self.task.temperature,
                max_tokens=self.limits.max_output_tokens,
                seconds=self.limits.timeout,
            )
        except ModelError as error:
            self.usage += error.usage
            self.trouble = error
            _log.warning("ai_call_failed", problem=type(error).__name__, detail=error.detail)
            return None
        except asyncio.CancelledError:
            # The deadline fell into this call; the server has been asked all the same.
            self.usage += Usage(calls=1)
            raise
        self.usage += answer.usage
        self.answered_by = answer.model
        return answer

    def _judge(self, answer: Answer) -> Sequence[str]:
        """Keeps the copy if there is one; what should be mended."""
        try:
            newsletter = answers.read(answer.text)
            copy = checks.check(
                newsletter.subject,
                newsletter.preheader,
                newsletter.body_html,
                self.brief,
                self.links,
                self.task.limits,
            )
        except Unusable as error:
            self.trouble = error
            _log.warning("ai_answer_unusable", problems=len(error.problems))
            return error.problems
        if self.copy is None or len(copy.complaints) <= len(self.copy.complaints):
            self.copy = copy
        return copy.complaints

    async def _may_retry(self) -> bool:
        """After a failed call: waits as long as it should; False when there is no point."""
        trouble = self.trouble
        if isinstance(trouble, Adapted | Truncated):
            return True
        if not isinstance(trouble, Retryable) or self.usage.calls >= self.limits.max_calls:
            return False
        pause = trouble.retry_after
        if pause is None:
            # Jitter keeps many generations that failed together from coming back together.
            pause = _FIRST_PAUSE * 2 ** (self.usage.calls - 1) * random.uniform(0.5, 1.5)  # noqa: S311
        left = self.started + self.limits.deadline - asyncio.get_running_loop().time()
        if pause >= left:
            return False
        await asyncio.sleep(pause)
        return True

    def _length_problem(self) -> Sequence[str]:
        if isinstance(self.trouble, Truncated):
            return ["The answer was longer than its limit and was cut off. Write a shorter body."]
        return []

    def draft(self, copy: Copy) -> Draft:
        return Draft(
            subject=copy.subject,
            preheader=copy.preheader,
            body=copy.body,
            writer="model",
            model=self.answered_by or self.model.name,
            prompt_name=self.task.name,
            prompt_hash=self.task.hash,
            voice_version=self.brief.voice.version,
            usage=self.usage,
            removed_links=copy.removed_links,
            removed_tags=copy.removed_tags,
            notes=copy.notes,
        )

    def failure(self) -> AIFailed:
        """The last problem in words for a customer; server texts stay in the log."""
        trouble, retry_after = self.trouble, None
        if isinstance(trouble, ModelError):
            text = trouble.message
            if isinstance(trouble, Retryable):
                retry_after = None if trouble.retry_after is None else math.ceil(trouble.retry_after)
        elif isinstance(trouble, Unusable):
            text = "The language model's answer could not be used: " + " ".join(trouble.problems)[:500]
        else:
            text = "The language model was not asked."
        failure = AIFailed(f"{text} {_advice(trouble)}", retry_after=retry_after)
        failure.usage = self.usage
        return failure


def _advice(trouble: Exception | None) -> str:
    match trouble:
        case Refused():
            return "Change the prompt."
        case Truncated() | TooLong():
            return "Ask for a shorter text; the operator can raise NEWSLETTER_AI_MAX_OUTPUT_TOKENS."
        case Misconfigured():
            return "The operator must mend it; 'newsletter doctor' says how."
        case _:
            return "Nothing was used up; try again, or send 'html' yourself."
