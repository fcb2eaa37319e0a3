"""How long a message is tried again."""

from types import SimpleNamespace
from typing import Any, cast

from newsletter.delivery.answers import Answers
from newsletter.delivery.models import Outcome, UnknownPolicy
from newsletter.delivery.reading import Recipient
from newsletter.providers.base import Temporary, Unknown
from newsletter.settings import DeliverySettings

HOUR = 3600.0
BUSY = Temporary("busy", code=451)


def answers(hours_left: float, policy: UnknownPolicy = UnknownPolicy.resend_once) -> Answers:
    mailing = SimpleNamespace(policy=policy)
    claimed = SimpleNamespace(mailing=mailing, seconds_left=hours_left * HOUR)
    return Answers(cast(Any, claimed), DeliverySettings().retry_minutes)


def tried(times: int) -> Recipient:
    return Recipient(1, None, "alice@example.com", times, None)


def test_a_single_mail_is_tried_for_four_days() -> None:
    left, times = DeliverySettings().transactional_hours, 0
    while True:
        decision = answers(left).decide(tried(times), BUSY)
        if decision.outcome is Outcome.failed:
            break
        assert decision.outcome is Outcome.deferred
        assert decision.retry_after is not None
        left, times = left - decision.retry_after / HOUR, times + 1
    assert left < 8
    assert times == 17


def test_a_campaign_gives_up_after_a_day() -> None:
    schedule = DeliverySettings().retry_minutes
    left = DeliverySettings().campaign_hours - sum(schedule) / 60
    assert answers(left).decide(tried(len(schedule)), BUSY).outcome is Outcome.failed


def test_what_nobody_knows_is_sent_once_more_and_never_a_third_time() -> None:
    lost = Unknown("connection lost")
    assert answers(90).decide(tried(0), lost).outcome is Outcome.deferred
    assert answers(90).decide(tried(1), lost).outcome is Outcome.unknown
    assert answers(90, UnknownPolicy.hold).decide(tried(0), lost).outcome is Outcome.unknown
