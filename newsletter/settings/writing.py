"""How the copy is written."""

from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings

from newsletter.settings.base import config


class AISettings(BaseSettings):
    """The language model: any server that speaks the OpenAI chat completions API."""

    model_config = config("AI_")

    model: str = "gpt-5-mini"
    """The model's name, as its server knows it."""
    timeout: float = Field(60, gt=0, le=600)
    """Seconds for one call to the model."""
    deadline: float = Field(150, gt=0, le=1800)
    """Seconds for a whole generation: all calls, waits and the repair round."""
    max_calls: int = Field(3, ge=1, le=10)
    """Calls for one generation at most, retries and the repair round included."""
    max_answer_bytes: int = Field(1_000_000, ge=1_000)
    """An answer is read up to this size; a longer one is an error."""
    max_output_tokens: int = Field(4_000, ge=100)
    """The limit on the length of the answer that is sent to the model."""
    api_key: SecretStr | None = Field(None, validation_alias=AliasChoices("OPENAI_API_KEY"))
    """``OPENAI_API_KEY``. Many self-hosted servers need none."""
    base_url: str | None = Field(None, validation_alias=AliasChoices("OPENAI_BASE_URL"))
    """``OPENAI_BASE_URL``, for example ``http://127.0.0.1:11434/v1``."""

    @property
    def is_configured(self) -> bool:
        return self.api_key is not None or self.base_url is not None
