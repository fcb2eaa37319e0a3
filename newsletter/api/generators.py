"""What makes generators of clients stumble over the document, mended.

- Pydantic writes ``Data_ListOut_`` for a generic model, ``Step-Input`` where what comes in differs from what
  goes out, and a module's whole path where two models have one name. Each generator makes of that what it
  can.
- An empty list as the default of one choice among several becomes the text ``[]`` in a client, which sends
  it.
"""

import re
from typing import Any

_SCHEMAS = "#/components/schemas/"


def for_generators(document: dict[str, Any]) -> dict[str, Any]:
    """The document with schemas renamed, all that refers to them, and without defaults that are misread.

    Raises `ValueError` where two schemas would get one name.
    """
    schemas = document["components"]["schemas"]
    names = {name: well_named(name) for name in schemas}
    if len(set(names.values())) != len(names):
        raise ValueError("two schemas have the same name")
    renamed = {names[name]: schema for name, schema in schemas.items()}
    refs = {_SCHEMAS + name: _SCHEMAS + new for name, new in names.items()}
    whole = document | {"components": document["components"] | {"schemas": renamed}}
    mended: dict[str, Any] = _mended(whole, refs)
    return mended


def well_named(name: str) -> str:
    """``Data_ListOut_`` is DataListOut, ``Step-Input`` StepInput, and
    ``newsletter__webhooks__schemas__AttemptOut`` WebhooksAttemptOut."""
    name = re.sub(r"newsletter__(\w+?)__\w+__", lambda match: match[1].capitalize(), name)
    return re.sub(r"[^A-Za-z0-9]", "", name)


def _mended(value: Any, refs: dict[str, str]) -> Any:
    if isinstance(value, list):
        return [_mended(part, refs) for part in value]
    if isinstance(value, dict):
        is_misread = "anyOf" in value and value.get("default") == []
        return {
            key: _mended(part, refs) for key, part in value.items() if not (is_misread and key == "default")
        }
    return refs.get(value, value) if isinstance(value, str) else value
