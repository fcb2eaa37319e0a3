"""What the audit log holds, and for how long."""

from pydantic import Field
from pydantic_settings import BaseSettings

from newsletter.settings.base import config


class AuditSettings(BaseSettings):
    """The log of all calls with a key."""

    model_config = config("AUDIT_")

    reads: bool = True
    """Whether calls that only read (GET and HEAD) are recorded, too."""
    keep_days: float = Field(400, ge=1)
    """Days that an entry stays, call or act; some 600 bytes of the database each."""
    flush_seconds: float = Field(1.0, gt=0, le=60)
    """Seconds between two writes of calls. A process that is killed loses the calls since its last one."""
    block: int = Field(500, ge=1, le=10_000)
    """Calls that are written in one transaction."""
    buffer: int = Field(50_000, ge=1)
    """Calls that one process keeps in memory; beyond that they are dropped, and the log says so."""
    spool_bytes: int = Field(256_000_000, ge=0)
    """The most that waits in the folder ``audit`` of the data folder while the database is away, some
    400 bytes each; beyond that they are dropped."""
