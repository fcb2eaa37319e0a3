"""``newsletter feedback classify``."""

import json
from pathlib import Path

from click.testing import CliRunner

from newsletter.cli import main
from tests.feedback.reports import samples


def classify(*arguments: str) -> list[str]:
    result = CliRunner().invoke(main, ["feedback", "classify", *arguments])
    assert result.exit_code == 0, result.output
    return result.output.splitlines()


def test_each_mail_is_one_line_of_json(tmp_path: Path) -> None:
    bounce, reply = tmp_path / "bounce.eml", tmp_path / "reply.eml"
    bounce.write_bytes(samples.dsn())
    reply.write_bytes(samples.VACATION)
    lines = [json.loads(line) for line in classify("--json", str(bounce), str(reply))]
    assert lines == [
        {
            "file": str(bounce),
            "kind": "hard",
            "status": "5.1.1",
            "reason": "there is no such mailbox",
            "recipient": "reader@example.org",
        },
        {
            "file": str(reply),
            "kind": "auto_reply",
            "status": None,
            "reason": "an automatic reply: the mail arrived",
            "recipient": "reader@example.org",
        },
    ]


def test_people_get_a_plain_line(tmp_path: Path) -> None:
    path = tmp_path / "bounce.eml"
    path.write_bytes(samples.dsn("5.2.2", "smtp; 552 5.2.2 mailbox full"))
    assert classify(str(path)) == [f"{path}: soft  5.2.2  reader@example.org  the mailbox is full"]
