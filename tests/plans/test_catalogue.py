"""The table of plans is the contract's, and an operator may bring another."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from newsletter.plans.catalogue import CallClass, Resource, load

CALLS = {
    "free": (60, 10, 5, 20),
    "starter": (100, 10, 5, 20),
    "professional": (500, 30, 15, 60),
    "enterprise": (2000, 120, 60, 240),
}
LIMITS = {
    # subscribers, campaigns, generations, mails
    "free": (500, 10, 0, 1_000),
    "starter": (5_000, None, 50, 25_000),
    "professional": (50_000, None, 500, 250_000),
    "enterprise": (None, None, 5_000, None),
}


@pytest.mark.parametrize("name", CALLS)
def test_the_packaged_table_is_the_contracts(name: str) -> None:
    plan = load()[name]
    kinds = (CallClass.default, CallClass.campaigns, CallClass.sends, CallClass.batches)
    assert tuple(plan.calls[kind] for kind in kinds) == CALLS[name]
    resources = (Resource.subscribers, Resource.campaigns, Resource.generations, Resource.mails)
    assert tuple(plan.limits[resource] for resource in resources) == LIMITS[name]
    assert plan.has_raw_events is (name in ("professional", "enterprise"))


PLAN = """\
[{name}]
calls = {{ default = 1, campaigns = 2, sends = 3, batches = 4 }}
mails = 7
has_raw_events = false
"""


def test_a_table_without_the_plan_of_callers_without_a_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "plans.toml"
    path.write_text(PLAN.format(name="own"))
    with pytest.raises(ValueError, match="needs a plan 'free'"):
        load(path)


def test_an_operators_table_stands_in(tmp_path: Path) -> None:
    path = tmp_path / "plans.toml"
    path.write_text(PLAN.format(name="own") + PLAN.format(name="free"))
    plan = load(path)["own"]
    assert (plan.limits[Resource.mails], plan.limits[Resource.subscribers]) == (7, None)


def test_a_misspelled_number_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "plans.toml"
    path.write_text("[own]\ncalls = { default = 1 }\nmail = 7\nhas_raw_events = false\n")
    with pytest.raises(ValidationError, match="mail"):
        load(path)
