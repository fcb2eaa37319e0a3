"""The table of statuses."""

import pytest

from newsletter.accounts.models import Resubscribe
from newsletter.audience.models import Status
from newsletter.audience.transitions import Cause, after, needs_consent

ALL = set(Status)


def test_an_upsert_brings_back_only_who_unsubscribed() -> None:
    changed = {status for status in ALL if after(Cause.subscribe, status) is not status}
    assert changed == {Status.unsubscribed}
    assert after(Cause.subscribe, Status.unsubscribed) is Status.active


@pytest.mark.parametrize("cause", list(Cause))
def test_a_change_happens_once(cause: Cause) -> None:
    for status in ALL:
        once = after(cause, status)
        assert after(cause, once) is once


def test_a_complaint_outranks_a_bounce_and_a_bounce_an_unsubscribe() -> None:
    assert after(Cause.complain, Status.bounced) is Status.complained
    assert after(Cause.bounce, Status.complained) is Status.complained
    assert after(Cause.bounce, Status.unsubscribed) is Status.bounced
    assert after(Cause.unsubscribe, Status.bounced) is Status.bounced
    assert after(Cause.unsubscribe, Status.complained) is Status.complained


def test_consent_is_needed_by_the_policy_and_always_after_a_complaint() -> None:
    assert not needs_consent(Status.unsubscribed, Resubscribe.allow)
    assert needs_consent(Status.unsubscribed, Resubscribe.require_consent)
    assert needs_consent(Status.complained, Resubscribe.allow)
    assert not needs_consent(Status.bounced, Resubscribe.require_consent)
