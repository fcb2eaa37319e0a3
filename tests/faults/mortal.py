"""``python -m tests.faults.mortal serve``: the service in a process that dies, as by ``kill -9``, between the
mails of a block of steps and the books of its runs; of the ``MORTAL_BLOCK``-th block that it takes."""

import os
import signal
from itertools import count
from unittest.mock import patch

from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.automations.models import Run
from newsletter.cli import main
from newsletter.kit import bulk
from newsletter.kit.db import Base

BLOCK = "MORTAL_BLOCK"


def live() -> None:
    last, blocks, update_rows = int(os.environ[BLOCK]), count(1), bulk.update_rows

    async def update_or_die(session: AsyncSession, table: type[Base], rows: bulk.Rows) -> None:
        if table is Run and next(blocks) == last:
            os.kill(os.getpid(), signal.SIGKILL)
        await update_rows(session, table, rows)

    with patch.object(bulk, "update_rows", update_or_die):
        main()


if __name__ == "__main__":
    live()
