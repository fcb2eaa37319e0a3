"""Warm-up: a new server or address sends little on its first day, and more on each that follows."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class WarmUp:
    """``start`` mails on the day of ``begins_on`` (UTC), then each day ``factor`` times those of the
    day before, until ``until`` are reached: from then on the ramp limits nothing.

    With ``steps`` the days are written out, and ``start`` and ``factor`` mean nothing; the ramp
    ends with the last of them.
    """

    begins_on: date
    start: int = 200
    factor: float = 1.5
    until: int = 50_000
    steps: tuple[int, ...] = ()

    def limit(self, today: date) -> int | None:
        """The mails of this day; None once the ramp is over. Before it begins, as on its first day."""
        day = max(0, (today - self.begins_on).days)
        if self.steps:
            return self.steps[day] if day < len(self.steps) else None
        # The power is computed only as far as it may matter: 1.01 ** 100_000 overflows a float.
        mails = float(self.start)
        for _ in range(day):
            mails *= self.factor
            if mails >= self.until:
                return None
        return int(mails) if mails < self.until else None

    def to_json(self) -> dict[str, Any]:
        return {
            "begins_on": self.begins_on.isoformat(),
            "start": self.start,
            "factor": self.factor,
            "until": self.until,
            "steps": list(self.steps),
        }

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Self:
        return cls(
            begins_on=date.fromisoformat(kept["begins_on"]),
            start=kept["start"],
            factor=kept["factor"],
            until=kept["until"],
            steps=tuple(kept["steps"]),
        )
