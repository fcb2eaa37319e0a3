"""Writes ``docs/settings.md`` from `newsletter.settings`: ``make docs``."""

import inspect
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin

from pydantic import AliasChoices, SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from newsletter.settings import Settings

PATH = Path(__file__).parents[1] / "docs" / "settings.md"

INTRODUCTION = """\
# Settings

Environment variables, or lines `NAME=value` of the file that `NEWSLETTER_ENV_FILE` names (default
`.env`); the environment wins, and an empty value counts as not set. A wrong value stops the start
with a line that says what it should be. `newsletter doctor` shows what is in force and what is off.

Lists are written as JSON: `["10.1.0.0/16"]`.

This page is made from `newsletter/settings/` by `make docs`.
"""

TITLES = {
    "ai": "The language model",
    "smtp": "Sending by SMTP",
    "providers": "Sending through a provider's API",
    "delivery": "Delivery",
    "routing": "Routing",
    "campaigns": "Schedules",
    "automations": "Automations",
    "webhooks": "Webhooks",
    "events": "Event log",
    "audit": "Audit log",
    "dns": "Looking up sending domains",
    "return_path": "Return path",
    "smtpd": "Taking mail in",
    "submission": "Sending by SMTP, for your programs",
    "imap": "Reading a mailbox",
    "bounces": "Bounces",
    "retention": "Retention",
    "limits": "Limits",
}


def render() -> str:
    parts = [INTRODUCTION, _section("The service", "What all parts share.", Settings)]
    for name, field in Settings.model_fields.items():
        if (group := _group(field)) is not None:
            parts.append(_section(TITLES[name], inspect.getdoc(group) or "", group))
    return "\n".join(parts)


def _group(field: FieldInfo) -> type[BaseSettings] | None:
    """The settings inside a field that is a group of them."""
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseSettings) else None


def _section(title: str, text: str, group: type[BaseSettings]) -> str:
    text = text.replace("``", "`")
    rows = [f"## {title}\n{text}\n", "| Variable | Value | Default | |", "|---|---|---|---|"]
    for name, field in group.model_fields.items():
        if _group(field) is None:
            cells = [f"`{_variable(group, name, field)}`", _value(field), _default(field), _text(field)]
            rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def _variable(group: type[BaseSettings], name: str, field: FieldInfo) -> str:
    if isinstance(field.validation_alias, AliasChoices):
        return str(field.validation_alias.choices[0])
    return f"{group.model_config['env_prefix']}{name}".upper()


def _value(field: FieldInfo) -> str:
    limits = {type(limit).__name__: limit for limit in field.metadata}
    words = [_type(field.annotation)]
    words += [f"≥ {limits['Ge'].ge:,}"] if "Ge" in limits else []
    words += [f"> {limits['Gt'].gt:,}"] if "Gt" in limits else []
    words += [f"≤ {limits['Le'].le:,}"] if "Le" in limits else []
    return ", ".join(words)


def _type(annotation: Any) -> str:
    arguments = get_args(annotation)
    if isinstance(annotation, UnionType):
        return " or ".join(_type(part) for part in arguments if part is not NoneType)
    if get_origin(annotation) is tuple:
        return f"list ({_type(arguments[0])})"
    if get_origin(annotation) is dict:
        return "JSON object"
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{choice}`" for choice in arguments)
    return {
        str: "text",
        int: "whole number",
        float: "number",
        bool: "`true`, `false`",
        Path: "path",
        SecretStr: "secret",
    }[annotation]


def _default(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True, validated_data={})
    if default in (None, "", (), {}):
        return ""
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, tuple):
        return f"`[{', '.join(str(part) for part in default)}]`"
    return f"`{default}`"


def _text(field: FieldInfo) -> str:
    return " ".join((field.description or "").replace("``", "`").split())


if __name__ == "__main__":
    PATH.write_text(render(), encoding="utf-8")
    print(f"wrote {PATH.relative_to(Path.cwd())}")
