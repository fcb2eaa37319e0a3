"""``newsletter suppressions --global``: what an operator keeps everybody from mailing."""

from pathlib import Path

from tests.cli.operator import Operator


def test_an_operator_suppresses_for_everybody_and_lifts_it_again(operator: Operator, tmp_path: Path) -> None:
    operator.types("db", "upgrade")
    added = operator.types("suppressions", "add", "--global", "Ada@Example.com", "joan@example.com").stdout
    assert added.split() == ["added", "2", "known", "0"]
    file = tmp_path / "list.txt"
    file.write_text("# from the old system\nada@example.com\n\nken@example.com\n")
    known = operator.types("suppressions", "import", "--global", str(file)).stdout
    assert known.split() == ["added", "1", "known", "1"]
    removed = operator.types("suppressions", "remove", "--global", "ada@example.com", "no@example.com").stdout
    assert removed.split() == ["removed", "1"]
