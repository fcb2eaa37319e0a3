"""Everything a process needs to work, made once per event loop. Only the edges see it."""

import contextlib
import os
import secrets
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import structlog

from newsletter.kit.crypto import Vault
from newsletter.kit.db import Database
from newsletter.kit.jobs import Bell
from newsletter.kit.ratelimit import Limiter, make_limiter
from newsletter.kit.resources import Resources
from newsletter.kit.tokens import Signer
from newsletter.plans import catalogue
from newsletter.settings import Settings

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Runtime:
    """The parts, wired. An async engine belongs to one event loop, so the API's loop and the
    workers' loop each have a runtime of their own."""

    settings: Settings
    bell: Bell

    @cached_property
    def db(self) -> Database:
        return Database(
            self.settings.database_url, pool_size=self.settings.database_pool, info={"bell": self.bell}
        )

    @cached_property
    def vault(self) -> Vault:
        return Vault(secret_keys(self.settings))

    @cached_property
    def signer(self) -> Signer:
        return Signer(secret_keys(self.settings))

    @cached_property
    def plans(self) -> catalogue.Catalogue:
        return catalogue.load(self.settings.plans_file)

    @cached_property
    def limiter(self) -> Limiter:
        return make_limiter(self.settings.redis_url)

    @cached_property
    def prompts(self) -> Resources:
        return Resources("prompts", self.settings.prompts_dir)

    @cached_property
    def email_templates(self) -> Resources:
        return Resources("email_templates", self.settings.email_templates_dir)

    async def aclose(self) -> None:
        await self.limiter.aclose()
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
