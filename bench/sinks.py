"""Servers that take every mail, keep none and count: Postfix's ``smtp-sink``, and a faster one in C."""

import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.programs import compiled, program
from bench.service import free_port, wait_until_open


@dataclass(frozen=True, slots=True)
class Sink:
    port: int
    count: Callable[[], int]
    """How many mails it has taken so far."""


@contextmanager
def smtp_sink() -> Iterator[Sink]:
    """Postfix's own. It reads byte by byte, about 160 µs for a mail of 36 kB, so it is what limits
    a fast sender: as a real server would. Raises `Missing`."""
    port = free_port()
    # As root it wants to know whom to become.
    user = ["-u", "nobody"] if os.geteuid() == 0 else []
    command = [program("smtp-sink", "postfix"), "-c", *user, f"127.0.0.1:{port}", "128"]
    with tempfile.TemporaryDirectory() as folder:
        counters = Path(folder) / "counters"
        with counters.open("wb") as out:
            child = subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL)
        try:
            wait_until_open(port)
            yield Sink(port, lambda: _counted(counters))
        finally:
            child.terminate()
            child.wait()


def _counted(counters: Path) -> int:
    """It writes its counters again and again, the last ones at the end of a session or mail."""
    time.sleep(0.1)
    found = re.findall(rb"mesg=(\d+)", counters.read_bytes()[-4096:])
    return int(found[-1]) if found else 0


@contextmanager
def fast_sink(*, chunking: bool = False) -> Iterator[int]:
    """The port of our own in C, about 15 µs for the same mail. Raises `Missing`."""
    child = subprocess.Popen(
        [compiled("sink"), *(["chunking"] if chunking else [])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        yield int(child.stdout.readline())
    finally:
        child.stdin.close()
        child.wait()
        child.stdout.close()
