"""A made-up event has the form of a real one."""

from typing import Any, cast

import pytest

from newsletter.audience.announce import described
from newsletter.audience.models import Status, Subscriber
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
    subscriber = Subscriber(id=ids.uuid7(), list_id=ids.uuid7(), status=Status.active, created_at=now)
    return described(subscriber)


@pytest.mark.parametrize("kind", list(EventType))
def test_a_made_up_event_has_the_fields_of_a_real_one_in_their_order(kind: EventType) -> None:
    made, wanted = cast(Any, samples.data(kind)), real(kind)
    assert list(made) == list(wanted)
    for name, fields in wanted.items():
        assert list(made[name]) == list(fields)


@pytest.mark.parametrize("kind", [kind for kind in EventType if kind.value.startswith("subscriber.")])
def test_a_made_up_subscriber_has_a_status_that_exists(kind: EventType) -> None:
    assert cast(Any, samples.data(kind))["subscriber"]["status"] in set(Status)
