"""Writes sending servers, and tries whether one can be reached."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from pydantic import ValidationError
from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts import queries as accounts
from newsletter.accounts.project import Project
from newsletter.kit import clock, ids
from newsletter.kit.crypto import Vault
from newsletter.kit.db import Database
from newsletter.kit.errors import Conflict, NewsletterError, ValidationFailed
from newsletter.kit.wording import plain
from newsletter.providers.base import Refusal
from newsletter.providers.config import ServerConfig
from newsletter.providers.registry import CONFIGS, ServerType
from newsletter.routing import queries
from newsletter.routing.models import DestinationThrottle, SendingServer, ServerBreaker, ServerMeter
from newsletter.routing.schemas import Ramp, ServerCreate, ServerUpdate
from newsletter.routing.warmup import WarmUp
from newsletter.routing.workshop import Workshop


class ServerLimitReached(Conflict):
    code, status = "sending_server_limit_reached", 409
    summary = "The project has as many sending servers as it may have. Delete one first."


class ServerInUse(Conflict):
    code, status = "sending_server_in_use", 409
    summary = "Routing rules name this server. Delete them first, or set is_active to false."


class ServerTestFailed(NewsletterError):
    code, status = "sending_server_test_failed", 502
    summary = "The sending server could not be reached or signed in to."


@dataclass(frozen=True, slots=True)
class Tested:
    found: str
    elapsed_ms: int


async def create(
    session: AsyncSession, vault: Vault, project: Project, new: ServerCreate, *, limit: int
) -> SendingServer:
    """Raises `ServerLimitReached` when the project has ``limit`` servers, and `ValidationFailed`
    with fields ``config.…``."""
    if new.type is ServerType.sandbox and not project.is_test:
        raise ValidationFailed.of("type", "a sandbox would swallow the mail of a live project")
    config = _config(new.type, new.config)
    await accounts.lock_project(session, project)
    if await queries.count_servers(session, project) >= limit:
        raise ServerLimitReached(f"A project may have {limit} sending servers. Delete one first.")
    now, server_id = clock.now(), ids.uuid7()
    row = SendingServer(
        id=server_id,
        project_id=project.id,
        name=new.name,
        type=new.type.value,
        config=config.open_part(),
        secrets=_seal(vault, server_id, config),
        version=1,
        is_active=new.is_active,
        max_connections=new.max_connections,
        messages_per_connection=new.messages_per_connection,
        quota_per_hour=new.quota_per_hour,
        quota_per_day=new.quota_per_day,
        quota_per_month=new.quota_per_month,
        rate_per_second=new.rate_per_second,
        warm_up=_ramp(new.warm_up),
        from_domains=new.from_domains,
        created_at=now,
        updated_at=now,
    )
    session.add(row)
    await session.flush()
    return row


async def update(
    session: AsyncSession, vault: Vault, project: Project, server_id: UUID, changes: ServerUpdate
) -> SendingServer:
    """Workers see the change within seconds. Raises `ValidationFailed` with fields ``config.…``."""
    row = await queries.server(session, project, server_id, lock=True)
    for field in changes.model_fields_set - {"config", "warm_up"}:
        setattr(row, field, getattr(changes, field))
    if changes.sent("warm_up"):
        row.warm_up = _ramp(changes.warm_up)
    if changes.sent("config"):
        known = row.config | _unseal(vault, row)
        config = _config(ServerType(row.type), known | changes.config)
        row.config = config.open_part()
        row.secrets = _seal(vault, row.id, config)
    row.version += 1
    row.updated_at = clock.now()
    await session.flush()
    return row


async def remove(session: AsyncSession, project: Project, server_id: UUID) -> None:
    """With its numbers. Raises `ServerInUse` while rules name it."""
    row = await queries.server(session, project, server_id, lock=True)
    if await queries.rules_name(session, project, row.id):
        raise ServerInUse()
    for table in (ServerMeter, ServerBreaker, DestinationThrottle):
        await session.execute(delete(table).where(table.server_id == row.id))
    await session.execute(delete(SendingServer).where(SendingServer.id == row.id))


async def test(db: Database, vault: Vault, workshop: Workshop, project: Project, server_id: UUID) -> Tested:
    """Connects and signs in without sending, also where the server is not active.

    Raises `ServerTestFailed` with what went wrong and how to mend it.
    """
    async with db.read() as session:
        row = await queries.server(session, project, server_id)
    provider = workshop.make(
        project.id, config_of(vault, row), connections=1, messages_per_connection=row.messages_per_connection
    )
    started = time.perf_counter()
    try:
        found = await provider.check()
    except Refusal as refusal:
        raise ServerTestFailed(f"{_sentence(refusal.text)} {_mend(refusal)}") from refusal
    finally:
        await provider.aclose()
    return Tested(found, round((time.perf_counter() - started) * 1000))


@dataclass(frozen=True, slots=True)
class Configured:
    """A server of whatever project, with its configuration in the clear."""

    id: UUID
    project_id: UUID
    type: ServerType
    config: ServerConfig


async def find(session: AsyncSession, vault: Vault, server_id: UUID) -> Configured | None:
    """For who was told the id by a token of ours, and by no customer. Raises `Undecryptable`."""
    row = await session.get(SendingServer, server_id)
    if row is None:
        return None
    return Configured(row.id, row.project_id, ServerType(row.type), config_of(vault, row))


def config_of(vault: Vault, row: SendingServer) -> ServerConfig:
    """The whole configuration, in the clear. Raises `Undecryptable`."""
    return CONFIGS[ServerType(row.type)].model_validate(row.config | _unseal(vault, row))


def secrets_of(vault: Vault, row: SendingServer) -> dict[str, str]:
    """Which secrets are ``set`` and which ``unset``."""
    names = CONFIGS[ServerType(row.type)].secret_names()
    known = _unseal(vault, row)
    return {name: "set" if name in known else "unset" for name in sorted(names)}


def _config(kind: ServerType, values: Mapping[str, Any]) -> ServerConfig:
    try:
        return CONFIGS[kind].model_validate(
            {name: value for name, value in values.items() if value is not None}
        )
    except ValidationError as error:
        fields: dict[str, list[str]] = {}
        for problem in error.errors(include_url=False, include_context=False, include_input=False):
            name = ".".join(str(part) for part in ("config", *problem["loc"]))
            fields.setdefault(name, []).append(plain(problem["msg"]))
        raise ValidationFailed(errors=fields) from None


def _seal(vault: Vault, server_id: UUID, config: ServerConfig) -> bytes:
    return vault.encrypt(json.dumps(config.secret_part()).encode(), _context(server_id))


def _unseal(vault: Vault, row: SendingServer) -> dict[str, str]:
    opened: dict[str, str] = json.loads(vault.decrypt(row.secrets, _context(row.id)))
    return opened


def _context(server_id: UUID) -> str:
    return f"sending-server:{server_id}"


def _ramp(ramp: Ramp | None) -> dict[str, Any] | None:
    if ramp is None:
        return None
    begins_on = ramp.begins_on or clock.now().date()
    return WarmUp(begins_on, ramp.start, ramp.factor, ramp.until, tuple(ramp.steps)).to_json()


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."


def _mend(refusal: Refusal) -> str:
    """What somebody who reads the refusal can do about it."""
    text = refusal.text.lower()
    if refusal.code in (401, 403, 530, 534, 535, 538) or "sign-in" in text or "password" in text:
        return "Check the user name and password or the API key, and whether the account may send."
    if "certificate" in text or "tls" in text:
        return "Check config.tls and the port: 465 goes with 'implicit', 587 with 'required'."
    if "not public" in text or "not allowed" in text:
        return "The operator of this installation may allow it: NEWSLETTER_ROUTING_ALLOWED_RANGES, …_PORTS."
    return "Check the host and port, and whether a firewall lets this installation reach them."
