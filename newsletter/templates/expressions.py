"""The expressions inside merge tags: read by Jinja's parser, kept by an allow-list, evaluated here.

Jinja's sandbox stops attribute access but not ``'x' * 10**9``; so its parser is used for the
grammar alone, and nothing but the small tree below is ever evaluated.
"""

import difflib
import operator
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

from jinja2 import Environment, TemplateSyntaxError, nodes

MAX_TAG_CHARS = 500
MAX_TAG_DEPTH = 10
"""Brackets inside one tag."""
MAX_TRUNCATE = 1_000

Scalar = str | int | float | bool | None


class ExpressionInvalid(ValueError):
    """What is wrong with one tag, in words for its author."""


@dataclass(frozen=True, slots=True)
class Name:
    name: str


@dataclass(frozen=True, slots=True)
class Const:
    value: Scalar


@dataclass(frozen=True, slots=True)
class Filter:
    name: str
    of: "Expression"
    args: tuple["Expression", ...]


@dataclass(frozen=True, slots=True)
class Choice:
    test: "Expression"
    then: "Expression"
    other: "Expression"


@dataclass(frozen=True, slots=True)
class Not:
    of: "Expression"


@dataclass(frozen=True, slots=True)
class Both:
    op: str
    """``and`` or ``or``."""
    left: "Expression"
    right: "Expression"


@dataclass(frozen=True, slots=True)
class Compare:
    op: str
    """``eq ne lt lteq gt gteq``."""
    left: "Expression"
    right: "Expression"


Expression = Name | Const | Filter | Choice | Not | Both | Compare

_ENVIRONMENT = Environment(autoescape=False)  # noqa: S701 - only its parser is used
_LIQUID_FILTER = re.compile(r"\|\s*(\w+)\s*:\s*((?:\"[^\"]*\"|'[^']*'|[^|\"'()])+)")
_COMPARISONS: dict[str, Callable[[str | float, str | float], bool]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "lteq": operator.le,
    "gt": operator.gt,
    "gteq": operator.ge,
}
"""Both sides are of one type, see `_compare`."""
FILTERS = {"default": 1, "upper": 0, "lower": 0, "capitalize": 0, "title": 0, "truncate": 1}
"""Names and how many arguments they take."""


def parse(source: str) -> Expression:
    """The expression of one tag, without its braces; raises `ExpressionInvalid`."""
    if len(source) > MAX_TAG_CHARS:
        raise ExpressionInvalid(f"a tag may have at most {MAX_TAG_CHARS} characters")
    if "\\" in source:
        raise ExpressionInvalid("a tag may not contain a backslash")
    if sum(source.count(bracket) for bracket in "([{") > MAX_TAG_DEPTH:
        raise ExpressionInvalid("a tag may not nest that deeply")
    if not source.strip():
        raise ExpressionInvalid("the tag is empty; write a field's name into it")
    jinja = _LIQUID_FILTER.sub(lambda match: f"|{match[1]}({match[2].strip()})", source)
    try:
        body = _ENVIRONMENT.parse("{{ " + jinja + " }}").body
    except TemplateSyntaxError as error:
        raise ExpressionInvalid(f"cannot be read: {error.message}") from None
    except (RecursionError, ValueError, SyntaxError):
        raise ExpressionInvalid("cannot be read; write it as {{ first_name }}") from None
    if len(body) != 1 or not isinstance(body[0], nodes.Output) or len(body[0].nodes) != 1:
        raise ExpressionInvalid("a tag holds exactly one expression")
    return _allowed(body[0].nodes[0])


