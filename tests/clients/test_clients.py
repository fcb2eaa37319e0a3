"""docs/clients.md: what it says to type generates clients of the served document, and its programs work."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cli.processes import newsletter, started

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/clients.md").read_text(encoding="utf-8")
NODE_MODULES = Path(__file__).parent / "node_modules"
RECIPIENTS = 3


@dataclass(frozen=True)
class Installation:
    """A running service with a test project, and its document as ``openapi.json`` in a folder."""

    folder: Path
    http: httpx.Client
    variables: dict[str, str]

    def mails(self) -> list[tuple[str, str]]:
        """Who got which subject, once all has been sent."""
        deadline = time.monotonic() + 60
        while len(found := self._mails()) < RECIPIENTS:
            assert time.monotonic() < deadline, found
            time.sleep(0.1)
        return sorted(found)

    def _mails(self) -> list[tuple[str, str]]:
        mails = self.http.get("/sandbox/messages").json()["data"]
        return [(mail["to_email"], mail["subject"]) for mail in mails]


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    data = {"NEWSLETTER_DATA_DIR": str(tmp_path / "data"), "NEWSLETTER_LOG_FORMAT": "json"}
    words = ("--name", "A", "--email", "a@example.com", "--postal-address", "A, 1 Main Street", "--test")
    account = json.loads(newsletter(tmp_path, "accounts", "create", *words, "--json", env=data).stdout)
    headers = {"Authorization": f"Bearer {account['api_key']}"}
    with (
        started(tmp_path, "serve", "--port", "0", env=data) as server,
        httpx.Client(base_url=f"{server.url}/api/v1", headers=headers, timeout=60) as http,
    ):
        made = http.post("/lists", json={"name": "Readers"}).json()["data"]
        reader = {"email": "ben@example.com"}
        assert http.post(f"/lists/{made['id']}/subscribers", json=reader).status_code == 201
        folder = tmp_path / "client"
        folder.mkdir()
        (folder / "openapi.json").write_bytes(http.get(f"{server.url}/api/openapi.json").content)
        variables = {
            "NEWSLETTER_URL": server.url,
            "NEWSLETTER_KEY": account["api_key"],
            "NEWSLETTER_LIST": made["id"],
        }
        yield Installation(folder, http, variables)


def blocks(language: str, chapter: str) -> list[str]:
    """The code of a chapter in this language."""
    text = PAGE.partition(f"\n## {chapter}\n")[2].partition("\n## ")[0]
    found = re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert found
    return found


def commands(chapter: str, program: str) -> list[list[str]]:
    lines = [line.split() for block in blocks("sh", chapter) for line in block.splitlines()]
    return [line for line in lines if line[0] == program]


def run(folder: Path, command: list[str], env: Mapping[str, str] | None = None) -> Any:
    return subprocess.run(
        command,
        cwd=folder,
        env={"PATH": os.environ["PATH"], **(env or {})},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


def tries(installation: Installation, command: list[str]) -> None:
    """The program does what it says, a second run changes nothing, a refusal is told by its code, and
    only what may succeed soon is repeated."""
    for _ in range(2):
        ran = run(installation.folder, command, installation.variables)
        assert ran.returncode == 0, ran.stderr
        person, campaign, mail = ran.stdout.splitlines()
        assert re.fullmatch(r"sub_\w+ active 20\S+", person)
        assert re.fullmatch(r"cmp_\w+ \w+", campaign)
        assert re.fullmatch(r"msg_\w+ \w+", mail)
        assert installation.mails() == [
            ("ada@example.com", "Our October"),
            ("ada@example.com", "Welcome"),
            ("ben@example.com", "Our October"),
        ]
    of_nobody = installation.variables | {"NEWSLETTER_LIST": "lst_01k9x3v7m8e5tbn2c4r6p0qzaw"}
    assert refused(installation.folder, command, of_nobody) == "validation_failed"
    with busy() as (url, answered):
        assert refused(installation.folder, command, installation.variables | {"NEWSLETTER_URL": url}) == (
            "quota_exceeded"
        )
    assert answered == ["rate_limited", "quota_exceeded"]


def refused(folder: Path, command: list[str], variables: Mapping[str, str]) -> str:
    """The code that the program ends with."""
    ran = run(folder, command, variables)
    assert ran.returncode != 0
    found = re.search(r"Refused(?: \[Error\])?: (\w+)", ran.stderr)
    assert found is not None, ran.stderr
    return found[1]


@contextmanager
def busy() -> Iterator[tuple[str, list[str]]]:
    """A service that asks for a second, then for the rest of a month; its URL, and what it said."""
    answered: list[str] = []

    class Busy(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            code, seconds = ("quota_exceeded", 2_600_000) if answered else ("rate_limited", 1)
            answered.append(code)
            error = {"code": code, "message": "Wait.", "request_id": "req_01k9x3v7m8e5tbn2c4r6p0qzaw"}
            body = json.dumps({"error": error}).encode()
            self.send_response(429)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Retry-After", str(seconds))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing, in the output of the tests."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Busy)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", answered
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_python_client_is_generated_whole_and_makes_the_first_calls(installation: Installation) -> None:
    folder = installation.folder
    (folder / "generator.yaml").write_text(blocks("yaml", "Python")[0])
    (folder / "first.py").write_text(blocks("python", "Python")[0])
    (generate,) = commands("Python", "openapi-python-client")

    ran = run(folder, [sys.executable, "-m", "openapi_python_client", *generate[1:]])

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "WARNING" not in ran.stdout
    assert "ERROR" not in ran.stdout
    document = json.loads((folder / "openapi.json").read_text())
    wanted = {each["operationId"] for path in document["paths"].values() for each in path.values()}
    assert wanted == {path.stem for path in folder.glob("newsletter_client/api/*/*.py")} - {"__init__"}
    everything = "import pathlib, importlib\nfor path in pathlib.Path().glob('newsletter_client/**/*.py'):\n"
    everything += (
        "    importlib.import_module('.'.join(path.with_suffix('').parts).removesuffix('.__init__'))"
    )
    ran = run(folder, [sys.executable, "-W", "error", "-c", everything])
    assert ran.returncode == 0, ran.stderr
    tries(installation, [sys.executable, "first.py"])


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_typescript_client_is_generated_and_makes_the_first_calls(installation: Installation) -> None:
    node = shutil.which("node")
    if node is None or not NODE_MODULES.is_dir():
        pytest.skip("`npm ci` was not run in tests/clients, so the TypeScript of docs/clients.md was not run")
    folder = installation.folder
    (folder / "node_modules").symlink_to(NODE_MODULES)
    (folder / "first.mts").write_text(blocks("ts", "TypeScript")[0])
    for _, program, *arguments in commands("TypeScript", "npx"):
        ran = run(folder, [node, str(NODE_MODULES / ".bin" / program), *arguments])
        assert ran.returncode == 0, ran.stdout + ran.stderr
    tries(installation, [node, "first.mjs"])
