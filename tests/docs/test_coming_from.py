"""What docs/coming-from.md names exists and is tried, and it names all that the other services have."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.client import Client

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/coming-from.md").read_text(encoding="utf-8")
REFERENCE = ROOT.parent / "shared/reference"
CALL = re.compile(r"`(GET|POST|PUT|PATCH|DELETE) (/[^\s`?]*)`")
EVENT = re.compile(r"`([a-z]+\.[a-z]+)`")

SERVICES = {
    "Maily": "maily",
    "Mailers.io": "mailers-io",
    "your-app": "your-app",
    "MailerLogic": "mailerlogic",
    "MailRivo": "mailrivo",
}


def rows(service: str) -> list[list[str]]:
    """The cells of a service's table: there, here, remark."""
    section = re.search(rf"^## {re.escape(service)}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert section is not None
    lines = [line for line in section.group(1).splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[1:]]


def blank(path: str) -> str:
    """A path whose parameters have no names."""
    return re.sub(r"\{[^}]*\}|:\w+", "{}", path)


@pytest.mark.parametrize("service", SERVICES)
async def test_every_call_named_as_ours_is_a_route(client: Client, service: str) -> None:
    document: Any = (await client.get("http://news.test/api/openapi.json")).json()
    routes = {
        (method.upper(), blank(path.removeprefix("/api/v1")))
        for path, operations in document["paths"].items()
        for method in operations
    }
    named = [call for row in rows(service) for cell in row[1:] for call in CALL.findall(cell)]
    assert named
    assert [(method, path) for method, path in named if (method, blank(path)) not in routes] == []


@pytest.mark.parametrize("service", SERVICES)
def test_every_row_says_what_there_is_here(service: str) -> None:
    table = rows(service)
    assert all(len(row) == 3 and row[0] and row[1] for row in table), table
    assert len({row[0] for row in table}) == len(table)


TRIED = {"Mailers.io": "mailers_io", "your-app": "your_app", "MailRivo": "mailrivo"}
"""The folders with a test for each row of these tables."""


def slug(words: str) -> str:
    return re.sub(r"\W+", "_", words.lower()).strip("_")


def things(cell: str) -> list[str]:
    """What a row is about, in the words of its tests' names: each call and each event, or else its text."""
    calls = [f"{method} {re.sub('^(/api)?/v1', '', path)}" for method, path in CALL.findall(cell)]
    named = calls + EVENT.findall(cell)
    return [slug(each) for each in named or [cell]]


@pytest.mark.parametrize("service", TRIED)
def test_every_row_that_holds_has_a_test_named_after_it(service: str) -> None:
    """``test_post_webhooks_and_get_webhooks`` is one for two."""
    code = "".join(path.read_text() for path in (ROOT / "tests" / TRIED[service]).glob("test_*.py"))
    tests = re.findall(r"^async def test_(\w+)\(", code, re.MULTILINE)
    tried = {part for name in tests for part in [name, *name.split("_and_")]}
    wanted = {each for row in rows(service) if row[1] != "not yet" for each in things(row[0])}
    assert wanted - tried == set()


def theirs(service: str) -> set[tuple[str, str]]:
    """The calls in a table's first column."""
    return {(method, blank(path)) for row in rows(service) for method, path in CALL.findall(row[0])}


def reference(service: str) -> str:
    path = REFERENCE / f"{SERVICES[service]}.txt"
    if not path.exists():
        pytest.skip(f"the reference page {path.name} is not here")
    return path.read_text(encoding="utf-8")


def test_every_call_of_mailers_io_has_its_row() -> None:
    listed = re.findall(r"^- (GET|POST|DELETE)\n\n?(/v1/\S+)$", reference("Mailers.io"), re.MULTILINE)
    assert len(listed) == 25
    assert {(method, blank(path)) for method, path in listed} == theirs("Mailers.io")


def test_every_event_of_mailers_io_has_its_row() -> None:
    listed = re.findall(r"^- •(\S+)$", reference("Mailers.io"), re.MULTILINE)
    assert len(listed) == 8
    assert set(listed) <= {event for row in rows("Mailers.io") for event in EVENT.findall(row[0])}


def test_every_event_of_your_app_has_its_row() -> None:
    listed = set(re.findall(r'"(email\.[a-z]+)"', reference("your-app")))
    assert len(listed) == 4
    assert listed == {event for row in rows("your-app") for event in EVENT.findall(row[0])}


def test_every_path_of_your_app_has_its_row() -> None:
    text = reference("your-app")
    headings = re.findall(r"^(?:\}|.*?)?(/api/v1/[a-z/:]+?)(?=[A-Z])", text, re.MULTILINE)
    assert len(headings) >= 10
    assert {blank(path) for path in headings} <= {path for _, path in theirs("your-app")}


def test_every_call_shown_by_maily_has_its_row() -> None:
    shown = re.findall(r"curl (?:-X (\w+) )?\"?https://[^/]+/api/v1(/[^\s?\"]+)", reference("Maily"))
    calls = {(method or "GET", re.sub(r"/[^/]+@[^/]+", "/{}", path)) for method, path in shown}
    assert len(calls) == 6
    assert calls <= theirs("Maily")


def test_every_call_shown_by_mailerlogic_has_its_row() -> None:
    shown = re.findall(r"curl -i -X (\w+) \\\n\s+'?https://[^/]+(/[^\s?']+)", reference("MailerLogic"))
    assert len(shown) == 2
    assert set(shown) <= theirs("MailerLogic")
