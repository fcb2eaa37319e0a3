"""Single mails: how much slower their routes and their open pixel are than a route that only answers, and how
fast a bulk goes out."""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from bench.api import shown
from bench.load import Figures
from bench.service import Service, answer, bare, service, sink
from bench.table import Goal, Measured, Row, row
from bench.wrk import FOLLOWS, reads, wrk
from newsletter.delivery.links import Links, MessageRef
from newsletter.delivery.queries import key_of
from newsletter.kit.tokens import Signer

CONNECTIONS = 16
ITEMS = 1_000
POLL_SECONDS = 0.05
PARAGRAPHS = '<p>Your order is on its way. <a href="https://shop.example.org/orders">Follow it</a>.</p>' * 10


def single_rows(seconds: int, rounds: int) -> list[Row]:
    with (
        tempfile.TemporaryDirectory() as name,
        sink(Path(name)) as port,
        service(Path(name), port, distributed=True) as running,
    ):
        folder = Path(name)
        with running.client() as client:
            mail = {"to": "first@example.com", "subject": "Welcome", "html": PARAGRAPHS}
            message_id = answer(client.post("/send", json=mail))["id"]

        links = Links(Signer([running.secret_key]), running.url, running.url)
        pixel = links.opened(MessageRef(*key_of(message_id), None))

        def opened() -> Figures:
            return wrk(folder, pixel, FOLLOWS, seconds=seconds, connections=CONNECTIONS)

        def read() -> Figures:
            url = f"{running.url}/api/v1/messages/{message_id}"
            return wrk(folder, url, reads(running.key), seconds=seconds, connections=CONNECTIONS)

        def send() -> Figures:
            url, script = f"{running.url}/api/v1/send", _sends(running.key)
            return wrk(folder, url, script, seconds=seconds, connections=CONNECTIONS)

        return [
            row(Goal(f"{what} at {CONNECTIONS} connections / the bare Litestar route, p50"), measure)
            for what, measure in (
                ("GET /messages/{id}", lambda: _against_bare(folder, read, seconds, rounds)),
                ("POST /send", lambda: _against_bare(folder, send, seconds, rounds)),
                (
                    "The open pixel, its event kept for the log,",
                    lambda: _against_bare(folder, opened, seconds, rounds),
                ),
            )
        ] + [
            row(
                Goal(f"Bulk of {ITEMS:,} different mails, from call to sent / one text with variables"),
                lambda: _bulks(running, rounds),
            )
        ]


def _against_bare(folder: Path, ours: Callable[[], Figures], seconds: int, rounds: int) -> Measured:
    """One round before those that count: in it connections to the database are made, statements prepared."""
    with bare(folder) as url:
        pairs = [
            (ours(), wrk(folder, f"{url}/bare", "", seconds=seconds, connections=CONNECTIONS))
            for _ in range(rounds + 1)
        ][1:]
    ratio = statistics.median(mine.p50 / other.p50 for mine, other in pairs)
    return Measured(shown(pairs[-1][0]), f"bare {shown(pairs[-1][1])}", ratio)


def _sends(key: str) -> str:
    """A script that sends another mail with each call."""
    return f"""
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer {key}"
local number = 0
function request()
  number = number + 1
  return wrk.format(nil, nil, nil, string.format(
    '{{"to":"r%d@example.com","subject":"Welcome","html":"<p>Thanks for joining, %d.</p>"}}', number, number))
end
"""


def _bulks(running: Service, rounds: int) -> Measured:
    """Both ways in turn; the rates are those of the last round."""
    pairs = []
    with running.client() as client:
        for turn in range(rounds):
            different: list[dict[str, object]] = [
                {
                    "to": f"d{turn}-{each}@example.com",
                    "subject": "Hi",
                    "html": f"<p>Hello {each}</p>{PARAGRAPHS}",
                }
                for each in range(ITEMS)
            ]
            same: list[dict[str, object]] = [
                {
                    "to": f"s{turn}-{each}@example.com",
                    "subject": "Hi",
                    "html": "<p>Hello {{ number }}</p>" + PARAGRAPHS,
                    "variables": {"number": each},
                }
                for each in range(ITEMS)
            ]
            pairs.append((_rate(client, different), _rate(client, same)))
    (taken, sent), (_, reference) = pairs[-1]
    ratio = statistics.median(mine[1] / other[1] for mine, other in pairs)
    return Measured(f"{sent:,.0f}/s, taken at {taken:,.0f}/s", f"one text {reference:,.0f}/s", ratio)


def _rate(client: httpx.Client, items: list[dict[str, object]]) -> tuple[float, float]:
    """Mails a second until the call had answered, and until the last one was sent."""
    started = time.perf_counter()
    bulk = answer(client.post("/send/bulk", json={"messages": items}))
    answered = time.perf_counter()
    assert bulk["accepted"] == ITEMS, bulk
    while (
        client.get("/messages", params={"status": "queued", "per_page": 1}).json()["data"]
        or client.get("/messages", params={"status": "sending", "per_page": 1}).json()["data"]
    ):
        time.sleep(POLL_SECONDS)
    ended = time.perf_counter()
    return ITEMS / (answered - started), ITEMS / (ended - started)
