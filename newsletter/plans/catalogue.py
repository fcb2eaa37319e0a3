"""Plans are data: a table in TOML, packaged, or the operator's own file."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter

_PACKAGED = Path(__file__).with_name("plans.toml")


class Resource(StrEnum):
    """What a plan counts."""

    subscribers = "subscribers"
    campaigns = "campaigns"
    generations = "generations"
    mails = "mails"

    @property
    def is_monthly(self) -> bool:
        return self in (Resource.generations, Resource.mails)


class CallClass(StrEnum):
    """The class of an endpoint; each has a rate limit of its own, shared with no other."""

    default = "default"
    campaigns = "campaigns"
    sends = "sends"
    batches = "batches"


class _Calls(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    default: int
    campaigns: int
    sends: int
    batches: int


class _PlanRow(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    calls: _Calls
    subscribers: int | None = None
    campaigns: int | None = None
    generations: int | None = None
    mails: int | None = None
    has_raw_events: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """The numbers of one plan; None means no limit."""

    name: str
    calls: Mapping[CallClass, int] = field(hash=False)
    limits: Mapping[Resource, int | None] = field(hash=False)
    has_raw_events: bool


Catalogue = Mapping[str, Plan]

ANONYMOUS_PLAN = "free"
"""Calls without a valid key are limited by address, with the numbers of this plan."""


def load(override: Path | None = None) -> Catalogue:
    """Reads the table. Raises `ValueError` for a plan with a wrong or unknown entry (pydantic's), and
    for a table without `ANONYMOUS_PLAN`."""
    rows = TypeAdapter(dict[str, _PlanRow]).validate_python(
        tomllib.loads((override or _PACKAGED).read_text(encoding="utf-8"))
    )
    if ANONYMOUS_PLAN not in rows:
        raise ValueError(f"the plan table needs a plan '{ANONYMOUS_PLAN}': it limits calls without a key")
    return {
        name: Plan(
            name=name,
            calls={kind: getattr(row.calls, kind.value) for kind in CallClass},
            limits={resource: getattr(row, resource.value) for resource in Resource},
            has_raw_events=row.has_raw_events,
        )
        for name, row in rows.items()
    }
