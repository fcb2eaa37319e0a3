"""Everything a process needs to work, made once per event loop. Only the edges see it."""

import contextlib
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from uuid import UUID

import structlog
from prometheus_client import CollectorRegistry

from newsletter.accounts.audit.calls import Calls
from newsletter.accounts.audit.notary import NOTARY, Notary
from newsletter.audience.intake import Intake
from newsletter.campaigns.drafting import Studio
from newsletter.copywriting.prompts import Task
from newsletter.copywriting.service import Desk
from newsletter.delivery.letters import Letters
from newsletter.delivery.links import Links
from newsletter.delivery.return_path import ReturnPaths
from newsletter.delivery.signers import Signers
from newsletter.domains.resolver import Resolver
from newsletter.feedback.sightings import Sightings
from newsletter.kit.crypto import Vault
from newsletter.kit.db import Database
from newsletter.kit.http import EgressFailed, GuardedClient
from newsletter.kit.jobs import Bell
from newsletter.kit.ratelimit import Limiter, make_limiter
from newsletter.kit.resources import Resources
from newsletter.kit.spool import Spool
from newsletter.kit.tokens import Signer
from newsletter.llm import Model, connect
from newsletter.plans import catalogue
from newsletter.providers.base import MailStream, Provider
from newsletter.providers.sns import Certificates
from newsletter.routing.reporting import Reporting
from newsletter.routing.router import Router
from newsletter.routing.workshop import Workshop
from newsletter.sandbox.inbox import SandboxProvider
from newsletter.settings import Settings
from newsletter.templates import starters
from newsletter.templates.queries import Shelf
from newsletter.transactional.postbox import Postbox
from newsletter.transactional.service import Office

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Runtime:
    """The parts, wired. An async engine belongs to one event loop, so the API's loop and the
    workers' loop each have a runtime of their own."""

    settings: Settings
    bell: Bell
    is_stopping: Callable[[], bool] = lambda: False
    """Becomes true when the process was asked to end."""
    leave_place: Callable[[UUID], None] = lambda job_id: None
    """Lets the thread of a job take another one, while this one goes on."""

    @cached_property
    def db(self) -> Database:
        return Database(
            self.settings.database_url,
            pool_size=self.settings.database_pool,
            # Asked for when something is signed: to look at a database makes no secret.
            info={"bell": self.bell, NOTARY: lambda: self.notary},
        )

    @cached_property
    def vault(self) -> Vault:
        return Vault(secret_keys(self.settings))

    @cached_property
    def signer(self) -> Signer:
        return Signer(secret_keys(self.settings))

    @cached_property
    def notary(self) -> Notary:
        return Notary(secret_keys(self.settings), self.settings.node_name)

    @cached_property
    def plans(self) -> catalogue.Catalogue:
        return catalogue.load(self.settings.plans_file)

    @cached_property
    def limiter(self) -> Limiter:
        return make_limiter(self.settings.redis_url)

    @cached_property
    def meters(self) -> CollectorRegistry:
        """What parts count for Prometheus that the API knows nothing of."""
        return CollectorRegistry()

    @cached_property
    def prompts(self) -> Resources:
        return Resources("prompts", self.settings.prompts_dir)

    @cached_property
    def email_templates(self) -> Resources:
        return Resources("email_templates", self.settings.email_templates_dir)

    @cached_property
    def shelf(self) -> Shelf:
        return Shelf(starters.load(self.email_templates))

    @cached_property
    def model(self) -> Model | None:
        """None where no model is configured."""
        return connect(self.settings.ai)

    @cached_property
    def studio(self) -> Studio:
        """What campaigns are made with."""
        desk = Desk(self.model, Task.load(self.prompts), self.settings.ai)
        return Studio(self.settings, desk, self.shelf)

    @cached_property
    def office(self) -> Office:
        """What single mails are made with."""
        return Office(self.shelf, self.settings)

    @cached_property
    def postbox(self) -> Postbox:
        return Postbox(self.db, self.office)

    @cached_property
    def egress(self) -> GuardedClient:
        """The only way out to addresses that customers name."""
        webhooks = self.settings.webhooks
        return GuardedClient(
            timeout=webhooks.timeout,
            max_answer_bytes=webhooks.max_answer_bytes,
            allowed_ranges=webhooks.allowed_ranges,
            allowed_ports=webhooks.allowed_ports,
        )

    @cached_property
    def resolver(self) -> Resolver:
        """What asks the DNS."""
        return Resolver(self.settings.dns)

    @cached_property
    def certificates(self) -> Certificates:
        """Those that Amazon SNS signs its reports with."""

        async def fetch(url: str) -> bytes:
            answer = await self.egress.get(url)
            if answer.status != 200:
                raise EgressFailed(f"The certificate's server answered {answer.status}.")
            return answer.body

        return Certificates(fetch)

    @cached_property
    def reporting(self) -> Reporting:
        """Where providers report to."""
        return Reporting(self.signer, self.settings.public_url)

    @cached_property
    def intake(self) -> Intake:
        return Intake(self.db, self.vault, self.settings.limits)

    @cached_property
    def links(self) -> Links:
        return Links(self.signer, self.settings.public_url, self.settings.tracking_url)

    @cached_property
    def return_paths(self) -> ReturnPaths:
        return ReturnPaths(self.signer, self.settings.return_path.domain)

    @cached_property
    def signers(self) -> Signers:
        return Signers(self.settings.delivery.signing_threads)

    @cached_property
    def letters(self) -> Letters:
        return Letters(self.db, self.vault, self.links, self.return_paths, self.signers)

    @cached_property
    def sightings(self) -> Sightings:
        """Opens and clicks on their way into the log; only the API's loop has any."""
        spool = Spool(self.settings.data_dir / "tracking", self.settings.events.spool_bytes)
        return Sightings(self.db, self.settings.events, spool)

    @cached_property
    def calls(self) -> Calls:
        """Answered calls on their way into the audit log."""
        spool = Spool(self.settings.data_dir / "audit", self.settings.audit.spool_bytes)
        return Calls(self.db, self.settings.audit, spool, self.settings.node_name)

    @cached_property
    def workshop(self) -> Workshop:
        """What makes sending servers out of their configurations."""
        return Workshop(self.settings, self._sandbox)

    @cached_property
    def router(self) -> Router:
        return Router(self.db, self.vault, self.workshop, self.settings)

    def provider_for(self, stream: MailStream) -> Provider:
        """Mail of test projects never leaves the house, whatever is configured."""
        if stream.is_test:
            return self._sandbox(stream.project_id)
        return self.router.for_stream(stream)

    def _sandbox(self, project_id: UUID) -> SandboxProvider:
        return SandboxProvider(self.db, project_id, self.settings.limits.sandbox_messages)

    async def aclose(self) -> None:
        # What was never used was never made, and making it now only to close it would be odd.
        for name in ("sightings", "calls", "router", "egress", "model", "limiter"):
            part = self.__dict__.get(name)
            if part is not None:
                await part.aclose()
        if "signers" in self.__dict__:
            self.signers.close()
        await self.db.close()


def secret_keys(settings: Settings) -> list[str]:
    """The secret keys, newest first. The embedded mode generates one and keeps it."""
    newest = settings.secret_key.get_secret_value() if settings.secret_key else _kept_key(settings.data_dir)
    return [newest, *(key.get_secret_value() for key in settings.secret_keys_old)]


def _kept_key(folder: Path) -> str:
    """Written whole under another name, then linked: of two first starts, one key wins."""
    path = folder / "secret_key"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        draft = folder / f".secret_key.{os.getpid()}"
        draft.touch(mode=0o600)
        draft.write_text(secrets.token_hex(32), encoding="ascii")
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
            log.info("generated a secret key", file=path.name)
        draft.unlink()
    return path.read_text(encoding="ascii").strip()
