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


def test_a_file_that_cannot_be_read_says_why(operator: Operator, tmp_path: Path) -> None:
    file = tmp_path / "list.txt"
    file.write_bytes(b"jos\xe9@example.com\n")
    refused = operator.types("suppressions", "import", "--global", str(file))
    assert (refused.exit_code, "is not UTF-8" in refused.output) == (1, True)
    file.write_text("ada@example.com\nnobody\n")
    refused = operator.types("suppressions", "import", "--global", str(file))
    assert (refused.exit_code, "line 2" in refused.output) == (2, True)
