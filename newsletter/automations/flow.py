"""The way through an automation: which step comes after which."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from newsletter.audience.conditions import Condition
from newsletter.automations.schemas import Start, Step, each


@dataclass(frozen=True, slots=True)
class Node:
    """A step and what comes after it; None is the end."""

    step: Step
    after: str | None
    yes: str | None = None
    no: str | None = None
    """Of a branch."""


@dataclass(frozen=True, slots=True)
class Flow:
    """Every step by its id."""

    first: str
    nodes: Mapping[str, Node]

    @classmethod
    def of(cls, steps: Sequence[Step]) -> "Flow":
        """Of steps that all have ids."""
        nodes: dict[str, Node] = {}
        _lay(steps, None, nodes)
        return cls(steps[0].key, nodes)


def _lay(steps: Sequence[Step], after: str | None, nodes: dict[str, Node]) -> str | None:
    """Lays these steps before the step ``after``; returns where to begin."""
    for step in reversed(steps):
        if step.branch is None:
            nodes[step.key] = Node(step, after)
        else:
            yes, no = (_lay(side, after, nodes) for side in (step.branch.yes, step.branch.no))
            nodes[step.key] = Node(step, after, yes, no)
        after = step.key
    return after


def numbered(steps: Sequence[Step]) -> list[Step]:
    """The steps, each with an id: its own, or one that is made up."""
    taken = {step.id for _, _, step in each(steps) if step.id is not None}
    free = (made for number in count(1) if (made := f"step-{number}") not in taken)

    def name(step: Step) -> Step:
        # In reading order, so that a reader finds the first number first.
        named = step if step.id is not None else step.model_copy(update={"id": next(free)})
        if named.branch is None:
            return named
        sides = {side: [name(one) for one in getattr(named.branch, side)] for side in ("yes", "no")}
        return named.model_copy(update={"branch": named.branch.model_copy(update=sides)})

    return [name(step) for step in steps]


def conditions(start: Start | None, steps: Sequence[Step]) -> list[tuple[str, Condition, bool]]:
    """Every condition and where it stands; true for those of steps."""
    found = [
        (f"{place}.branch.when", step.branch.when, True) for place, _, step in each(steps) if step.branch
    ]
    if start is not None and start.when is not None:
        found.append((start.place_of_when, start.when, False))
    return found
