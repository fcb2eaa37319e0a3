"""The whole product beside other senders: real workers, books of each recipient, a launch over HTTP."""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median

import httpx

from bench.content import CAMPAIGN, sample
from bench.references import SMTP_SOURCE, bare_loop, nodemailer, smtp_source
from bench.service import Service, answer, fill_list, service
from bench.sinks import Sink, smtp_sink
from bench.table import Goal, Measured, Missing, Row, row

POLL_SECONDS = 1.0
"""As a dashboard asks. Each look costs this process and the API some milliseconds of the cores that send, and
when a campaign ended is in its books."""
WARM_UP = 4_000
"""Mails of the campaign before the first that counts, for each worker: as many batches as one has in hand. Of
200, one of two workers got all, and the other opened its connections and compiled the letter while it was
measured, as PostgreSQL planned its statements: 148 µs a mail there in the first of 20,000, and 93 in the
second (a busy machine)."""
STEADY = 3
"""Times the recipients of the other rows, where senders are compared at full speed. Of 20,000, a campaign's
start and end are 0.35 of 5.4 s."""
NODEMAILER_SHARE = 20
"""A twentieth of the recipients is enough to know the rate of the slowest."""


@dataclass(frozen=True, slots=True)
class Product:
    """A running service with a filled list, and the sinks that it sends to."""

    service: Service
    list_id: str
    recipients: int
    sinks: Sequence[Sink]

    @property
    def ports(self) -> list[int]:
        return [sink.port for sink in self.sinks]

    def rate(self) -> float:
        """Mails a second of one campaign, from the answer to its launch to its closed books."""
        before = sum(sink.count() for sink in self.sinks)
        with self.service.client() as client:
            campaign = answer(client.post("/campaigns", json={**CAMPAIGN, "list_id": self.list_id}))
            answer(client.post(f"/campaigns/{campaign['id']}/send", json={}))
            started = time.time()
            ended = wait_until_sent(client, campaign["id"], self.recipients)
        taken = sum(sink.count() for sink in self.sinks) - before
        assert taken == self.recipients, f"the sinks took {taken} of {self.recipients}"
        return self.recipients / (ended - started)


