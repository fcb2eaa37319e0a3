"""What is known of a project's servers: read together, and a few seconds old at most."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.kit.db import db_now
from newsletter.providers.base import MailStream
from newsletter.routing import breaker, queries, throttle
from newsletter.routing.breaker import Breaker
from newsletter.routing.choice import DEFAULT_SERVER, Rule, Server, Tier, tiers
from newsletter.routing.models import SendingServer
from newsletter.routing.throttle import Known

DEFAULT_NAME = "the installation's server"


@dataclass(frozen=True, slots=True)
class Roster:
    """``now`` is the database's clock when it was read; all times in it are by that clock."""

    rows: Mapping[UUID, SendingServer]
    servers: Mapping[UUID, Server]
    rules: tuple[Rule, ...]
    default: Server | None
    breakers: Mapping[UUID, Breaker]
    throttles: Mapping[UUID, Mapping[str, Known]]
    now: datetime
    _tiers: dict[MailStream, tuple[Tier, ...]] = field(default_factory=dict)

    def tiers(self, stream: MailStream) -> tuple[Tier, ...]:
        """The candidates of a mailing's mails; worked out once."""
        found = self._tiers.get(stream)
        if found is None:
            found = self._tiers[stream] = tiers(stream, self.servers, self.rules, self.default)
        return found


async def read(session: AsyncSession, project_id: UUID, *, has_default: bool) -> Roster:
    rows, rules = await queries.of_project(session, project_id)
    default = Server(DEFAULT_SERVER, DEFAULT_NAME) if has_default else None
    server_ids = [*(row.id for row in rows), DEFAULT_SERVER]
    return Roster(
        rows={row.id: row for row in rows},
        servers={row.id: queries.as_server(row) for row in rows},
        rules=tuple(queries.as_rule(row) for row in rules),
        default=default,
        breakers=await breaker.states(session, server_ids),
        throttles=await throttle.limited(session, server_ids),
        now=(await session.execute(select(db_now()))).scalar_one(),
    )
