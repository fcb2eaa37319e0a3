"""A private RabbitMQ, started by the tests that need one: it takes some ten seconds."""

import contextlib
import os
import shutil
import signal
import socket
from pathlib import Path

from tests.services import Server, free_port


class RabbitMQ(Server):
    """A node of its own: name, cookie, folder, ports, and a port mapper (epmd) that ends with it."""

    name = "rabbitmq"
    package = "rabbitmq-server"

    # Debian's command runs as the user rabbitmq alone and on the machine's own folders; the
    # script behind it takes everything from its environment.
    _BINARIES = Path("/usr/lib/rabbitmq/bin")

    def __init__(self) -> None:
        super().__init__()
        self._mapper_port = free_port()
        self._node_port = free_port()

    @classmethod
    def available(cls) -> bool:
        return (cls._BINARIES / "rabbitmq-server").exists() and shutil.which("epmd") is not None

    def _command(self) -> list[str]:
        # With a mapper at that port the node starts none of its own, which would outlive it.
        both = f"epmd -address 127.0.0.1 -port {self._mapper_port} & exec {self._BINARIES}/rabbitmq-server"
        return ["/bin/sh", "-c", both]

    def _variables(self) -> dict[str, str]:
        folder = str(self.directory)
        return {
            "PATH": os.environ["PATH"],
            "HOME": folder,  # Where Erlang keeps its cookie.
            "ERL_EPMD_PORT": str(self._mapper_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"newsletter{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._node_port),
            "RABBITMQ_MNESIA_BASE": f"{folder}/data",
            "RABBITMQ_LOG_BASE": f"{folder}/logs",
            "RABBITMQ_CONFIG_FILE": f"{folder}/none.conf",
            "RABBITMQ_CONF_ENV_FILE": f"{folder}/none-env.conf",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/plugins",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +S 1:1",
            # Makes the script become the server, so that our signals reach it.
            "RUNNING_UNDER_SYSTEMD": "true",
        }

    def _is_ready(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                # A node that is not ready yet refuses this protocol version's header, or is silent.
                connection.sendall(b"AMQP\x00\x00\x09\x01")
                return connection.recv(1) == b"\x01"
        except OSError:
            return False

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}/%2F"

    def kill(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        super().kill()
