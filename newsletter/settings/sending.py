"""How mail goes out: batches, servers, routes, schedules."""

from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings

from newsletter.settings.base import config, networks


class DeliverySettings(BaseSettings):
    """How a mailing is worked off. The numbers are explained in ``docs/architecture.md``."""

    model_config = config("DELIVERY_")

    batch_size: int = Field(1_000, ge=1, le=10_000)
    """Recipients that one worker takes at once."""
    launch_megabytes: int = Field(64, ge=1, le=4_096)
    """Memory in which PostgreSQL gathers the recipients of a launch (its ``work_mem``), in MB: about 64
    for a million. With less than it needs, it uses its disk."""
    block_size: int = Field(64, ge=1, le=1_000)
    """Recipients whose outcomes are written in one transaction; a killed process leaves
    at most two blocks with outcome ``unknown``."""
    lease: float = Field(25, gt=0)
    """Seconds a worker owns a batch or a job without renewing it."""
    threads: int = Field(4, ge=1, le=64)
    """Batches that one worker process sends at the same time."""
    retry_minutes: tuple[int, ...] = (5, 15, 30, 60, 120, 240, 480, 480)
    """Waits after the first, second, … temporary refusal of one message."""
    outage_seconds: tuple[float, ...] = (2, 5, 15, 30, 60, 120, 300)
    """Waits of a batch while its sending server cannot be reached or signed in to. The
    messages have not been tried then, so their own schedule is not used up."""
    campaign_hours: float = Field(24, gt=0)
    """Hours after its start at which a campaign stops trying and its last messages fail."""
    transactional_hours: float = Field(96, gt=0)
    """The same for a single mail: hours after its call, or after its time where it has one."""
    signing_threads: int = Field(2, ge=1, le=64)
    """Threads of a worker process that sign mails with DKIM; more than it has processors are
    of no use."""
    max_crashes: int = Field(3, ge=1)
    """Crashes of a batch without progress after which it is halved."""
    max_crashes_alone: int = Field(10, ge=1)
    """The same for a message that stands alone in its batch, which then fails as poison. More, because
    processes that end again and again for another reason meet the same message by chance."""
    pause_after_sends: int = Field(500, ge=1)
    """Mails that a campaign has tried before its bounces and complaints may pause it."""
    pause_bounce_percent: float = Field(5, gt=0, le=100)
    """Hard bounces, in percent of the mails tried, above which a campaign pauses itself; 100 never does."""
    pause_complaint_percent: float = Field(0.3, gt=0, le=100)
    """Complaints, in percent of the mails sent, above which a campaign pauses itself; 100 never does.
    Gmail and Yahoo treat a sender above 0.3 % as a source of spam."""


class CampaignSettings(BaseSettings):
    """When scheduled campaigns begin."""

    model_config = config("CAMPAIGN_")

    grace_minutes: float = Field(60, ge=0)
    """How late a scheduled campaign may still begin, when nothing was running at its time. After
    that it fails as ``schedule_missed``, and may be sent by hand."""


class SMTPSettings(BaseSettings):
    """The default sending server of live projects."""

    model_config = config("SMTP_")

    url: SecretStr | None = None
    """``smtp://user:password@host:587`` (STARTTLS when offered), ``smtp+starttls://…``
    (STARTTLS or nothing), ``smtps://…:465`` (TLS from the start), ``smtp+plain://…`` (no TLS)."""
    connections: int = Field(4, ge=1, le=100)
    """Connections that one worker process keeps to the server."""
    messages_per_connection: int = Field(500, ge=1)
    """Messages on one connection before it is replaced by a fresh one."""
    window: int = Field(4, ge=0, le=64)
    """Messages on their way at the same time on one connection, where the server takes them in
    chunks (``BDAT``, RFC 3030). 0: always send with ``DATA``."""
    local_hostname: str | None = None
    """The name sent with EHLO; the machine's own when not set."""
    connect_timeout: float = Field(30, gt=0)
    """Seconds to connect and to finish a TLS handshake."""
    command_timeout: float = Field(300, gt=0)
    """Seconds for the greeting and each of EHLO, AUTH, MAIL, RCPT (RFC 5321 §4.5.3.2)."""
    data_timeout: float = Field(180, gt=0)
    """Seconds for the 354 answer and for each block of the message."""
    final_timeout: float = Field(600, gt=0)
    """Seconds for the answer to the final dot (RFC 5321 §4.5.3.2.6: 10 minutes)."""

    @field_validator("url")
    @classmethod
    def _known_scheme(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            parts = urlsplit(url.get_secret_value())
            if parts.scheme not in {"smtp", "smtps", "smtp+starttls", "smtp+plain"} or not parts.hostname:
                raise ValueError("must look like smtp://user:password@host:587")
        return url


class ProviderSettings(BaseSettings):
    """Calls to the HTTP APIs of mail providers."""

    model_config = config("PROVIDER_")

    connections: int = Field(10, ge=1, le=200)
    """Requests that one worker process has open to one sending server at the same time."""
    connect_timeout: float = Field(10, gt=0, le=60)
    """Seconds to connect and to finish a TLS handshake."""
    timeout: float = Field(60, gt=0, le=600)
    """Seconds until an answer must be complete. After it nobody knows whether the mail was
    taken, unless the provider recognises a repeated call."""
    max_answer_bytes: int = Field(65_536, ge=1_000)
    """Bytes of an answer that are read at most."""
    endpoints: dict[str, str] = Field(default_factory=dict)
    """URLs that stand in for a provider's own, as JSON: ``{"ses": "https://email.internal.example"}``."""

    @field_validator("endpoints")
    @classmethod
    def _http_urls(cls, endpoints: dict[str, str]) -> dict[str, str]:
        for name, url in endpoints.items():
            if urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).hostname:
                raise ValueError(f"the URL of '{name}' must look like https://api.example.com")
        return {name: url.rstrip("/") for name, url in endpoints.items()}


class RoutingSettings(BaseSettings):
    """How mail finds its way through several sending servers; ``docs/routing.md`` explains it."""

    model_config = config("ROUTING_")

    refresh_seconds: float = Field(3, gt=0, le=60)
    """After so long a worker has seen a change of servers, rules and breakers."""
    hold_seconds: float = Field(10, gt=0, le=60)
    """How long a worker waits for a rate, with a block in hand, before it gives back what is left."""
    breaker_failures: int = Field(3, ge=1, le=100)
    """Failures of a server in a row, in one process, after which all leave it alone."""
    breaker_seconds: tuple[float, ...] = (2, 5, 10, 20, 40, 80, 160, 300)
    """For how long, the first, second, … time in a row; then one mail tries it."""
    block_seconds: float = Field(600, gt=0)
    """For how long after 4.7.28, or 421 with 4.7.x. Gmail asks for 10 minutes at least."""
    allowed_ranges: tuple[str, ...] = ()
    """Private networks that customers' mail servers may live in, as a JSON list: ``["10.1.0.0/16"]``."""
    allowed_ports: tuple[int, ...] = (25, 465, 587, 2525)
    """Ports that customers' mail servers may use, besides any port inside ``allowed_ranges``."""

    @field_validator("allowed_ranges")
    @classmethod
    def _known_ranges(cls, ranges: tuple[str, ...]) -> tuple[str, ...]:
        return networks(ranges)
