"""The projects' sending servers: how many there are, and which are left alone because they fail."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.doctor.finding import Finding, ok, warning
from newsletter.kit import ids
from newsletter.kit.db import db_now
from newsletter.routing import breaker, queries
from newsletter.routing.breaker import State
from newsletter.routing.choice import DEFAULT_SERVER

SHOWN = 20
"""Servers named at most."""


async def check(session: AsyncSession) -> list[Finding]:
    """Reads what workers wrote down; connects to nothing, as the servers are customers'."""
    rows = await queries.everywhere(session)
    names = {row.id: f"'{row.name}' ({row.type}, {ids.public('srv', row.id)})" for row in rows}
    names[DEFAULT_SERVER] = "the installation's own"
    now = (await session.execute(select(db_now()))).scalar_one()
    found = []
    if rows:
        active = sum(row.is_active for row in rows)
        listed = ", ".join(names[row.id] for row in rows[:SHOWN])
        more = f" and {len(rows) - SHOWN} more" if len(rows) > SHOWN else ""
        found.append(ok("projects' servers", f"{active} of {len(rows)} active: {listed}{more}"))
    for server_id, state in sorted((await breaker.open_all(session)).items()):
        left = state.seconds_left(now)
        when = "is tried now" if state.state(now) is State.half_open else f"is tried again in {left:.0f} s"
        text = f"{names.get(server_id, 'a deleted one')} fails and {when}: {state.reason}"
        mend = "POST /api/v1/sending-servers/{id}/test says what is wrong; its mail waits or goes elsewhere."
        found.append(warning("failing server", text, mend))
    return found
