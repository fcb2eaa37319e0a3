"""The service as an operator runs it: its processes, killed, stopped and frozen at will."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.services import Server

SECRET_KEY = "a-secret-key-for-fault-tests-only-0123456789"
FOREIGN = ("OPENAI_", "DREAMER_", "MORTAL_")
ROOT = Path(__file__).parents[2]


class Newsletter(Server):
    """One process of ``newsletter``, with an environment of its own and its log in ``log()``."""

    name = "newsletter"
    package = "newsletter"

    def __init__(
        self, arguments: tuple[str, ...], environment: Mapping[str, str], module: str = "newsletter"
    ) -> None:
        super().__init__()
        self._arguments = arguments
        self._environment = environment
        self._module = module
        self._seen = 0

    @classmethod
    def available(cls) -> bool:
        return True

    def _command(self) -> list[str]:
        self._seen = len(self.log())
        return _command(self._environment, self._module, *self._arguments)

    def new_log(self) -> str:
        """What it logged since its last start."""
        return self.log()[self._seen :]

    def terminate(self) -> tuple[int, float]:
        """SIGTERM; returns the exit status and the seconds until it came."""
        assert self._process is not None
        begun = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        status = self._process.wait(30)
        seconds = time.monotonic() - begun
        self._reap()
        return status, seconds

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def cpu_seconds(self) -> float:
        """What it has used of the processor so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class API(Newsletter):
    def __init__(
        self, environment: Mapping[str, str], module: str = "newsletter", *, with_workers: bool
    ) -> None:
        super().__init__((), environment, module)
        alone = () if with_workers else ("--no-worker",)
        self._arguments = ("serve", "--port", str(self.port), *alone)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _is_ready(self) -> bool:
        if "listening" not in self.new_log():
            return False
        with socket.create_connection(("127.0.0.1", self.port), timeout=5):
            return True


class Worker(Newsletter):
    def __init__(self, environment: Mapping[str, str], module: str = "newsletter") -> None:
        super().__init__(("worker",), environment, module)

    def _is_ready(self) -> bool:
        return "workers started" in self.new_log()


@dataclass(frozen=True)
class Installation:
    """What all processes of one installation share. ``options`` are settings without their prefix;
    the variables of others (`FOREIGN`) have none."""

    folder: Path
    database_url: str
    redis_url: str | None
    options: Mapping[str, str]

    @property
    def environment(self) -> dict[str, str]:
        settings = {
            "DATA_DIR": str(self.folder),
            "DATABASE_URL": self.database_url,
            "SECRET_KEY": SECRET_KEY,
            "PUBLIC_URL": "http://news.test",
            "LOG_FORMAT": "json",
            **({"REDIS_URL": self.redis_url} if self.redis_url else {}),
            **self.options,
        }
        return {
            name if name.startswith(FOREIGN) else f"NEWSLETTER_{name}": value
            for name, value in settings.items()
        }

    def api(self, module: str = "newsletter") -> API:
        """Not started. In the embedded mode it is the one process, with the workers in it."""
        return API(self.environment, module, with_workers=self.redis_url is None)

    def worker(self, module: str = "newsletter") -> Worker:
        """``module`` is what is run in the place of ``newsletter``."""
        return Worker(self.environment, module)

    def command(self, *arguments: str) -> str:
        """Runs a command to its end and returns what it printed."""
        run = subprocess.run(
            _command(self.environment, "newsletter", *arguments),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if run.returncode != 0:
            raise RuntimeError(f"newsletter {arguments[0]}: {run.stdout}{run.stderr}")
        return run.stdout

    def create_account(self) -> str:
        """A live project on the widest plan; returns its API key."""
        made = json.loads(
            self.command(
                *("accounts", "create", "--name", "Acme", "--email", "news@acme.example.com"),
                *("--plan", "enterprise", "--postal-address", "Acme Ltd, 1 Main Street", "--json"),
            )
        )
        return str(made["api_key"])


def _command(environment: Mapping[str, str], module: str, *arguments: str) -> list[str]:
    # Nothing is taken over from the developer's environment. ``env`` becomes the process.
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    variables = {**kept, "PYTHONPATH": str(ROOT), **environment}
    assignments = [f"{name}={value}" for name, value in variables.items()]
    return ["/usr/bin/env", "-i", *assignments, sys.executable, "-m", module, *arguments]
