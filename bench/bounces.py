"""How many returned mails are told right, and how fast, on a labelled set of other people's."""

import email
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from bench.table import Goal, Measured, Missing, Row, row
from newsletter.feedback.reports import Kind, read

CORPUS = Path(__file__).parents[1].parent / "shared" / "corpora" / "bounces"
ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Accuracy:
    mails: int
    by_kind: float
    """Bounce, complaint, automatic reply or other: the share that is told right."""
    by_hardness: float
    """The same, with hard and soft bounces apart."""
    false_bounces: int
    """Automatic replies and ordinary mails that were called bounces."""


def accuracy(folder: Path) -> Accuracy:
    labels = json.loads((folder / "labels.json").read_text())
    rows = [
        (_wanted(label), read((folder / name).read_bytes()).kind)
        for name, label in labels.items()
        if label is not None
    ]
    return Accuracy(
        len(rows),
        sum(_coarse(kind) in {_coarse(each) for each in wanted} for wanted, kind in rows) / len(rows),
        sum(kind in wanted for wanted, kind in rows) / len(rows),
        sum(
            _coarse(kind) == "bounce" and "bounce" not in {_coarse(each) for each in wanted}
            for wanted, kind in rows
        ),
    )


def _wanted(label: list[dict[str, Any]]) -> set[Kind]:
    """A mail about several recipients is told right when one of them is."""
    if not label:
        return {Kind.other}
    reasons = {each["reason"] for each in label}
    if "feedback" in reasons:
        return {Kind.complaint}
    if "vacation" in reasons:
        return {Kind.auto_reply}
    return {Kind.hard if each["hard"] else Kind.soft for each in label}


def _coarse(kind: Kind) -> str:
    return "bounce" if kind in (Kind.hard, Kind.soft) else kind.value


def bounce_rows() -> list[Row]:
    return [
        row(Goal("Returned mails told right (bounce, complaint, reply, other)", 0.97, unit=""), _by_kind),
        row(Goal("… with hard and soft apart", 0.97, unit=""), _by_hardness),
        row(Goal("Returned mails read / parsed by the standard library"), _speed),
    ]


def _figures() -> Accuracy:
    if not CORPUS.is_dir():
        raise Missing("the labelled mails, which do not come with the repository")
    return accuracy(CORPUS)


def _by_kind() -> Measured:
    found = _figures()
    return Measured(
        f"{found.mails} mails, {found.false_bounces} false bounces", "their labels", found.by_kind
    )


def _by_hardness() -> Measured:
    found = _figures()
    return Measured(f"{found.mails} mails", "their labels", found.by_hardness)


def _speed() -> Measured:
    if not CORPUS.is_dir():
        raise Missing("the labelled mails, which do not come with the repository")
    mails = [path.read_bytes() for path in sorted(CORPUS.glob("*.eml"))]
    ours, bare = (
        len(mails) / median(_seconds(mails, reader) for _ in range(ROUNDS))
        for reader in (read, email.message_from_bytes)
    )
    return Measured(f"{ours:,.0f} mails/s", f"parsed only: {bare:,.0f}/s", ours / bare)


def _seconds(mails: list[bytes], reader: Callable[[bytes], object]) -> float:
    started = time.process_time()
    for mail in mails:
        reader(mail)
    return time.process_time() - started
