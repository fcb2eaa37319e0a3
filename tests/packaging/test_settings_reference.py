"""The page of settings is made from the code, and current."""

import runpy
from pathlib import Path

from pydantic_settings import BaseSettings

from newsletter.settings import Settings

ROOT = Path(__file__).parents[2]


def test_the_committed_page_is_current() -> None:
    script = runpy.run_path(str(ROOT / "scripts/settings_reference.py"))
    assert (ROOT / "docs/settings.md").read_text() == script["render"](), "run 'make docs'"


def test_every_setting_is_on_the_page_with_an_explanation() -> None:
    rows = [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in (ROOT / "docs/settings.md").read_text().splitlines()
        if line.startswith("| `")
    ]
    values = vars(Settings(secret_key="k" * 32)).values()
    groups: list[type[BaseSettings]] = [type(value) for value in values if isinstance(value, BaseSettings)]
    assert groups
    fields = [field for group in groups for field in group.model_fields] + list(Settings.model_fields)
    expected = len(fields) - len(groups)
    assert len(rows) == expected
    assert all(row[-1] for row in rows)
