"""``python -m tests.faults.dreamer worker``: the service in a process whose clock jumps on SIGUSR1.

Only the time of day jumps, by ``STEP`` seconds; what measures waits goes on evenly, as on a
machine whose clock somebody sets. (libfaketime breaks ``time.sleep`` when it leaves that alone.)
"""

import os
import signal
from datetime import timedelta

import time_machine

from newsletter.cli import main
from newsletter.kit import clock

STEP = "DREAMER_STEP"


def dream() -> None:
    step = timedelta(seconds=float(os.environ[STEP]))
    with time_machine.travel(clock.now(), tick=True) as traveller:
        signal.signal(signal.SIGUSR1, lambda *_: traveller.shift(step))
        main()


if __name__ == "__main__":
    dream()
