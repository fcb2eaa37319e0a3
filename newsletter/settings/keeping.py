"""How long what is kept is kept."""

from pydantic import Field
from pydantic_settings import BaseSettings

from newsletter.settings.base import config


class RetentionSettings(BaseSettings):
    """How long what was sent and what came back stays. The event log has a setting of its own
    (``NEWSLETTER_EVENTS_KEEP_DAYS``); that a message was sent, and how it ended, stays for the books."""

    model_config = config("RETENTION_")

    body_days: float = Field(30, gt=0)
    """Days that the text, variables and attachments of a single mail stay after it is over; its
    view-in-browser link ends with them. Campaigns keep their content."""
    report_days: float = Field(7, ge=3)
    """Days that a report or a returned mail is remembered, so that it is not read twice. Its text goes as
    soon as it was applied; one that could not be read goes after these days."""
    webhook_days: float = Field(90, gt=0)
    """Days that a webhook delivery stays after it is over, with its attempts; until then it can be
    replayed."""
    health_days: int = Field(365, ge=1)
    """Days that a project's health score of a day stays."""
    attempt_days: float = Field(90, gt=0)
    """Days that a refused try stays with what the server said."""
    run_days: float = Field(90, gt=0)
    """Days that the steps of an automation's run stay after it is over. That there was a run stays, since it
    keeps its subscriber from starting again; once the automation is archived, it goes as well.
    Longer than ``NEWSLETTER_DELIVERY_CAMPAIGN_HOURS``."""
