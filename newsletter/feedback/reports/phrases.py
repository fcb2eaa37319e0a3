"""Reads ``phrases.toml`` and ``languages.toml``, where the words of mail systems stand as data."""

import re
import tomllib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any


class Phrases:
    """Tells whether a text holds one of several phrases, without regard to case.

    Phrases are written in lower case and the text is made so: patterns that are blind to case cannot skip
    by their first letters, and a mail took 1.5 ms in the place of 0.9. Phrases of other alphabets are not
    looked for in ASCII. ``{who}`` and ``{gone}`` stand for the words of ``phrases.toml``.
    """

    def __init__(self, phrases: Iterable[str], *, at_start: bool = False) -> None:
        plain: list[str] = []
        abroad: list[str] = []
        for phrase in phrases:
            # A class of letters may have an ASCII one beside that with an accent.
            (plain if re.sub(r"\[[^\]]*\]", "", phrase).isascii() else abroad).append(phrase)
        self._plain, self._abroad = _compiled(plain, at_start), _compiled(abroad, at_start)

    def are_in(self, text: str) -> bool:
        lowered = text.lower()
        if self._plain is not None and self._plain.search(lowered):
            return True
        return self._abroad is not None and not text.isascii() and self._abroad.search(lowered) is not None


@cache
def _data(name: str) -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name(name).read_text(encoding="utf-8"))


def _compiled(phrases: list[str], at_start: bool) -> re.Pattern[str] | None:
    if not phrases:
        return None
    words = {name: f"(?:{'|'.join(each)})" for name, each in _data("phrases.toml")["words"].items()}
    # Not `str.format`: braces are repetitions in a regular expression.
    text = "|".join(phrases).replace("{who}", words["who"] + "s?").replace("{gone}", words["gone"])
    return re.compile(rf"^(?:re: ?)?[\[(*]{{0,3}}(?:{text})" if at_start else text)


def _abroad(name: str) -> list[str]:
    return [phrase for language in _data("languages.toml").values() for phrase in language.get(name, [])]


def causes() -> list[tuple[str, Phrases]]:
    """The name of each cause and its phrases, in order of precedence. Those of other languages come after
    the plain words of English and before its vague ones: most texts are English and end before them."""
    data = _data("phrases.toml")
    own = [(rule["cause"], Phrases(rule["phrases"])) for rule in data["causes"]]
    names = dict.fromkeys(name for name, _ in own)
    abroad = [(name, Phrases(_abroad(name))) for name in names if _abroad(name)]
    place = next(number for number, (name, _) in enumerate(own) if name in data["vague"])
    return own[:place] + abroad + own[place:]


def notices(name: str) -> Phrases:
    return Phrases(_data("phrases.toml")["notices"][name] + _abroad(name))


def replies(name: str, *, at_start: bool = False) -> Phrases:
    """``away`` are how subjects begin."""
    return Phrases(_data("phrases.toml")["replies"][name] + _abroad(name), at_start=at_start)
