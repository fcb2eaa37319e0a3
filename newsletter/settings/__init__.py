"""Everything an operator can set: environment variables ``NEWSLETTER_*`` or a file of them.

``Settings()`` reads the environment, then the file named by ``NEWSLETTER_ENV_FILE``
(default ``.env``), then the defaults below. The variable of a field is the prefix of its
group and its name in capitals: `AISettings.timeout` is ``NEWSLETTER_AI_TIMEOUT``.
"""

import json
import os
import re
import socket
from functools import cached_property
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsError

from newsletter.kit.callers import Callers
from newsletter.kit.wording import plain
from newsletter.settings.auditing import AuditSettings
from newsletter.settings.automating import AutomationSettings
from newsletter.settings.base import PREFIX, config, listening, place_of
from newsletter.settings.domains import DNSSettings
from newsletter.settings.keeping import RetentionSettings
from newsletter.settings.limits import LimitSettings
from newsletter.settings.returning import BounceSettings, IMAPSettings, ReturnPathSettings, SMTPDSettings
from newsletter.settings.sending import (
    CampaignSettings,
    DeliverySettings,
    ProviderSettings,
    RoutingSettings,
    SMTPSettings,
)
from newsletter.settings.submitting import SubmissionSettings
from newsletter.settings.telling import EventSettings, WebhookSettings
from newsletter.settings.writing import AISettings

__all__ = [
    "PREFIX",
    "AISettings",
    "AuditSettings",
    "AutomationSettings",
    "BounceSettings",
    "CampaignSettings",
    "DNSSettings",
    "DeliverySettings",
    "EventSettings",
    "IMAPSettings",
    "LimitSettings",
    "ProviderSettings",
    "RetentionSettings",
    "ReturnPathSettings",
    "RoutingSettings",
    "SMTPDSettings",
    "SMTPSettings",
    "Settings",
    "SubmissionSettings",
    "WebhookSettings",
    "explain",
]

REDIS_SCHEMES = frozenset({"redis", "rediss", "unix"})