@contextmanager
def product(
    recipients: int, *, distributed: bool = True, workers: int = 1, signs: bool = False
) -> Iterator[Product]:
    """Each worker has a sink of its own, as each `smtp-source` has. The first campaign is not measured:
    it fills caches and opens connections."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        sinks = [stack.enter_context(smtp_sink()) for _ in range(workers)]
        ports = [sink.port for sink in sinks]
        running = stack.enter_context(service(folder, *ports, distributed=distributed, workers=workers))
        with running.client() as client:
            if signs:
                made = client.post("/sending-domains", json={"domain": "example.com", "mode": "rsa"})
                if made.status_code == httpx.codes.NOT_FOUND:
                    raise Missing("sending domains with keys of their own, which this version has not")
                answer(made)
            few = WARM_UP * workers
            Product(running, fill_list(client, few), few, sinks).rate()
            list_id = fill_list(client, recipients)
        yield Product(running, list_id, recipients, sinks)


def sending_rows(recipients: int, rounds: int) -> list[Row]:
    def unsigned(workers: int) -> Callable[[], Measured]:
        return lambda: _against_smtp_source(STEADY * recipients, rounds, workers)

    return [
        row(Goal("Whole product on Postgres, 1 worker / 1 smtp-source", 0.9, 1.1), unsigned(1)),
        row(Goal("Whole product on Postgres, 2 workers / 2 smtp-source", 0.9, 1.4), unsigned(2)),
        *_signed_rows(recipients, rounds),
        row(
            Goal("Embedded on SQLite, one process / Postgres, 1 worker", 0.7, 1.0),
            lambda: _embedded(recipients, rounds),
        ),
        row(
            Goal("Whole product on Postgres, 1 worker / the bare loop of the same client"),
            lambda: _against_bare_loop(recipients, rounds),
        ),
    ]


def _against_smtp_source(recipients: int, rounds: int, workers: int) -> Measured:
    size = len(sample().raw)
    with product(recipients, workers=workers) as ours:
        pairs = [(ours.rate(), smtp_source(ours.ports, recipients // workers, size)) for _ in range(rounds)]
    return _measured(pairs, f"{workers} × `{SMTP_SOURCE.format(size=size)}`")


def _signed_rows(recipients: int, rounds: int) -> list[Row]:
    """Both references take turns with the same campaigns."""
    of_source: list[tuple[float, float]] = []
    of_nodemailer: list[tuple[float, float]] = []
    size = len(sample().raw)

    def measure() -> Measured:
        with product(recipients, workers=2, signs=True) as ours:
            for _ in range(rounds):
                rate = ours.rate()
                of_source.append((rate, smtp_source(ours.ports[:1], recipients, size)))
                count = max(1, recipients // NODEMAILER_SHARE // 2)
                of_nodemailer.append((rate, nodemailer(ours.ports, count, sample())))
        return _measured(of_source, f"1 × `{SMTP_SOURCE.format(size=size)}`, unsigned")

    first = row(Goal("RSA-2048 signed here, 2 workers / 1 smtp-source", 0.6, 1.0), measure)
    second = Goal("RSA-2048 signed here / nodemailer with DKIM, two processes each", 5, 15)
    if isinstance(first.result, Measured):
        return [first, row(second, lambda: _measured(of_nodemailer, "2 × a nodemailer pool of 10"))]
    missing = first.result
    return [first, Row(second, missing)]


def _embedded(recipients: int, rounds: int) -> Measured:
    with product(recipients, distributed=False) as embedded, product(recipients) as distributed:
        pairs = [(embedded.rate(), distributed.rate()) for _ in range(rounds)]
    return _measured(pairs, "Postgres and Redis, 1 worker")


def _against_bare_loop(recipients: int, rounds: int) -> Measured:
    with product(recipients) as ours:
        pairs = [(ours.rate(), bare_loop(ours.ports, recipients, sample())) for _ in range(rounds)]
    return _measured(pairs, "`bench.push`, prebuilt bytes")


def _measured(pairs: list[tuple[float, float]], reference: str) -> Measured:
    ours, theirs = (median(side) for side in zip(*pairs, strict=True))
    return Measured(
        f"{ours:,.0f} mails/s",
        f"{theirs:,.0f}/s: {reference}",
        median(one / other for one, other in pairs),
    )


def wait_until_sent(client: httpx.Client, campaign_id: str, count: int) -> float:
    """The time of day at which every recipient is in the books as sent, by the campaign's own word: the look
    that finds it out is late by half of `POLL_SECONDS`."""
    while True:
        campaign = answer(client.get(f"/campaigns/{campaign_id}"))
        if campaign["status"] == "sent":
            assert campaign["emails_sent"] == count, campaign
            return datetime.fromisoformat(campaign["sent_at"]).timestamp()
        assert campaign["status"] == "sending", campaign
        time.sleep(POLL_SECONDS)


def memory_rows(small: int, large: int) -> list[Row]:
    """The peak of the worker after a small campaign, and after a large one."""
    return [row(Goal(f"Worker's peak memory, {large:,} recipients"), lambda: _memory(small, large))]


def _memory(small: int, large: int) -> Measured:
    peaks = {}
    for count in (small, large):
        with product(count) as ours:
            ours.rate()
            peaks[count] = peak_memory(ours.service.sender_pid)
    return Measured(
        f"{peaks[large] / 1024:.0f} MB",
        f"{small:,} recipients: {peaks[small] / 1024:.0f} MB",
        peaks[large] / peaks[small],
    )


def peak_memory(pid: int) -> int:
    """The most memory that the process ever held, in kilobytes."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    raise LookupError("VmHWM")
