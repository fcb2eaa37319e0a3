"""Everything an operator can set: environment variables ``NEWSLETTER_*`` or a file of them.

``Settings()`` reads the environment, then the file named by ``NEWSLETTER_ENV_FILE``
(default ``.env``), then the defaults below. The variable of a field is the prefix of its
group and its name in capitals: `AISettings.timeout` is ``NEWSLETTER_AI_TIMEOUT``.
"""

import os
from functools import cached_property
from ipaddress import ip_network
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AliasChoices,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "NEWSLETTER_"
REDIS_SCHEMES = frozenset({"redis", "rediss", "unix"})


def _config(group: str = "") -> SettingsConfigDict:
    return SettingsConfigDict(
        env_prefix=PREFIX + group,
        env_file=os.environ.get(PREFIX + "ENV_FILE", ".env"),
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
        populate_by_name=True,
    )


def _networks(ranges: tuple[str, ...]) -> tuple[str, ...]:
    for text in ranges:
        try:
            ip_network(text)
        except ValueError:
            raise ValueError(f"'{text}' must be a network such as 10.1.0.0/16") from None
    return ranges


class AISettings(BaseSettings):
    """The language model: any server that speaks the OpenAI chat completions API."""

    model_config = _config("AI_")

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


class DeliverySettings(BaseSettings):
    """How a mailing is worked off. The numbers are explained in ``docs/architecture.md``."""

    model_config = _config("DELIVERY_")

    batch_size: int = Field(500, ge=1, le=10_000)
    """Recipients that one worker takes at once."""
    block_size: int = Field(64, ge=1, le=1_000)
    """Recipients whose outcomes are written in one transaction; a killed process leaves
    at most two blocks with outcome ``unknown``."""
    lease: float = Field(30, gt=0)
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
    signing_threads: int = Field(2, ge=1, le=64)
    """Threads of a worker process that sign mails with DKIM; more than it has processors are
    of no use."""
    max_crashes: int = Field(3, ge=1)
    """Crashes of a batch without progress after which it is halved."""
    pause_after_sends: int = Field(500, ge=1)
    """Mails that a campaign has tried before its bounces and complaints may pause it."""
    pause_bounce_percent: float = Field(5, gt=0, le=100)
    """Hard bounces, in percent of the mails tried, above which a campaign pauses itself; 100 never does."""
    pause_complaint_percent: float = Field(0.3, gt=0, le=100)
    """Complaints, in percent of the mails sent, above which a campaign pauses itself; 100 never does.
    Gmail and Yahoo treat a sender above 0.3 % as a source of spam."""


class CampaignSettings(BaseSettings):
    """When scheduled campaigns begin."""

    model_config = _config("CAMPAIGN_")

    grace_minutes: float = Field(60, ge=0)
    """How late a scheduled campaign may still begin, when nothing was running at its time. After
    that it fails as ``schedule_missed``, and may be sent by hand."""


class SMTPSettings(BaseSettings):
    """The default sending server of live projects."""

    model_config = _config("SMTP_")

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

    model_config = _config("PROVIDER_")

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


class WebhookSettings(BaseSettings):
    """Calls to customers' endpoints."""

    model_config = _config("WEBHOOK_")

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
    threads: int = Field(8, ge=1, le=64)
    """Calls that one worker process makes at the same time."""

    @field_validator("allowed_ranges")
    @classmethod
    def _known_ranges(cls, ranges: tuple[str, ...]) -> tuple[str, ...]:
        return _networks(ranges)


class RoutingSettings(BaseSettings):
    """How mail finds its way through several sending servers; ``docs/routing.md`` explains it."""

    model_config = _config("ROUTING_")

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
        return _networks(ranges)


