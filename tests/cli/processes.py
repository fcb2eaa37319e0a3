"""Runs the program as a process of its own, in a folder and an environment of the test's own."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
START_SECONDS = 60.0


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """What a process needs to start, and nothing of the developer's own settings."""
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "COLUMNS": "100", **variables}


def newsletter(
    folder: Path, *arguments: str, check: bool = True, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs one command to its end."""
    run = subprocess.run(
        [sys.executable, "-m", "newsletter", *arguments],
        cwd=folder,
        env=environment(env or {}),
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert not check or run.returncode == 0, run.stderr
    return run


class Started:
    """A running command; its output is read all the time, so that it never blocks."""

    def __init__(self, folder: Path, *arguments: str, env: Mapping[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "newsletter", *arguments],
            cwd=folder,
            env=environment(env),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def output(self) -> str:
        return "".join(self.lines)

    def wait_for(self, text: str) -> str:
        """The first line that holds the text."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            found = next((line for line in self.lines if text in line), None)
            if found is not None:
                return found
            assert self.process.poll() is None, self.output
            assert time.monotonic() < deadline, self.output
            time.sleep(0.02)

    @property
    def url(self) -> str:
        """Where the API listens, once it does."""
        url: str = json.loads(self.wait_for('"event": "listening"'))["url"]
        return url

    def end(self, number: int, seconds: float) -> int:
        """Sends a signal and returns the exit status; fails after so many seconds."""
        self.process.send_signal(number)
        status = self.process.wait(seconds)
        self._reader.join(5)
        return status

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stream:
            self.lines.extend(iter(stream.readline, ""))


@contextmanager
def started(folder: Path, *arguments: str, env: Mapping[str, str] | None = None) -> Iterator[Started]:
    running = Started(folder, *arguments, env=env or {})
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.kill()
        running.process.wait()
