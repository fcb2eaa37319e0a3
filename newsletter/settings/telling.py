"""What is kept of what happened, and who is told."""

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings

from newsletter.settings.base import config, networks


class EventSettings(BaseSettings):
    """The log of what happened, and opens and clicks on their way into it."""

    model_config = config("EVENTS_")

    keep_days: int = Field(400, ge=7)
    """Days that an event stays readable and can be sent to a webhook again; on PostgreSQL, which
    drops whole months, up to 31 more."""
    flush_seconds: float = Field(0.5, gt=0, le=60)
    """Seconds between two writes of opens and clicks."""
    settle_seconds: float = Field(2.0, ge=0, le=60)
    """Seconds that an open or click stays in memory, so that a scanner that follows all links of a
    mail at once is seen as one. A process that is killed loses these and ``flush_seconds`` more."""
    too_soon: float = Field(2.0, ge=0, le=600)
    """Seconds after the sending server took a mail within which no person opens it: who does is
    counted as a machine. Test projects have no such limit."""
    block: int = Field(1_000, ge=1, le=10_000)
    """Opens and clicks that are written in one transaction."""
    buffer: int = Field(50_000, ge=1)
    """Opens and clicks that one process keeps in memory; beyond that they are dropped."""
    spool_bytes: int = Field(256_000_000, ge=0)
    """The most that waits in the folder ``tracking`` of the data folder while the database is away,
    some 400 bytes each; beyond that they are dropped."""


class WebhookSettings(BaseSettings):
    """Calls to customers' endpoints."""

    model_config = config("WEBHOOK_")

    timeout: float = Field(8, gt=0, le=60)
    """Seconds until an endpoint must have answered."""
    retry_seconds: tuple[int, ...] = (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
    """Waits after the first, second, … failure; after the last the delivery is exhausted."""
    max_answer_bytes: int = Field(65_536, ge=0)
    """Bytes of an answer that are read at most."""
    allowed_ranges: tuple[str, ...] = ()
    """Private networks that endpoints may live in, as a JSON list: ``["10.1.0.0/16"]``."""
    allowed_ports: tuple[int, ...] = (80, 443)
    """Ports that endpoints may use, besides any port inside ``allowed_ranges``."""
    threads: int = Field(16, ge=1, le=256)
    """Endpoints that one worker process calls at the same time. One that has said nothing for half a second
    leaves its place to others, as long as ``silent`` allows that."""
    silent: int = Field(200, ge=0, le=10_000)
    """Endpoints besides these that one worker process waits for while they say nothing."""
    silent_of_project: int = Field(20, ge=0, le=10_000)
    """The most of ``silent`` that endpoints of one project take. What is silent beyond that keeps a place
    of ``threads``, as it does when ``silent`` are waited for."""
    calls_at_once: int = Field(8, ge=1, le=64)
    """Calls that one endpoint gets at the same time."""
    kept_answer_bytes: int = Field(500, ge=0, le=4000)
    """The first bytes of an answer that are kept and shown with the call. Those from
    ``allowed_ranges`` never are: nobody may read a private network through us."""
    group_seconds: float = Field(1, ge=0, le=60)
    """Seconds that an event waits for others, where an endpoint gets several in one call."""
    disable_after_days: float = Field(5, gt=0, le=90)
    """Days of nothing but failures after which an endpoint is switched off; its ``disabled_reason``
    then says so."""
    notice_hours: float = Field(24, ge=0, le=8_760)
    """Hours within which the account's owner gets one mail at most that an endpoint was switched off,
    however often it is switched on again meanwhile."""
    secret_overlap_hours: int = Field(24, ge=0, le=720)
    """Hours that the old secret goes on to sign after it was rotated, where the call says nothing."""

    @field_validator("allowed_ranges")
    @classmethod
    def _known_ranges(cls, ranges: tuple[str, ...]) -> tuple[str, ...]:
        return networks(ranges)
