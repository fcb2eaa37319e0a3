"""Makes the object that sends out of what is written down about a server."""

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from newsletter.kit.egress import Guard
from newsletter.providers import registry
from newsletter.providers.base import Provider
from newsletter.providers.config import ServerConfig
from newsletter.providers.registry import SandboxConfig
from newsletter.providers.smtp import SMTPProvider
from newsletter.settings import Settings


@dataclass(frozen=True, slots=True)
class Workshop:
    """``sandbox`` makes the inbox of a project, which is a part of the database."""

    settings: Settings
    sandbox: Callable[[UUID], Provider]

    def make(
        self, project_id: UUID, config: ServerConfig, *, connections: int, messages_per_connection: int
    ) -> Provider:
        """Connects to nothing yet. What customers name must not lead into the operator's network."""
        if isinstance(config, SandboxConfig):
            return self.sandbox(project_id)
        routing = self.settings.routing
        return registry.make(
            config,
            self.settings,
            connections=connections,
            messages_per_connection=messages_per_connection,
            guard=Guard(routing.allowed_ranges, routing.allowed_ports),
        )

    def default(self) -> Provider:
        """The installation's own server. Raises `ValueError` where none is set."""
        return SMTPProvider.from_settings(self.settings.smtp)
