"""``newsletter doctor``: its exit status and its two outputs. What it finds: `tests.doctor`."""

import json
from pathlib import Path

from click.testing import CliRunner

from newsletter.cli import main


def test_the_command_fails_only_where_something_needed_is_broken(tmp_path: Path) -> None:
    variables = {"NEWSLETTER_DATA_DIR": str(tmp_path), "OPENAI_API_KEY": "", "OPENAI_BASE_URL": ""}
    good = CliRunner().invoke(main, ["doctor"], env=variables)
    assert good.exit_code == 0, good.output
    assert "→ Set OPENAI_API_KEY" in good.output
    assert list(tmp_path.iterdir()) == []

    broken = CliRunner().invoke(
        main, ["doctor", "--json"], env=variables | {"OPENAI_BASE_URL": "http://127.0.0.1:1"}
    )
    assert broken.exit_code == 1
    rows = {row["name"]: row for row in json.loads(broken.stdout)}
    assert rows["model"]["level"] == "broken"
    assert set(rows["model"]) == {"name", "level", "text", "mend"}