class EventSettings(BaseSettings):
    """The log of what happened, and opens and clicks on their way into it."""

    model_config = _config("EVENTS_")

    keep_days: int = Field(400, ge=7)
    """Days that an event stays readable and can be sent to a webhook again; on PostgreSQL, which
    drops whole months, up to 31 more."""
    flush_seconds: float = Field(0.5, gt=0, le=60)
    """Seconds that an open or click stays in memory at most; a process that is killed loses them."""
    block: int = Field(1_000, ge=1, le=10_000)
    """Opens and clicks that are written together; a full block does not wait."""
    buffer: int = Field(50_000, ge=1)
    """Opens and clicks that one process keeps in memory; beyond that they are dropped."""
    spool_bytes: int = Field(256_000_000, ge=0)
    """The most that waits in the folder ``tracking`` of the data folder while the database is away,
    some 400 bytes each; beyond that they are dropped."""


class LimitSettings(BaseSettings):
    """Sizes that protect the service from its callers."""

    model_config = _config("MAX_")

    body_bytes: int = Field(5_000_000, ge=1_000)
    """The largest body of a request; 413 above it."""
    html_bytes: int = Field(500_000, ge=1_000)
    """The largest ``html`` of a campaign or template."""
    batch_rows: int = Field(1_000, ge=1, le=10_000)
    """The most rows in one ``/subscribers/batch``."""
    custom_fields: int = Field(100, ge=0)
    """The most custom fields of one project."""
    tags: int = Field(50, ge=0)
    """The most tags of one subscriber."""
    webhook_endpoints: int = Field(20, ge=1)
    """The most webhook endpoints of one project."""
    sending_servers: int = Field(50, ge=1)
    """The most sending servers of one project."""
    sending_domains: int = Field(100, ge=1)
    """The most sending domains of one project."""
    routing_rules: int = Field(200, ge=1)
    """The most routing rules of one project."""
    sandbox_messages: int = Field(20_000, ge=1)
    """The most mails that the inbox of a test project keeps; the oldest go first."""


