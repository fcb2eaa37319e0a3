"""Whether a person or a machine opened a mail or followed a link, and how we know.

    HEAD ─► announced as prefetch ─► the program's name ─► its network ─► too soon ─► links at once

The first rule that applies has the last word. What none of them knows counts as a person's: a
machine that hides behind a browser's name and a household's line and takes its time is counted as one.

Networks are compared as they are kept, cut to /24 or /48 (`newsletter.feedback.sightings`).
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final, NamedTuple

LINKS_AT_ONCE: Final = 3
"""Different links of one mail that nobody follows within `AT_ONCE_SECONDS`."""
AT_ONCE_SECONDS: Final = 2.0


class Reason(StrEnum):
    """Why somebody is taken for a person or a machine; part of the contract."""

    head = "head"
    """Asked for the header alone: nobody saw anything."""
    prefetch = "prefetch"
    """Said so itself (``Sec-Purpose: prefetch`` and its predecessors)."""
    apple_mail_privacy = "apple_mail_privacy"
    """Apple's Mail Privacy Protection, which fetches pictures whether the mail is read or not."""
    gmail_prefetch = "gmail_prefetch"
    """Google's servers, before the reader opens the mail."""
    security_scanner = "security_scanner"
    """Checks the links of mails that come in."""
    link_preview = "link_preview"
    """Makes a picture of where the link leads, in a chat or a social network."""
    crawler = "crawler"
    http_library = "http_library"
    """A program's own client, such as curl."""
    headless_browser = "headless_browser"
    no_user_agent = "no_user_agent"
    too_soon = "too_soon"
    """Before the server had taken the mail, or sooner after it than a person reads."""
    many_links_at_once = "many_links_at_once"
    google_image_proxy = "google_image_proxy"
    """Gmail shows pictures through its servers, when the reader opens the mail."""
    yahoo_mail_proxy = "yahoo_mail_proxy"
    no_sign_of_a_machine = "no_sign_of_a_machine"


PEOPLE: Final = frozenset({Reason.google_image_proxy, Reason.yahoo_mail_proxy, Reason.no_sign_of_a_machine})


class Request(NamedTuple):
    """What is known of one request."""

    method: str
    user_agent: str | None
    purpose: str | None
    """Of ``Sec-Purpose``, ``Purpose``, ``X-Purpose`` or ``X-Moz``."""
    network: str | None


@dataclass(frozen=True, slots=True)
class Verdict:
    is_human: bool
    reason: Reason

    @staticmethod
    def of(reason: Reason) -> "Verdict":
        return _VERDICTS[reason]


_VERDICTS: Final = {reason: Verdict(reason in PEOPLE, reason) for reason in Reason}


_AGENTS: Final[tuple[tuple[Reason, str], ...]] = (
    # What mail services say of themselves.
    (Reason.google_image_proxy, "googleimageproxy"),
    (Reason.yahoo_mail_proxy, "yahoomailproxy"),
    (Reason.apple_mail_privacy, r"^mozilla/5\.0$"),
    (Reason.gmail_prefetch, r"edge/12\.246\smozilla/5\.0$"),
    # Products that look at mails before their readers do.
    (
        Reason.security_scanner,
        """barracuda mimecast proofpoint messagelabs symantec fireeye trendmicro sophos ironport forcepoint
        websense zscaler cloudmark spamassassin urldefense safelinks checkpoint avanan virustotal urlscan
        phishtank netcraft google-safety clamav""",
    ),
    (
        Reason.link_preview,
        """facebookexternalhit facebot whatsapp/ telegrambot slackbot slack-imgproxy twitterbot discordbot
        linkedinbot skypeuripreview bingpreview google-pagerenderer embedly iframely""",
    ),
    (Reason.headless_browser, "headlesschrome phantomjs puppeteer playwright selenium"),
    (
        Reason.http_library,
        """^curl ^wget ^python ^aiohttp ^go-http-client ^java/ ^apache-httpclient ^libwww-perl ^lwp:: ^axios/
        ^node ^undici ^ruby ^guzzlehttp ^php/ ^postmanruntime ^insomnia/ ^httpie/ ^winhttp ^powershell""",
    ),
    # Cubot makes telephones.
    (Reason.crawler, r"(?<!cu)bot\b crawl spider slurp \bscan(ner|ning)?\b monitor archiver fetcher"),
)
"""Parts of a ``User-Agent`` in lower case, between spaces; the first that is found counts."""
_AGENT_RULES = tuple((reason, re.compile("|".join(parts.split()))) for reason, parts in _AGENTS)

