"""Mails as 150 mail systems, mailbox services and programs of people write them, in some 40 languages."""

import re
from pathlib import Path

import pytest

from newsletter.feedback.reports import Kind, read

_FILE = Path(__file__).with_name("formats.txt")


_HEAD = re.compile(r"^%%% (\w+) (\S+)(?: (\S+))?\n", re.MULTILINE)


def _mails() -> list[tuple[str, str, str | None, str]]:
    """What each is, its name, whom it is about, and the mail."""
    parts = _HEAD.split(_FILE.read_text(encoding="utf-8"))[1:]
    return list(zip(parts[::4], parts[1::4], parts[2::4], parts[3::4], strict=True))


@pytest.mark.parametrize(
    ("kind", "name", "recipient", "mail"), _mails(), ids=lambda part: (part or "")[:30].replace("\n", " ")
)
def test_a_mail_is_told_by_its_format(kind: str, name: str, recipient: str | None, mail: str) -> None:
    report = read(mail.replace("\n", "\r\n").encode())
    assert report.kind is Kind(kind), name
    assert recipient in (None, report.recipient), name


def test_no_name_is_used_twice() -> None:
    names = [(kind, name) for kind, name, _, _ in _mails()]
    assert len(names) == len(set(names)) > 400
