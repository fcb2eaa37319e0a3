"""How large automations may be, and how they go on."""

from pydantic import Field
from pydantic_settings import BaseSettings

from newsletter.settings.base import config


class AutomationSettings(BaseSettings):
    """Automations; ``docs/automations.md`` explains them."""

    model_config = config("AUTOMATION_")

    automations: int = Field(100, ge=1)
    """The most automations of one project; archived ones are not counted."""
    steps: int = Field(50, ge=1, le=500)
    """The most steps of one automation, those of its branches included."""
    depth: int = Field(5, ge=1, le=10)
    """How deep branches may stand inside each other, and ``all``, ``any`` and ``not`` of a condition."""
    condition_parts: int = Field(100, ge=1, le=500)
    """The most conditions in one, itself and those inside of ``all``, ``any`` and ``none`` included: the
    database takes them all as one expression."""
    wait_days: float = Field(366, gt=0)
    """The longest wait of one step, in days."""
    variables: int = Field(20, ge=1, le=100)
    """The most variables that one automation declares for calls that start a run; each value has at most
    1,000 characters."""
    runs_per_subscriber: int = Field(100, ge=1)
    """The most runs of one subscriber in one automation with ``reentry: always``; later starts are no more
    than ignored."""
    block: int = Field(200, ge=1, le=1_000)
    """Runs whose steps are written in one transaction, and the most recipients of one mailing of a step."""
    retry_minutes: float = Field(60, gt=0)
    """Minutes until a send is tried again for which the plan had no mails left."""
    look_block: int = Field(5_000, ge=1, le=100_000)
    """Subscribers of a list that one statement reads to find those who are to start by time or by
    condition."""
    look_minutes: float = Field(5, gt=0)
    """Minutes between two looks for subscribers who meet the condition that starts an automation."""
