"""The types of sending server there are: what each is configured with, and what it is made into."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, Field, model_validator

from newsletter.kit import egress
from newsletter.kit.egress import Guard
from newsletter.kit.schema import Line
from newsletter.providers.base import Provider
from newsletter.providers.config import Secret, ServerConfig
from newsletter.providers.smtp import SMTPProvider, SMTPServer, Timeouts
from newsletter.providers.smtp.config import TLS
from newsletter.settings import Settings


class ServerType(StrEnum):
    smtp = "smtp"
    sandbox = "sandbox"


def _host(text: str) -> str:
    egress.check_host(text)
    return text


class SMTPConfig(ServerConfig):
    """A mail server that speaks SMTP."""

    host: Annotated[Line, Field(min_length=1, max_length=253), AfterValidator(_host)]
    """Its name. It must lead to public addresses, unless the operator allows more."""
    port: Annotated[int, Field(ge=1, le=65_535)] | None = None
    """Default: 465 with ``implicit`` TLS, else 587."""
    tls: TLS = TLS.REQUIRED
    """``required``: STARTTLS or nothing; ``implicit``: TLS from the start; ``offered``: STARTTLS
    where the server has it; ``none``."""
    username: Annotated[Line, Field(min_length=1, max_length=320)] | None = None
    password: Secret | None = None

    @model_validator(mode="after")
    def _both_or_none(self) -> "SMTPConfig":
        if (self.username is None) != (self.password is None):
            raise ValueError("a username needs a password, and a password a username")
        return self

    def server(self) -> SMTPServer:
        return SMTPServer(
            host=self.host,
            port=self.port or (465 if self.tls is TLS.IMPLICIT else 587),
            tls=self.tls,
            username=self.username,
            password=self.password.get_secret_value() if self.password else None,
        )


class SandboxConfig(ServerConfig):
    """Keeps the mail instead of sending it. There is nothing to configure."""


CONFIGS: Mapping[ServerType, type[ServerConfig]] = MappingProxyType(
    {ServerType.smtp: SMTPConfig, ServerType.sandbox: SandboxConfig}
)


@dataclass(frozen=True, slots=True)
class Workshop:
    """Makes a provider of a configuration; ``sandbox`` makes that of a project."""

    settings: Settings
    sandbox: Callable[[UUID], Provider]

    def guard(self) -> Guard:
        """What customers name must not lead into the operator's network."""
        routing = self.settings.routing
        return Guard(routing.allowed_ranges, routing.allowed_ports)

    def make(
        self, project_id: UUID, config: ServerConfig, *, connections: int, messages_per_connection: int
    ) -> Provider:
        if isinstance(config, SMTPConfig):
            smtp = self.settings.smtp
            return SMTPProvider(
                config.server(),
                connections=connections,
                messages_per_connection=messages_per_connection,
                timeouts=Timeouts.from_settings(smtp),
                local_hostname=smtp.local_hostname,
                guard=self.guard(),
            )
        return self.sandbox(project_id)

    def default(self) -> Provider:
        """The installation's own server. Raises `ValueError` where none is set."""
        return SMTPProvider.from_settings(self.settings.smtp)
