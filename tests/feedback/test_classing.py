"""Who is taken for a person and who for a machine."""

import time
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from newsletter.feedback import classing
from newsletter.feedback.classing import Reason, Request, Step, judge

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Mobile/15E148"
)
EDGE_12 = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/42.0.2311.135 Safari/537.36 Edge/12.246 Mozilla/5.0"
)
GMAIL = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"
YAHOO = "YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html"
OUTLOOK = "Mozilla/4.0 (compatible; ms-office; MSOffice 16)"
HOME = "192.0.2.0/24"


@pytest.mark.parametrize(
    ("method", "agent", "purpose", "network", "reason"),
    [
        ("GET", FIREFOX, None, HOME, Reason.no_sign_of_a_machine),
        ("GET", IPHONE, None, "2001:db8:aaaa::/48", Reason.no_sign_of_a_machine),
        ("GET", OUTLOOK, None, None, Reason.no_sign_of_a_machine),
        ("GET", "CUBOT_NOTE_20 Mozilla/5.0 (Linux; Android 10)", None, HOME, Reason.no_sign_of_a_machine),
        ("GET", GMAIL, None, "66.249.84.0/24", Reason.google_image_proxy),
        ("GET", YAHOO, None, HOME, Reason.yahoo_mail_proxy),
        ("HEAD", FIREFOX, None, HOME, Reason.head),
        ("GET", FIREFOX, "prefetch;prerender", HOME, Reason.prefetch),
        ("GET", FIREFOX, "Preview", HOME, Reason.prefetch),
        ("GET", "Mozilla/5.0", None, "172.224.226.0/24", Reason.apple_mail_privacy),
        ("GET", IPHONE, None, "17.58.101.0/24", Reason.apple_mail_privacy),
        ("GET", EDGE_12, None, "66.249.84.0/24", Reason.gmail_prefetch),
        ("GET", FIREFOX, None, "209.222.82.0/24", Reason.security_scanner),
        ("GET", FIREFOX, None, "40.94.31.0/24", Reason.security_scanner),
        ("GET", "Mozilla/5.0 (Barracuda Sentinel (EE))", None, HOME, Reason.security_scanner),
        ("GET", "Mimecast-URL-Protection/2.0", None, HOME, Reason.security_scanner),
        ("GET", "facebookexternalhit/1.1", None, HOME, Reason.link_preview),
        ("GET", "SkypeUriPreview Preview/0.5", None, HOME, Reason.link_preview),
        ("GET", "Mozilla/5.0 HeadlessChrome/120.0 Safari/537.36", None, HOME, Reason.headless_browser),
        ("GET", "python-httpx/0.28.1", None, HOME, Reason.http_library),
        ("GET", "curl/8.5.0", None, HOME, Reason.http_library),
        ("GET", "Mozilla/5.0 (compatible; Googlebot/2.1)", None, HOME, Reason.crawler),
        ("GET", None, None, HOME, Reason.no_user_agent),
        ("GET", "  ", None, HOME, Reason.no_user_agent),
    ],
)
def test_a_request_tells_who_made_it(
    method: str, agent: str | None, purpose: str | None, network: str | None, reason: Reason
) -> None:
    verdict = judge(Request(method, agent, purpose, network), seconds_after=3600, too_soon=2)

    assert verdict.reason is reason
    assert verdict.is_human is (reason in classing.PEOPLE)


@pytest.mark.parametrize(
    ("seconds_after", "is_human"), [(None, False), (-1.0, False), (1.9, False), (2.0, True), (inf, True)]
)
def test_nobody_reads_a_mail_before_it_is_there(seconds_after: float | None, is_human: bool) -> None:
    for agent in (FIREFOX, GMAIL):
        verdict = judge(Request("GET", agent, None, HOME), seconds_after=seconds_after, too_soon=2)
        assert verdict.is_human is is_human
        assert (verdict.reason is Reason.too_soon) is not is_human


def steps(*moments: float, message: str = "one", url: str | None = None) -> list[Step]:
    return [Step(message, at, url or f"https://example.org/{number}") for number, at in enumerate(moments)]


def test_three_links_of_one_mail_within_two_seconds_are_followed_by_no_person() -> None:
    burst = steps(100.0, 100.7, 102.0)
    late = Step("one", 110.0, "https://example.org/9")

    assert classing.at_once([late, *reversed(burst)]) == set(burst)
    verdict = judge(Request("GET", FIREFOX, None, HOME), seconds_after=99, too_soon=2, is_burst=True)
    assert (verdict.is_human, verdict.reason) == (False, Reason.many_links_at_once)


@pytest.mark.parametrize(
    "followed",
    [
        steps(100.0, 101.5, 103.0),
        steps(100.0, 100.1),
        steps(100.0, 100.1, 100.2, 100.3, url="https://example.org/same"),
        steps(100.0, 100.1) + steps(100.0, 100.1, message="two"),
    ],
)
def test_slower_fewer_the_same_or_of_several_mails_is_a_persons(followed: list[Step]) -> None:
    assert classing.at_once(followed) == set()


def test_a_scanner_that_looks_at_every_link_of_a_long_mail_is_seen_as_one() -> None:
    followed = steps(*(100.0 + number * 0.4 for number in range(20)))

    assert classing.at_once(followed) == set(followed)


def test_a_link_that_is_called_without_end_takes_its_number_of_calls_and_not_the_square() -> None:
    calls = 200_000
    followed = [
        Step("one", 100.0 + number / calls, f"https://example.org/{number % 3}") for number in range(calls)
    ]
    started = time.process_time()

    assert len(classing.at_once(followed)) == calls
    assert time.process_time() - started < 20  # The square took a second for each thousand.


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 4)), max_size=40))
def test_bursts_are_found_as_a_look_at_each_pair_of_moments_finds_them(calls: list[tuple[int, int]]) -> None:
    followed = [Step("one", at / 4, f"https://example.org/{url}") for at, url in calls]
    windows = [
        [step for step in followed if last.at - classing.AT_ONCE_SECONDS <= step.at <= last.at]
        for last in followed
    ]
    bursts = [window for window in windows if len({step.url for step in window}) >= classing.LINKS_AT_ONCE]

    assert classing.at_once(followed) == {step for window in bursts for step in window}
