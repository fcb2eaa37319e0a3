"""Alembic's entry: runs the migrations on the connection that `newsletter.migrations` hands in."""

from typing import Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext

from newsletter.kit.db import Base, Instant


def _render(kind: str, item: object, autogen: AutogenContext) -> str | Literal[False]:
    """Migrations name SQLAlchemy's own types, so that they outlive ours."""
    return "sa.DateTime(timezone=True)" if kind == "type" and isinstance(item, Instant) else False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
    transactional_ddl=True,
    compare_type=True,
    render_item=_render,
)
context.run_migrations()