def _allowed(node: nodes.Node) -> Expression:
    match node:
        case nodes.Name(ctx="load"):
            return Name(node.name)
        case nodes.Const() if node.value is None or isinstance(node.value, str | int | float):
            return Const(node.value)
        case nodes.Filter() if node.node is not None:
            return _filter(node, node.node)
        case nodes.CondExpr():
            other = Const("") if node.expr2 is None else _allowed(node.expr2)
            return Choice(_allowed(node.test), _allowed(node.expr1), other)
        case nodes.Not():
            return Not(_allowed(node.node))
        case nodes.And() | nodes.Or():
            word = "and" if isinstance(node, nodes.And) else "or"
            return Both(word, _allowed(node.left), _allowed(node.right))
        case nodes.Compare() if len(node.ops) == 1 and node.ops[0].op in _COMPARISONS:
            return Compare(node.ops[0].op, _allowed(node.expr), _allowed(node.ops[0].expr))
    raise ExpressionInvalid(
        "uses something that merge tags do not have; they know fields, texts in quotes, numbers, "
        "the filters " + ", ".join(FILTERS) + ", if/else, and/or/not and comparisons"
    )


def _filter(node: nodes.Filter, of: nodes.Node) -> Filter:
    if node.name not in FILTERS:
        raise ExpressionInvalid(f"there is no filter '{node.name}'; there are {', '.join(FILTERS)}")
    arguments = list(node.args)
    if node.name == "default" and len(arguments) == 2 and isinstance(arguments[1], nodes.Const):
        del arguments[1]  # Jinja's default('x', true): a blank value always counts as missing here.
    if len(arguments) != FILTERS[node.name] or node.kwargs or node.dyn_args or node.dyn_kwargs:
        example = {"default": ' like default: "there"', "truncate": " like truncate: 20"}.get(node.name, "")
        raise ExpressionInvalid(f"the filter '{node.name}' takes {FILTERS[node.name]} value(s){example}")
    args = tuple(_allowed(argument) for argument in arguments)
    if node.name == "truncate":
        length = args[0].value if isinstance(args[0], Const) else None
        if type(length) is not int or not 1 <= length <= MAX_TRUNCATE:
            raise ExpressionInvalid(f"truncate takes a whole number from 1 to {MAX_TRUNCATE}")
    return Filter(node.name, _allowed(of), args)


def unknown_name(name: str, allowed: Collection[str]) -> str:
    """The message about a name that is not allowed, with those that look like it."""
    close = difflib.get_close_matches(name, sorted(allowed), n=3, cutoff=0.5)
    if close:
        hint = "did you mean " + " or ".join(f"'{one}'" for one in close) + "?"
    else:
        shown = sorted(allowed)
        hint = "known are " + ", ".join(shown[:12]) + (", …" if len(shown) > 12 else "")
    return f"there is no field '{name[:60]}'; {hint}"


def children(expression: Expression) -> tuple[Expression, ...]:
    match expression:
        case Filter():
            return (expression.of, *expression.args)
        case Choice():
            return (expression.test, expression.then, expression.other)
        case Not():
            return (expression.of,)
        case Both() | Compare():
            return (expression.left, expression.right)
    return ()


def names(expression: Expression) -> Iterator[str]:
    if isinstance(expression, Name):
        yield expression.name
    for child in children(expression):
        yield from names(child)


def says_default(expression: Expression) -> bool:
    """Whether its author said what stands there where a field is missing, which may be nothing."""
    is_default = isinstance(expression, Filter) and expression.name == "default"
    return is_default or any(says_default(child) for child in children(expression))


def replace(expression: Expression, constants: Mapping[str, str]) -> Expression:
    """The expression with the names in ``constants`` filled in, and evaluated if none is left."""
    match expression:
        case Name() if expression.name in constants:
            return Const(constants[expression.name])
        case Filter():
            args = tuple(replace(argument, constants) for argument in expression.args)
            expression = Filter(expression.name, replace(expression.of, constants), args)
        case Choice():
            parts = (replace(part, constants) for part in children(expression))
            expression = Choice(*parts)
        case Not():
            expression = Not(replace(expression.of, constants))
        case Both():
            left, right = (replace(part, constants) for part in children(expression))
            expression = Both(expression.op, left, right)
        case Compare():
            left, right = (replace(part, constants) for part in children(expression))
            expression = Compare(expression.op, left, right)
    if not isinstance(expression, Const) and next(names(expression), None) is None:
        return Const(evaluate(expression, {}))
    return expression


