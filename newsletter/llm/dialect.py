"""What one model's server likes, learned from its refusals.

"OpenAI-compatible" servers differ in which options they take, and say so in words of their own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from urllib.parse import urlsplit

_FORMAT_WORDS = ("response_format", "json_schema", "json_object", "structured output", "grammar")


class Rung(IntEnum):
    """How the server is told to answer in JSON, from the best way to none.

    Self-hosted servers differ: some answer 500 to ``json_schema``, some know neither. The
    prompt always describes the format as well, so the last rung works everywhere.
    """

    JSON_SCHEMA = 0
    JSON_OBJECT = 1
    PLAIN = 2


@dataclass(frozen=True, slots=True)
class Dialect:
    """What is known of a server's likes, learned from its refusals and kept for its lifetime."""

    rung: Rung = Rung.JSON_SCHEMA
    has_lengths: bool = True
    """Whether the schema may say ``minLength`` and ``maxLength``."""
    tokens_field: str = "max_tokens"
    has_temperature: bool = True
    refusals: int = 0

    @classmethod
    def of(cls, base_url: str | None) -> "Dialect":
        """The first guess. OpenAI's own current models refuse ``max_tokens`` and any temperature
        but 1; every other server knows both."""
        host = (urlsplit(base_url).hostname or "") if base_url else "openai.com"
        if host == "openai.com" or host.endswith(".openai.com"):
            return cls(tokens_field="max_completion_tokens", has_temperature=False)
        return cls()

    def options(
        self, schema: Mapping[str, object], temperature: float | None, max_tokens: int
    ) -> dict[str, object]:
        """The optional part of the request's body."""
        options: dict[str, object] = {self.tokens_field: max_tokens}
        if self.has_temperature and temperature is not None:
            options["temperature"] = temperature
        known = schema if self.has_lengths else _without_lengths(schema)
        if self.rung is Rung.JSON_SCHEMA:
            named = {"name": "answer", "strict": True, "schema": known}
            options["response_format"] = {"type": "json_schema", "json_schema": named}
        elif self.rung is Rung.JSON_OBJECT:
            options["response_format"] = {"type": "json_object", "schema": known}
        return options

    def after(self, complaint: str) -> "Dialect | None":
        """The dialect to try next when a request was refused with this text; None when the
        text names nothing that could be left out.

        A first refusal changes what it names. A second one leaves out everything optional
        but the limit of the length (without it some servers stop after 16 tokens). So the
        third request to a server never seen before can be answered, and three requests are
        what a generation has.
        """
        text = complaint.casefold()
        changed = self
        if self.has_lengths and ("maxlength" in text or "minlength" in text):
            changed = replace(changed, has_lengths=False)
        elif self.rung is not Rung.PLAIN and any(word in text for word in _FORMAT_WORDS):
            changed = replace(changed, rung=Rung(self.rung + 1))
        if "max_tokens" in text and self.tokens_field == "max_tokens":
            # Models that refuse max_tokens are the reasoning ones, which refuse temperature too.
            changed = replace(changed, tokens_field="max_completion_tokens", has_temperature=False)
        elif "max_completion_tokens" in text and self.tokens_field == "max_completion_tokens":
            changed = replace(changed, tokens_field="max_tokens")
        if "temperature" in text and self.has_temperature:
            changed = replace(changed, has_temperature=False)
        if changed == self:
            return None
        if self.refusals >= 1:
            changed = replace(changed, rung=Rung.PLAIN, has_temperature=False)
        return replace(changed, refusals=self.refusals + 1)


def _without_lengths(value: Mapping[str, object]) -> dict[str, object]:
    return {
        key: _without_lengths(inner) if isinstance(inner, Mapping) else inner
        for key, inner in value.items()
        if key not in ("minLength", "maxLength")
    }
