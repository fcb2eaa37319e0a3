"""Signs of life of background loops, for ``/readyz`` and the doctor."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from newsletter.kit.db import Base, db_now, insert, text


class Heartbeat(Base):
    __tablename__ = "heartbeats"

    name: Mapped[str] = mapped_column(text(50), primary_key=True)
    at: Mapped[datetime]


async def beat(session: AsyncSession, name: str) -> None:
    statement = insert(session, Heartbeat).values(name=name, at=db_now())
    await session.execute(
        statement.on_conflict_do_update(index_elements=[Heartbeat.name], set_={"at": db_now()})
    )


async def ages(session: AsyncSession) -> dict[str, float]:
    """Seconds since each loop was last seen, by the database's clock."""
    rows = await session.execute(select(Heartbeat.name, Heartbeat.at, db_now()))
    return {name: (now - at).total_seconds() for name, at, now in rows}
