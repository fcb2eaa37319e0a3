"""A made-up event has the form of a real one."""

from typing import Any, cast

import pytest

from newsletter.audience.announce import described
from newsletter.audience.models import Status
from newsletter.audience.rows import Row
from newsletter.automations import starting
from newsletter.automations.models import Automation, Cause, Run
from newsletter.campaigns import queries as campaigns
from newsletter.campaigns.models import Campaign, CampaignStatus
from newsletter.events.vocabulary import EventType
from newsletter.kit import clock, ids
from newsletter.webhooks import samples


def real(kind: EventType) -> Any:
    now = clock.now()
    if kind.value.startswith("campaign."):
        status = CampaignStatus(kind.value.partition(".")[2])
        campaign = Campaign(id=ids.uuid7(), list_id=ids.uuid7(), status=status)
        return {"campaign": campaigns.described(campaign)}
    if kind is EventType.automation_triggered:
        automation = Automation(id=ids.uuid7(), name="Welcome", list_id=ids.uuid7())
        run = Run(id=ids.uuid7(), subscriber_id=ids.uuid7(), cause=Cause.trigger, started_at=now)
        return starting.described(automation, run)
    row = Row(
        id=ids.uuid7(),
        project_id=ids.uuid7(),
        list_id=ids.uuid7(),
        email="ada@example.com",
        address_key="ada@example.com",
        first_name=None,
        last_name=None,
        tags=[],
        custom_fields={},
        locale=None,
        timezone=None,
        status=Status.active,
        subscribed_at=None,
        unsubscribed_at=None,
        created_at=now,
        updated_at=now,
    )
    return described(row)


@pytest.mark.parametrize("kind", [kind for kind in EventType if not kind.value.startswith("message.")])
def test_a_made_up_event_has_the_fields_of_a_real_one_in_their_order(kind: EventType) -> None:
    made, wanted = cast(Any, samples.data(kind)), real(kind)
    assert list(made) == list(wanted)
    for name, fields in wanted.items():
        assert list(made[name]) == list(fields)


@pytest.mark.parametrize("kind", [kind for kind in EventType if kind.value.startswith("subscriber.")])
def test_a_made_up_subscriber_has_a_status_that_exists(kind: EventType) -> None:
    assert cast(Any, samples.data(kind))["subscriber"]["status"] in set(Status)
