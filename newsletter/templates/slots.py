"""The compiled form of a text with merge tags: static pieces, slots and conditions.

Made once per mailing, stored as JSON, filled once per recipient.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from newsletter.templates import expressions
from newsletter.templates.escaping import Place, escape
from newsletter.templates.expressions import Const, Expression


@dataclass(frozen=True, slots=True)
class Slot:
    """A value's place in a compiled text."""

    expression: Expression
    place: Place

    def fill(self, values: Mapping[str, str]) -> str:
        value = expressions.evaluate(self.expression, values)
        return escape(expressions.as_text(value), self.place)


@dataclass(frozen=True, slots=True)
class Branch:
    """``{% if %}``: the first case that is true; the case of ``else`` has no test."""

    cases: tuple[tuple[Expression | None, tuple["Node", ...]], ...]


Node = str | Slot | Branch


@dataclass(frozen=True, slots=True)
class MergeTemplate:
    """A compiled text. Made once, filled for every recipient."""

    nodes: tuple[Node, ...]
    is_plain: bool = field(init=False)
    """Whether it has no conditions: then filling it only joins strings."""
    segments: tuple[str, ...] = field(init=False)
    """The static text around the slots, one more than there are slots; empty unless `is_plain`."""
    slots: tuple[Slot, ...] = field(init=False)
    _order: tuple[int, ...] = field(init=False, repr=False)
    """For each slot, the index of the first one that is equal: it is filled once."""

    def __post_init__(self) -> None:
        is_plain = not any(isinstance(node, Branch) for node in self.nodes)
        segments, slots = [""], list[Slot]()
        for node in self.nodes if is_plain else ():
            if isinstance(node, str):
                segments[-1] += node
            elif isinstance(node, Slot):
                slots.append(node)
                segments.append("")
        object.__setattr__(self, "is_plain", is_plain)
        object.__setattr__(self, "segments", tuple(segments) if is_plain else ())
        object.__setattr__(self, "slots", tuple(slots))
        first: dict[Slot, int] = {}
        object.__setattr__(
            self, "_order", tuple(first.setdefault(slot, index) for index, slot in enumerate(slots))
        )

    def merge(self, values: Mapping[str, str]) -> str:
        """The text for one recipient; missing and blank values count as missing."""
        if not self.is_plain:
            return "".join(_run(self.nodes, values))
        filled: list[str] = []
        for index, first in enumerate(self._order):
            filled.append(filled[first] if first < index else self.slots[index].fill(values))
        parts = [""] * (2 * len(filled) + 1)
        parts[::2] = self.segments
        parts[1::2] = filled
        return "".join(parts)

    def to_json(self) -> list[object]:
        return [_node_to_json(node) for node in self.nodes]

    @classmethod
    def from_json(cls, data: object) -> Self:
        return cls(_nodes_from_json(data))


def fold(nodes: Sequence[Node], constants: Mapping[str, str]) -> tuple[Node, ...]:
    """The nodes with ``constants`` filled in and the conditions that they decide resolved."""
    folded: list[Node] = []
    for node in nodes:
        if isinstance(node, str):
            folded.append(node)
        elif isinstance(node, Slot):
            expression = expressions.replace(node.expression, constants)
            slot = replace(node, expression=expression)
            folded.append(slot.fill({}) if isinstance(expression, Const) else slot)
        else:
            folded += _fold_branch(node, constants)
    return tuple(folded)


def _fold_branch(branch: Branch, constants: Mapping[str, str]) -> tuple[Node, ...]:
    cases: list[tuple[Expression | None, tuple[Node, ...]]] = []
    for test, nodes in branch.cases:
        known = None if test is None else expressions.replace(test, constants)
        if isinstance(known, Const):
            if not expressions.is_true(known.value):
                continue
            known = None
        cases.append((known, fold(nodes, constants)))
        if known is None:
            break
    if not cases:
        return ()
    return cases[0][1] if cases[0][0] is None else (Branch(tuple(cases)),)


def compact(nodes: Sequence[Node]) -> tuple[Node, ...]:
    """Neighbouring static texts as one."""
    joined: list[Node] = []
    for node in nodes:
        if isinstance(node, str) and joined and isinstance(joined[-1], str):
            joined[-1] += node
        elif isinstance(node, Branch):
            joined.append(Branch(tuple((test, compact(inner)) for test, inner in node.cases)))
        else:
            joined.append(node)
    return tuple(joined)


def _run(nodes: Sequence[Node], values: Mapping[str, str]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, str):
            yield node
        elif isinstance(node, Slot):
            yield node.fill(values)
        else:
            for test, inner in node.cases:
                if test is None or expressions.is_true(expressions.evaluate(test, values)):
                    yield from _run(inner, values)
                    break


def _node_to_json(node: Node) -> object:
    if isinstance(node, str):
        return node
    if isinstance(node, Slot):
        return [node.place.value, expressions.to_json(node.expression)]
    cases = [
        [None if test is None else expressions.to_json(test), [_node_to_json(one) for one in inner]]
        for test, inner in node.cases
    ]
    return ["if", cases]


def _nodes_from_json(data: object) -> tuple[Node, ...]:
    if not isinstance(data, list):
        raise ValueError("not a compiled text")
    return tuple(_node_from_json(one) for one in data)


def _node_from_json(data: object) -> Node:
    match data:
        case str():
            return data
        case ["if", list(cases)]:
            return Branch(
                tuple(
                    (None if test is None else expressions.from_json(test), _nodes_from_json(inner))
                    for test, inner in cases
                )
            )
        case [str(place), expression]:
            return Slot(expressions.from_json(expression), Place(place))
    raise ValueError("not a compiled text")
