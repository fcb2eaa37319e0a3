"""The types of sending server that there are: how each is written down, and how it is made."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints, model_validator

from newsletter.kit.egress import Guard
from newsletter.providers.base import Provider
from newsletter.providers.config import Secret, ServerConfig
from newsletter.providers.events import Feed
from newsletter.providers.http import HTTPProvider, MailAPI
from newsletter.providers.mailgun import Mailgun, MailgunConfig, MailgunFeed
from newsletter.providers.ownserver import OwnServerFeed
from newsletter.providers.postmark import Postmark, PostmarkConfig, PostmarkFeed
from newsletter.providers.resend import Resend, ResendConfig, ResendFeed
from newsletter.providers.sendgrid import SendGrid, SendGridConfig, SendGridFeed
from newsletter.providers.ses import SES, SESConfig, SESFeed
from newsletter.providers.smtp import Limits, SMTPProvider, SMTPServer, Timeouts
from newsletter.providers.smtp.config import TLS
from newsletter.providers.sns import Certificates
from newsletter.settings import Settings


class ServerType(StrEnum):
    """What a sending server speaks."""

    smtp = "smtp"
    ses = "ses"
    mailgun = "mailgun"
    sendgrid = "sendgrid"
    resend = "resend"
    postmark = "postmark"
    sandbox = "sandbox"


class SMTPConfig(ServerConfig):
    """A mail server that takes mail over SMTP."""

    host: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9](?:[A-Za-z0-9.:-]{0,253}[A-Za-z0-9])?$")]
    """A name, or an address."""
    port: int = Field(587, ge=1, le=65_535)
    tls: TLS = TLS.REQUIRED
    """``required`` (STARTTLS or nothing), ``implicit`` (from the start, port 465), ``offered``
    (STARTTLS where the server has it), ``none``."""
    username: Annotated[str, StringConstraints(min_length=1, max_length=320)] | None = None
    password: Secret | None = None
    webhook_secret: Secret | None = None
    """``whsec_…``; with it, reports of this server are taken in, in the form of
    `newsletter.providers.ownserver`."""

    example: ClassVar = {
        "host": "smtp.example.com",
        "port": 587,
        "tls": "required",
        "username": "newsletter",
        "password": "a-long-random-password",
        "webhook_secret": "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
    }

    @model_validator(mode="after")
    def _both_or_neither(self) -> "SMTPConfig":
        if (self.username is None) != (self.password is None):
            raise ValueError("a username needs a password, and a password a username")
        return self

    def server(self) -> SMTPServer:
        return SMTPServer(
            host=self.host,
            port=self.port,
            tls=self.tls,
            username=self.username,
            password=self.password.get_secret_value() if self.password is not None else None,
        )


class SandboxConfig(ServerConfig):
    """The inbox of the project itself: nothing leaves the house."""


CONFIGS: Mapping[ServerType, type[ServerConfig]] = MappingProxyType(
    {
        ServerType.smtp: SMTPConfig,
        ServerType.ses: SESConfig,
        ServerType.mailgun: MailgunConfig,
        ServerType.sendgrid: SendGridConfig,
        ServerType.resend: ResendConfig,
        ServerType.postmark: PostmarkConfig,
        ServerType.sandbox: SandboxConfig,
    }
)
"""How each type is written down; `CONFIGS[type].model_validate` reads one, and raises pydantic's
``ValidationError`` with every bad field and no value."""


def make(
    config: ServerConfig,
    settings: Settings,
    *,
    connections: int | None = None,
    messages_per_connection: int | None = None,
    guard: Guard | None = None,
) -> Provider:
    """Connects to nothing yet. Call it inside the event loop that uses the provider.

    ``connections`` and ``messages_per_connection`` stand in for those of the settings; ``guard``
    checks where a host that a customer named leads. The APIs' addresses are not the customers'
    to name. Raises `TypeError` for the sandbox, whose mailboxes are rows: it is made where the
    database is, by `newsletter.routing.workshop`.
    """
    if isinstance(config, SMTPConfig):
        return SMTPProvider(
            config.server(),
            limits=Limits.from_settings(settings.smtp, connections, messages_per_connection),
            timeouts=Timeouts.from_settings(settings.smtp),
            local_hostname=settings.smtp.local_hostname,
            guard=guard,
        )
    api = _api(config)
    api.base_url = settings.providers.endpoints.get(api.name, api.base_url)
    own = settings.providers.model_copy(update={"connections": connections or settings.providers.connections})
    return HTTPProvider(api, own)


def _api(config: ServerConfig) -> MailAPI:
    match config:
        case SESConfig():
            return SES(config)
        case MailgunConfig():
            return Mailgun(config)
        case SendGridConfig():
            return SendGrid(config)
        case ResendConfig():
            return Resend(config)
        case PostmarkConfig():
            return Postmark(config)
    raise TypeError(f"{type(config).__name__} is not made here")


def feed(config: ServerConfig, certificates: Certificates) -> Feed | None:
    """What takes in the reports about a server; None for the sandbox, which makes its own."""
    match config:
        case SMTPConfig():
            return OwnServerFeed(config.webhook_secret)
        case SESConfig():
            return SESFeed(config, certificates)
        case MailgunConfig():
            return MailgunFeed(config)
        case SendGridConfig():
            return SendGridFeed(config)
        case ResendConfig():
            return ResendFeed(config)
        case PostmarkConfig():
            return PostmarkFeed(config)
    return None
