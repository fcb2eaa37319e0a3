"""Mails as 150 mail systems, mailbox services and programs of people write them, in some 40 languages."""

import re
from pathlib import Path

import pytest

from newsletter.feedback.reports import Kind, read

_FILE = Path(__file__).with_name("formats.txt")


def _mails() -> list[tuple[str, str, str]]:
    """What each is, its name, and the mail."""
    parts = re.split(r"^%%% (\w+) (\S+)\n", _FILE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return list(zip(parts[::3], parts[1::3], parts[2::3], strict=True))


@pytest.mark.parametrize(("kind", "name", "mail"), _mails(), ids=lambda part: part[:30].replace("\n", " "))
def test_a_mail_is_told_by_its_format(kind: str, name: str, mail: str) -> None:
    assert read(mail.replace("\n", "\r\n").encode()).kind is Kind(kind), name


def test_no_name_is_used_twice() -> None:
    names = [(kind, name) for kind, name, _ in _mails()]
    assert len(names) == len(set(names)) > 200