def evaluate(expression: Expression, values: Mapping[str, str]) -> Scalar:
    """The value; a missing or blank field is the empty text."""
    match expression:
        case Name():
            value = values.get(expression.name, "")
            return value if value and not value.isspace() else ""
        case Const():
            return expression.value
        case Filter():
            return _apply(expression, values)
        case Choice():
            chosen = expression.then if is_true(evaluate(expression.test, values)) else expression.other
            return evaluate(chosen, values)
        case Not():
            return not is_true(evaluate(expression.of, values))
        case Both():
            left = evaluate(expression.left, values)
            return left if is_true(left) == (expression.op == "or") else evaluate(expression.right, values)
        case Compare():
            return _compare(expression, values)


def is_true(value: Scalar) -> bool:
    """In a condition a missing or blank field is false, and so is the text ``false``."""
    if isinstance(value, str):
        return value.strip().lower() not in ("", "false")
    return bool(value)


def as_text(value: Scalar) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def _compare(expression: Compare, values: Mapping[str, str]) -> bool:
    left, right = evaluate(expression.left, values), evaluate(expression.right, values)
    compare = _COMPARISONS[expression.op]
    if any(isinstance(side, int | float) and not isinstance(side, bool) for side in (left, right)):
        a, b = _number(left), _number(right)
        return expression.op == "ne" if a is None or b is None else compare(a, b)
    if isinstance(left, bool) or isinstance(right, bool):
        return compare(is_true(left), is_true(right))
    return compare(as_text(left), as_text(right))


def _number(value: Scalar) -> float | None:
    try:
        return float(as_text(value))
    except ValueError:
        return None


def _apply(expression: Filter, values: Mapping[str, str]) -> Scalar:
    value = evaluate(expression.of, values)
    text = as_text(value)
    match expression.name:
        case "default":
            return value if text.strip() else evaluate(expression.args[0], values)
        case "upper":
            return text.upper()
        case "lower":
            return text.lower()
        case "capitalize":
            return text.capitalize()
        case "title":
            return re.sub(r"[^\s\-]+", lambda word: word[0].capitalize(), text)
        case _:
            length = int(as_text(evaluate(expression.args[0], values)))
            return text if len(text) <= length else text[: length - 1].rstrip(" \u200d") + "…"


def to_json(expression: Expression) -> object:
    """A name as its text, anything else as a list that begins with its kind."""
    match expression:
        case Name():
            return expression.name
        case Const():
            return ["=", expression.value]
        case Filter():
            return ["|", expression.name, *(to_json(part) for part in children(expression))]
        case Choice():
            return ["?", *(to_json(part) for part in children(expression))]
        case Not():
            return ["!", to_json(expression.of)]
        case Both() | Compare():
            return [expression.op, to_json(expression.left), to_json(expression.right)]


def from_json(data: object) -> Expression:
    """The opposite of `to_json`; raises ValueError for anything else."""
    if isinstance(data, str):
        return Name(data)
    match data:
        case ["=", (str() | int() | float() | None) as value]:
            return Const(value)
        case ["|", str(name), of, *args] if FILTERS.get(name) == len(args):
            return Filter(name, from_json(of), tuple(from_json(argument) for argument in args))
        case ["?", test, then, other]:
            return Choice(from_json(test), from_json(then), from_json(other))
        case ["!", of]:
            return Not(from_json(of))
        case ["and" | "or" as op, left, right]:
            return Both(op, from_json(left), from_json(right))
        case [str(op), left, right] if op in _COMPARISONS:
            return Compare(op, from_json(left), from_json(right))
    raise ValueError("not a compiled expression")
