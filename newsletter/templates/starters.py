"""The templates that travel with the program: ``email_templates/starters``.

``<slug>.mjml`` is the frame, ``<slug>.toml`` says what it is. Frames share their parts by
``[% include "components/head.mjml" %]``, resolved when they are loaded: what a customer sees
and copies is one complete template.
"""

import tomllib
from dataclasses import dataclass
from functools import lru_cache
from uuid import UUID, uuid5

from jinja2 import Environment, FunctionLoader, StrictUndefined

from newsletter.kit.resources import Resources

_NAMESPACE = UUID("5f0b7a52-6d0c-5c57-9a3e-3f6f1c0de001")


@dataclass(frozen=True, slots=True)
class Variable:
    """A text that a campaign may set, the same for every recipient."""

    name: str
    default: str
    description: str


@dataclass(frozen=True, slots=True)
class Starter:
    slug: str
    name: str
    category: str
    description: str
    is_default: bool
    variables: tuple[Variable, ...]
    source: str
    """MJML with ``{{ content }}``."""

    @property
    def id(self) -> UUID:
        """Of the slug, so the same in every installation and release."""
        return uuid5(_NAMESPACE, self.slug)

    @property
    def defaults(self) -> dict[str, str]:
        return {variable.name: variable.default for variable in self.variables}


@lru_cache(maxsize=8)
def load(resources: Resources) -> tuple[Starter, ...]:
    """Every starter, the default one first, then by name.

    Read once per process and folder. Raises ValueError for a file that is not complete.
    """
    environment = Environment(
        loader=FunctionLoader(resources.text),
        block_start_string="[%",
        block_end_string="%]",
        variable_start_string="[[",
        variable_end_string="]]",
        comment_start_string="[#",
        comment_end_string="#]",
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 - our own MJML, without values
        keep_trailing_newline=True,
    )
    starters = [_read(resources, environment, name) for name in resources.names("starters/*.toml")]
    if sum(starter.is_default for starter in starters) != 1:
        raise ValueError("exactly one file in email_templates/starters says is_default = true")
    return tuple(sorted(starters, key=lambda starter: (not starter.is_default, starter.name)))


def _read(resources: Resources, environment: Environment, name: str) -> Starter:
    about = tomllib.loads(resources.text(name))
    frame = name.removesuffix(".toml") + ".mjml"
    try:
        variables = tuple(
            Variable(key, str(value["default"]), str(value["description"]))
            for key, value in about.get("variables", {}).items()
        )
        return Starter(
            slug=name.removeprefix("starters/").removesuffix(".toml"),
            name=str(about["name"]),
            category=str(about["category"]),
            description=str(about["description"]),
            is_default=bool(about.get("is_default", False)),
            variables=variables,
            source=environment.get_template(frame).render(),
        )
    except KeyError as error:
        raise ValueError(f"{name}: {error} is missing") from None