class Settings(BaseSettings):
    """The whole configuration; groups nest, so ``settings.ai.timeout``."""

    model_config = _config()

    data_dir: Path = Path("data")
    """The folder of the SQLite file and of a generated secret key."""
    public_url: str = "http://127.0.0.1:8000"
    """Where readers of a mail reach this service: unsubscribe and view-in-browser links."""
    tracking_url: str = ""
    """Where tracked links and the open pixel lead; a host of its own keeps its reputation apart.
    It must reach this service, too. Default: PUBLIC_URL."""
    database_url: str = ""
    """``sqlite+aiosqlite:///…`` or ``postgresql+asyncpg://…``; default: a file in the data folder."""
    redis_url: str | None = None
    """Redis for rate limits and, unless BROKER_URL says otherwise, for waking workers. Without one,
    each process counts calls for itself."""
    broker_url: str = ""
    """What wakes the workers: ``memory://`` (in this process), a ``redis://`` URL, or RabbitMQ by
    ``amqp://user:password@host:5672/virtual-host`` (``amqps://`` with TLS).
    Default: REDIS_URL where it is set, else ``memory://``."""
    secret_key: SecretStr | None = None
    """At least 32 characters; signs links and encrypts secrets. In the embedded mode one is
    generated and kept in the data folder; several processes must share one, so there it is required."""
    secret_keys_old: tuple[SecretStr, ...] = ()
    """Former secret keys, newest first, as a JSON list: old links and secrets stay readable."""
    require_verified_domain: bool = False
    """Refuse to launch from a domain that is not verified."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """What is logged, to standard error."""
    log_format: Literal["auto", "json", "console"] = "auto"
    """``auto``: coloured lines on a terminal, JSON lines elsewhere."""
    prompts_dir: Path | None = None
    """A folder whose files stand in for the packaged ``prompts/``."""
    email_templates_dir: Path | None = None
    """A folder whose files stand in for the packaged ``email_templates/``."""
    plans_file: Path | None = None
    """A file that stands in for the packaged plan table (``newsletter/plans/plans.toml``)."""
    database_pool: int = Field(20, ge=2, le=200)
    """Connections that each event loop opens to the database at most, and keeps."""

    ai: AISettings = Field(default_factory=AISettings)
    smtp: SMTPSettings = Field(default_factory=SMTPSettings)
    providers: ProviderSettings = Field(default_factory=ProviderSettings)
    delivery: DeliverySettings = Field(default_factory=DeliverySettings)
    routing: RoutingSettings = Field(default_factory=RoutingSettings)
    campaigns: CampaignSettings = Field(default_factory=CampaignSettings)
    webhooks: WebhookSettings = Field(default_factory=WebhookSettings)
    events: EventSettings = Field(default_factory=EventSettings)
    limits: LimitSettings = Field(default_factory=LimitSettings)

    @field_validator("public_url", "tracking_url")
    @classmethod
    def _http_url(cls, url: str, info: ValidationInfo) -> str:
        if not url and info.field_name == "tracking_url":
            return url
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("must look like https://news.example.com")
        return url.rstrip("/")

    @field_validator("database_url")
    @classmethod
    def _with_driver(cls, url: str) -> str:
        scheme, separator, rest = url.partition("://")
        drivers = {
            "postgres": "postgresql+asyncpg",
            "postgresql": "postgresql+asyncpg",
            "postgresql+asyncpg": "postgresql+asyncpg",
            "sqlite": "sqlite+aiosqlite",
            "sqlite+aiosqlite": "sqlite+aiosqlite",
        }
        if url and (scheme not in drivers or not separator):
            raise ValueError("must begin with postgresql:// or sqlite:///")
        return f"{drivers[scheme]}://{rest}" if url else url

    @field_validator("redis_url")
    @classmethod
    def _known_redis(cls, url: str | None) -> str | None:
        if url and urlsplit(url).scheme not in REDIS_SCHEMES:
            raise ValueError("must begin with redis:// (or rediss://, unix://)")
        return url

    @field_validator("broker_url")
    @classmethod
    def _known_broker(cls, url: str) -> str:
        if url and url != "memory://" and urlsplit(url).scheme not in {*REDIS_SCHEMES, "amqp", "amqps"}:
            raise ValueError("must begin with redis:// or amqp://, or be memory://")
        return url

    @field_validator("secret_key")
    @classmethod
    def _long_enough(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None and len(key.get_secret_value()) < 32:
            raise ValueError("must have at least 32 characters; 'openssl rand -hex 32' makes one")
        return key

    @model_validator(mode="after")
    def _fill_in(self) -> Self:
        # The model is frozen for everyone else; derived defaults are set once, here.
        if not self.database_url:
            path = (self.data_dir / "newsletter.db").absolute()
            self.__dict__["database_url"] = f"sqlite+aiosqlite:///{path}"
        if not self.tracking_url:
            self.__dict__["tracking_url"] = self.public_url
        if not self.broker_url:
            self.__dict__["broker_url"] = self.redis_url or "memory://"
        if self.is_distributed and self.secret_key is None:
            raise ValueError(
                "SECRET_KEY is missing: several processes must share one; 'openssl rand -hex 32' makes one"
            )
        return self

    @property
    def is_distributed(self) -> bool:
        """Whether more than one process may be at work on this installation."""
        return self.broker_url != "memory://"

    @cached_property
    def is_sqlite(self) -> bool:
        return self.database_url.startswith("sqlite")


def explain(error: ValidationError) -> list[str]:
    """A settings error as lines that name the variable and what it should be."""
    prefixes = {
        group.__name__: str(group.model_config["env_prefix"]) for group in BaseSettings.__subclasses__()
    }
    lines = []
    for problem in error.errors(include_url=False, include_context=False, include_input=False):
        place = "_".join(str(part) for part in problem["loc"]).upper()
        prefix = prefixes.get(error.title, PREFIX)
        name = place if place.startswith("OPENAI_") else (prefix + place if place else "NEWSLETTER")
        lines.append(f"{name}: {problem['msg'].removeprefix('Value error, ')}")
    return lines