class Settings(BaseSettings):
    """The whole configuration; groups nest, so ``settings.ai.timeout``."""

    model_config = config()

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
    node_name: str = Field("", max_length=200, pattern=r"^[!-~]*$")
    """What this machine is called in the audit log. Default: its host name."""
    require_verified_domain: bool = False
    """Refuse campaigns and single mails of live projects from a domain that is not verified."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """What is logged, to standard error."""
    log_format: Literal["auto", "json", "console"] = "auto"
    """``auto``: coloured lines on a terminal, JSON lines elsewhere."""
    metrics_listen: str | None = None
    """``http://127.0.0.1:9400``: where ``newsletter worker`` and ``newsletter smtpd`` answer
    ``GET /metrics``. ``newsletter serve`` does that beside the API."""
    prompts_dir: Path | None = None
    """A folder whose files stand in for the packaged ``prompts/``."""
    email_templates_dir: Path | None = None
    """A folder whose files stand in for the packaged ``email_templates/``."""
    plans_file: Path | None = None
    """A file that stands in for the packaged plan table (``newsletter/plans/plans.toml``)."""
    caller_ipv4_prefix: int = Field(32, ge=8, le=32)
    """Who calls without a key, or fails to sign in by SMTP, is counted by the address; of IPv4 by so many of
    its bits."""
    caller_ipv6_prefix: int = Field(64, ge=16, le=128)
    """The same for IPv6, where one customer of a network has a /64 at least."""
    database_pool: int = Field(20, ge=2, le=200)
    """Connections that each event loop opens to the database at most, and keeps. PostgreSQL sees up to a
    dozen more of each: those of the statements that go past the pool."""

    ai: AISettings = Field(default_factory=AISettings)
    smtp: SMTPSettings = Field(default_factory=SMTPSettings)
    providers: ProviderSettings = Field(default_factory=ProviderSettings)
    delivery: DeliverySettings = Field(default_factory=DeliverySettings)
    routing: RoutingSettings = Field(default_factory=RoutingSettings)
    campaigns: CampaignSettings = Field(default_factory=CampaignSettings)
    webhooks: WebhookSettings = Field(default_factory=WebhookSettings)
    automations: AutomationSettings = Field(default_factory=AutomationSettings)
    events: EventSettings = Field(default_factory=EventSettings)
    dns: DNSSettings = Field(default_factory=DNSSettings)
    return_path: ReturnPathSettings = Field(default_factory=ReturnPathSettings)
    smtpd: SMTPDSettings = Field(default_factory=SMTPDSettings)
    submission: SubmissionSettings = Field(default_factory=SubmissionSettings)
    imap: IMAPSettings = Field(default_factory=IMAPSettings)
    audit: AuditSettings = Field(default_factory=AuditSettings)
    retention: RetentionSettings = Field(default_factory=RetentionSettings)
    bounces: BounceSettings = Field(default_factory=BounceSettings)
    limits: LimitSettings = Field(default_factory=LimitSettings)

    @field_validator("public_url", "tracking_url")
    @classmethod
    def _http_url(cls, url: str, info: ValidationInfo) -> str:
        if not url and info.field_name == "tracking_url":
            return url
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("must look like https://news.example.com")
        # It stands in the header of every mail, which takes nothing else.
        if not re.fullmatch(r"[!-~]+", url) or re.search(r'[<>"\\@]', url):
            raise ValueError("must be plain ASCII: a domain of another script as xn--…, no user name")
        return url.rstrip("/")

    @field_validator("metrics_listen")
    @classmethod
    def _place(cls, url: str | None) -> str | None:
        return listening(url, {"http"}, "http://127.0.0.1:9400")

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
        if not self.node_name:
            self.__dict__["node_name"] = socket.gethostname()
        if not self.broker_url:
            self.__dict__["broker_url"] = self.redis_url or "memory://"
        if self.is_distributed and self.secret_key is None:
            raise ValueError(
                "SECRET_KEY is missing: several processes must share one; 'openssl rand -hex 32' makes one"
            )
        if self.retention.run_days * 24 <= self.delivery.campaign_hours:
            # The values that a run's mails show go with its steps; a deferred mail is still to be written.
            raise ValueError("RETENTION_RUN_DAYS must be longer than DELIVERY_CAMPAIGN_HOURS")
        return self

    @property
    def is_distributed(self) -> bool:
        """Whether more than one process may be at work on this installation."""
        return self.broker_url != "memory://"

    @cached_property
    def callers(self) -> Callers:
        """How those are counted who are known by their address alone."""
        return Callers(self.caller_ipv4_prefix, self.caller_ipv6_prefix)

    @property
    def metrics_place(self) -> tuple[str, int] | None:
        """Host and port for processes without an API."""
        return None if self.metrics_listen is None else place_of(self.metrics_listen)

    @cached_property
    def tracking_host(self) -> str:
        """The host that a project's own tracking host must be another name of."""
        return urlsplit(self.tracking_url).hostname or ""

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
        lines.append(f"{name}: {plain(problem['msg'])}")
    return lines


def explain_unreadable(error: SettingsError) -> list[str]:
    """The same for a list or object that is no JSON: it stops the reading before any check."""
    name = str(error).partition('"')[2].partition('"')[0]
    lines = []
    for group in BaseSettings.__subclasses__():
        field = group.model_fields.get(name)
        if field is not None:
            variable = f"{group.model_config['env_prefix']}{name}".upper()
            known = field.get_default(call_default_factory=True)
            shown = f", for example {json.dumps(known)}" if known else ""
            lines.append((variable in os.environ, f"{variable}: must be written as JSON{shown}"))
    # Several groups may have a field of this name; the one that is set is meant, where it is known.
    return [line for is_set, line in lines if is_set] or [line for _, line in lines]
