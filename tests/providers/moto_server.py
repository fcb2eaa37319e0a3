"""Amazon SES on the loopback: moto's server in a process of its own."""

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.services import free_port

_START_SECONDS = 90.0


@dataclass(frozen=True)
class Moto:
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def reset(self, *, identity: str) -> None:
        """Forgets everything but that mail from ``identity`` may be sent."""
        self._call("POST", "/moto-api/reset")
        self._call("POST", "/v2/email/identities", {"EmailIdentity": identity})

    def sent(self) -> list[dict[str, str]]:
        """The mails it took, with ``source``, ``destinations`` and ``raw_data``."""
        taken = self._call("GET", "/moto-api/data.json").get("ses", {})
        assert isinstance(taken, dict)
        return list(taken.get("RawMessage", []))

    def _call(self, method: str, path: str, body: object = None) -> dict[str, object]:
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Content-Type": "application/json",
                "Authorization": "AWS4-HMAC-SHA256 Credential=EXAMPLE/20261125/eu-west-1/ses/aws4_request",
            },
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            value = json.loads(answer.read() or b"{}")
            assert isinstance(value, dict)
            return value


@contextmanager
def moto_server() -> Iterator[Moto]:
    moto = Moto(free_port())
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(moto.port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                moto.reset(identity="nobody.example.com")
                break
            except (urllib.error.URLError, ConnectionError):
                assert process.poll() is None, "moto's server ended at once"
                assert time.monotonic() < deadline, "moto's server did not start"
                time.sleep(0.1)
        yield moto
    finally:
        process.terminate()
        process.wait(30)
