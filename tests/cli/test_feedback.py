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


def test_a_file_that_cannot_be_read_keeps_no_other_from_being_told(tmp_path: Path) -> None:
    reply = tmp_path / "reply.eml"
    reply.write_bytes(samples.VACATION)
    result = CliRunner().invoke(main, ["feedback", "classify", "/proc/self/mem", str(reply)])
    assert result.exit_code == 1
    assert "/proc/self/mem: Input/output error" in result.output
    assert f"{reply}: auto_reply" in result.output


def test_no_mail_steers_the_terminal(tmp_path: Path) -> None:
    mail = tmp_path / "mail.eml"
    mail.write_bytes(samples.dsn().replace(b"reader@example.org", b"\x1b[2Jreader@example.org"))
    [line] = classify(str(mail))
    assert "\x1b" not in line
