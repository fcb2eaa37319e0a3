"""docs/clients.md: what it says to type generates clients of the served document, and its programs work."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
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
    """The program does what it says, a second run changes nothing, and a refusal is told by its code."""
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
    ran = run(installation.folder, command, of_nobody)
    assert ran.returncode != 0
    assert re.search(r"Refused( \[Error\])?: validation_failed", ran.stderr), ran.stderr


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