_NETWORKS: Final[tuple[tuple[str, Reason], ...]] = (
    # Those that the makers of mail gateways fetch from; a browser's name is what they say.
    ("209.222.80.0/21", Reason.security_scanner),  # Barracuda
    ("64.235.144.0/20", Reason.security_scanner),  # Barracuda
    ("67.231.144.0/20", Reason.security_scanner),  # Proofpoint
    ("148.163.128.0/18", Reason.security_scanner),  # Proofpoint
    ("205.220.160.0/19", Reason.security_scanner),  # Proofpoint
    ("185.132.180.0/22", Reason.security_scanner),  # Proofpoint
    ("205.139.110.0/23", Reason.security_scanner),  # Mimecast
    ("207.211.30.0/23", Reason.security_scanner),  # Mimecast
    ("170.10.128.0/22", Reason.security_scanner),  # Mimecast
    ("195.130.217.0/24", Reason.security_scanner),  # Mimecast
    ("91.220.42.0/24", Reason.security_scanner),  # Mimecast
    ("146.101.78.0/24", Reason.security_scanner),  # Mimecast
    ("185.58.84.0/22", Reason.security_scanner),  # Mimecast
    ("40.94.0.0/16", Reason.security_scanner),  # Microsoft Defender, Safe Links
    ("104.47.0.0/17", Reason.security_scanner),  # Microsoft Exchange Online Protection
    ("68.232.128.0/19", Reason.security_scanner),  # Cisco Secure Email
    ("216.71.128.0/19", Reason.security_scanner),  # Cisco Secure Email
    ("67.219.240.0/20", Reason.security_scanner),  # Symantec Email Security.cloud
    ("85.158.136.0/21", Reason.security_scanner),  # Symantec Email Security.cloud
    ("150.70.0.0/16", Reason.security_scanner),  # Trend Micro
    ("208.87.232.0/21", Reason.security_scanner),  # Forcepoint
    ("85.115.32.0/19", Reason.security_scanner),  # Forcepoint
    ("17.0.0.0/8", Reason.apple_mail_privacy),
)
_NETWORK_RULES = tuple((ip_network(network), reason) for network, reason in _NETWORKS)
_PREFETCH = re.compile(r"prefetch|preview|prerender|preload", re.IGNORECASE)


def judge(
    request: Request, *, seconds_after: float | None, too_soon: float, is_burst: bool = False
) -> Verdict:
    """``seconds_after`` the sending server took the mail; None while it had not, as far as we know, and
    infinity where that does not matter. Sooner than ``too_soon`` nobody reads. ``is_burst``: one of
    many links of the mail that were followed at once (`at_once`)."""
    if request.method == "HEAD":
        return Verdict.of(Reason.head)
    if request.purpose is not None and _PREFETCH.search(request.purpose):
        return Verdict.of(Reason.prefetch)
    by_name = _by_agent(request.user_agent)
    if by_name is not None and by_name not in PEOPLE:
        return Verdict.of(by_name)
    by_network = _by_network(request.network)
    if by_network is not None:
        return Verdict.of(by_network)
    if seconds_after is None or seconds_after < too_soon:
        return Verdict.of(Reason.too_soon)
    if is_burst:
        return Verdict.of(Reason.many_links_at_once)
    return Verdict.of(by_name or Reason.no_sign_of_a_machine)


class Step(NamedTuple):
    """A link that was followed."""

    message: object
    at: float
    url: str


def at_once(steps: Iterable[Step]) -> set[Step]:
    """Those that belong to `LINKS_AT_ONCE` or more different links of one message within
    `AT_ONCE_SECONDS`: what checks every link of a mail does that, and no person."""
    by_message: dict[object, list[Step]] = defaultdict(list)
    for step in steps:
        by_message[step.message].append(step)
    found: set[Step] = set()
    for followed in by_message.values():
        if len(followed) < LINKS_AT_ONCE:
            continue
        followed.sort(key=lambda step: step.at)
        found.update(_bursts(followed))
    return found


def _bursts(followed: Sequence[Step]) -> Iterator[Step]:
    """Of the links of one message in the order of time; each step enters and leaves the window once, so
    that a link which somebody calls without end costs no more than its number of calls."""
    urls: Counter[str] = Counter()
    first = told = 0
    for last, step in enumerate(followed):
        urls[step.url] += 1
        while step.at - followed[first].at > AT_ONCE_SECONDS:
            left = followed[first].url
            urls[left] -= 1
            if not urls[left]:
                del urls[left]
            first += 1
        if len(urls) >= LINKS_AT_ONCE:
            yield from followed[max(first, told) : last + 1]
            told = last + 1


@lru_cache(maxsize=5_000)
def _by_agent(user_agent: str | None) -> Reason | None:
    if user_agent is None or not user_agent.strip():
        return Reason.no_user_agent
    lowered = user_agent.lower()
    return next((reason for reason, pattern in _AGENT_RULES if pattern.search(lowered)), None)


@lru_cache(maxsize=5_000)
def _by_network(network: str | None) -> Reason | None:
    if network is None:
        return None
    inside = ip_network(network)
    return next((reason for outer, reason in _NETWORK_RULES if _holds(outer, inside)), None)


def _holds(outer: IPv4Network | IPv6Network, inside: IPv4Network | IPv6Network) -> bool:
    if isinstance(outer, IPv4Network):
        return isinstance(inside, IPv4Network) and inside.subnet_of(outer)
    return isinstance(inside, IPv6Network) and inside.subnet_of(outer)
