"""The page of errors is made from the code, and current."""

import runpy
from pathlib import Path

from newsletter.api import raises
from newsletter.kit.errors import catalogue

ROOT = Path(__file__).parents[2]


def test_the_committed_page_is_current() -> None:
    script = runpy.run_path(str(ROOT / "scripts/errors_reference.py"))
    assert (ROOT / "docs/errors.md").read_text(encoding="utf-8") == script["render"](), "run 'make docs'"


def test_every_code_is_on_the_page_once() -> None:
    page = (ROOT / "docs/errors.md").read_text(encoding="utf-8")
    for error in catalogue():
        if error.__module__.startswith("newsletter."):
            assert page.count(f"| `{error.code}` |") == 1, error.code


def test_every_operation_with_errors_of_its_own_is_on_the_page() -> None:
    page = (ROOT / "docs/errors.md").read_text(encoding="utf-8")
    assert {name for name in raises.OWN if f"`{name}`" not in page} == set()
