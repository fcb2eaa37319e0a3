"""A private Postgres and a private Redis for tests, from the binaries that the machine has.

Each server gets a folder and a free port on the loopback of its own and ends with the
process that started it, however that ends::

    with Postgres(fast=True) as postgres:
        postgres.create_database("one")
        engine = create_async_engine(postgres.url("one"))

Everything here blocks for milliseconds (starting Postgres: about two seconds), so fixtures
may call it from an async test, too. `tests.rabbitmq` has one server more.
"""

import atexit
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Literal, NoReturn, Self

import pytest

START_SECONDS = 60.0
STOP_SECONDS = 30.0

# Runs beside a server: when the test process dies without stopping it, standard input
# closes, and the server is ended and its folder removed from here.
# Each server leads a process group of its own, so its children end with it.
_GUARDIAN = 'read -r line || { kill -QUIT -"$1"; sleep 2; kill -KILL -"$1"; rm -rf -- "$2"; } 2>/dev/null'


class ServerFailed(RuntimeError):
    """A server did not start; carries the end of its log."""


class Server(ABC):
    """One server process on ``127.0.0.1:port``; the port stays the same over restarts."""

    name: str
    package: str
    """What to install on Debian where `available` is false."""

    def __init__(self) -> None:
        self.port = free_port()
        self.directory = Path(tempfile.mkdtemp(prefix=f"newsletter-{self.name}-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._guardian: subprocess.Popen[bytes] | None = None
        self._owner = os.getpid()
        atexit.register(self.close)

    @classmethod
    @abstractmethod
    def available(cls) -> bool:
        """Whether this machine has the binaries."""

    @abstractmethod
    def _command(self) -> list[str]: ...

    @abstractmethod
    def _is_ready(self) -> bool: ...

    def _user(self) -> tuple[int, int] | None:
        """The user and group the server runs as, where not our own."""
        return None

    def _variables(self) -> dict[str, str] | None:
        """All variables of the server, where not our own."""
        return None

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError(f"{self.name} is not running")
        return self._process.pid

    def start(self) -> None:
        """Starts the server and waits until it answers; again after `stop` or `kill`.

        Raises `ServerFailed` with the end of the server's log.
        """
        if self.is_running:
            return
        self._reap()
        uid, gid = self._user() or (None, None)
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command(),
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=uid,
                group=gid,
                extra_groups=None if uid is None else [],
                start_new_session=True,
                env=self._variables(),
            )
        self._guardian = subprocess.Popen(
            ["/bin/sh", "-c", _GUARDIAN, "guardian", str(self._process.pid), str(self.directory)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        deadline = time.monotonic() + START_SECONDS
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise ServerFailed(f"{self.name} did not start:\n{self.log()[-2000:]}")
            time.sleep(0.02)

    def kill(self) -> None:
        """Ends the server without any chance to clean up (SIGKILL)."""
        if self._process is not None:
            self._process.kill()
        self._reap()

    def _signal(self, number: int) -> None:
        """Asks the server to stop and waits for it; a deaf one is killed."""
        if self._process is None:
            return
        self._process.send_signal(number)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        self._reap()

    def _reap(self) -> None:
        # The guardian goes first: until we have waited for the server, its pid is not
        # given to anybody else, so the guardian can never hit a stranger.
        if self._guardian is not None:
            self._guardian.communicate(b"stopped\n")
            self._guardian = None
        if self._process is not None:
            self._process.wait()
            self._process = None

    def close(self) -> None:
        """Kills the server and removes its folder. Safe to call twice."""
        if os.getpid() != self._owner:  # A forked child must not stop its parent's server.
            return
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)
        atexit.unregister(self.close)

    def log(self) -> str:
        path = self.directory / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class Postgres(Server):
    """A cluster with the superuser ``postgres`` and no password.

    ``fast`` trades durability for speed; tests that kill the server leave it off.
    """

    name = "postgres"
    package = "postgresql"

    def __init__(self, *, fast: bool = False) -> None:
        super().__init__()
        self._binaries = self._find_binaries()
        self._data = self.directory / "data"
        self._fast = fast

    @classmethod
    def available(cls) -> bool:
        return cls._find_binaries() is not None

    @staticmethod
    def _find_binaries() -> Path | None:
        """The newest of Debian's versions (which are not on PATH), else what PATH has."""
        found = sorted(
            (path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")),
            key=lambda path: [int(number) for number in re.findall(r"\d+", path.parent.name)],
        )
        if found:
            return found[-1]
        initdb = shutil.which("initdb")
        return Path(initdb).resolve().parent if initdb else None

    def binary(self, name: str) -> str:
        """The path of a program that comes with the server."""
        if self._binaries is None:
            raise ServerFailed(f"postgres is not installed: apt-get install {self.package}")
        return str(self._binaries / name)

    def _user(self) -> tuple[int, int] | None:
        # Postgres refuses to run as root.
        if os.geteuid() != 0:
            return None
        for name in ("postgres", "nobody"):
            try:
                user = pwd.getpwnam(name)
            except KeyError:
                continue
            return user.pw_uid, user.pw_gid
        raise ServerFailed("there is no user 'postgres' or 'nobody' that postgres could run as")

    def start(self) -> None:
        if not self._data.exists():
            self._init()
        super().start()

    def _init(self) -> None:
        uid, gid = self._user() or (None, None)
        if uid is not None and gid is not None:
            os.chown(self.directory, uid, gid)
        command = [self.binary("initdb"), "--pgdata", str(self._data), "--username", "postgres"]
        command += ["--auth", "trust", "--encoding", "UTF8", "--locale", "C.UTF-8", "--no-instructions"]
        command += ["--no-sync"] if self._fast else []
        run = subprocess.run(
            command,
            cwd=self.directory,
            capture_output=True,
            text=True,
            check=False,
            user=uid,
            group=gid,
            extra_groups=None if uid is None else [],
        )
        if run.returncode != 0:
            raise ServerFailed(f"initdb failed:\n{run.stdout}{run.stderr}")

    def _command(self) -> list[str]:
        settings = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": "200",
            "shared_buffers": "32MB",
            "timezone": "UTC",
        }
        if self._fast:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [self.binary("postgres"), "-D", str(self._data), *options]

    def _is_ready(self) -> bool:
        # The last line of this file is what pg_ctl waits for; its first is the server's pid.
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[0] == str(self.pid) and lines[7].strip() == "ready"

    def stop(self, mode: Literal["smart", "fast", "immediate"] = "fast") -> None:
        """As ``pg_ctl stop``: wait for clients, disconnect them, or abort without a checkpoint."""
        signals = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
        self._signal(signals[mode])

    def kill(self) -> None:
        """SIGKILL to the server and all its backends, as when the machine loses power.

        What reached the kernel stays; the next `start` recovers from the log.
        """
        if self.is_running:
            # Stopped first, so that no child is born between the listing and the kill.
            os.kill(self.pid, signal.SIGSTOP)
            children = _children(self.pid)
            os.kill(self.pid, signal.SIGKILL)
            for child in children:
                _kill(child)
        super().kill()

    def url(self, database: str = "postgres") -> str:
        return f"postgresql+asyncpg://postgres@127.0.0.1:{self.port}/{database}"

    def sql(self, statement: str, database: str = "postgres") -> str:
        """Runs one statement outside of a transaction; rows as lines, columns parted by ``|``."""
        command = [self.binary("psql"), "--no-psqlrc", "--quiet", "--tuples-only", "--no-align"]
        command += ["--set", "ON_ERROR_STOP=1", "--command", statement]
        command += [f"host=127.0.0.1 port={self.port} user=postgres dbname={database}"]
        run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        if run.returncode != 0:
            raise RuntimeError(run.stderr.strip())
        return run.stdout.strip()

    def create_database(self, name: str, template: str | None = None) -> str:
        """Makes a database, as a copy of ``template`` (which nobody may be using), and returns its URL."""
        copy = f' TEMPLATE "{template}"' if template else ""
        self.sql(f'CREATE DATABASE "{name}"{copy}')
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Ends the connections to it first. No error where there is none."""
        self.sql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


class Redis(Server):
    """A Redis that keeps nothing on disk: `kill` or `stop` loses all its data."""

    name = "redis"
    package = "redis-server"

    @classmethod
    def available(cls) -> bool:
        return shutil.which("redis-server") is not None

    def _command(self) -> list[str]:
        binary = shutil.which("redis-server")
        if binary is None:
            raise ServerFailed(f"redis is not installed: apt-get install {self.package}")
        options = {"port": str(self.port), "bind": "127.0.0.1", "save": "", "appendonly": "no"}
        options |= {"dir": str(self.directory), "daemonize": "no"}
        return [binary, *(part for name, value in options.items() for part in (f"--{name}", value))]

    def _is_ready(self) -> bool:
        try:
            return self._say("PING").startswith("+PONG")
        except OSError:
            return False

    def _say(self, command: str) -> str:
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            connection.sendall(command.encode() + b"\r\n")
            return connection.recv(1024).decode()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def flush(self) -> None:
        """Forgets everything, between two tests."""
        answer = self._say("FLUSHALL")
        if not answer.startswith("+OK"):
            raise RuntimeError(answer.strip())

    def stop(self) -> None:
        self._signal(signal.SIGTERM)


def require(service: type[Server]) -> None:
    """Skips the test where the service is not installed; in CI (``CI=true``) that is an error."""
    if not service.available():
        missing(service.name, service.package)


def missing(name: str, package: str) -> NoReturn:
    """Skips the test that needs this program; in CI that is an error."""
    reason = f"{name} is not installed; on Debian: apt-get install {package}"
    if os.environ.get("CI", "").lower() in {"1", "true"}:
        raise ServerFailed(reason)
    pytest.skip(reason)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    assert isinstance(port, int)
    return port


def _children(parent: int) -> list[int]:
    """The direct child processes; empty where the system has no /proc."""
    children = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        # pid (name, which may hold anything) state parent …
        if int(fields.rpartition(")")[2].split()[1]) == parent:
            children.append(int(status.parent.name))
    return children


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
