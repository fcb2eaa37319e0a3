"""How much of a bare SMTP loop's rate is left when the whole product is around it."""

import asyncio
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import httpx
import uvloop

from bench.service import Service, answer, fill_list, service, sink
from bench.table import Goal, Measured, Row
from newsletter.delivery import mime
from newsletter.delivery.mime import Mail
from newsletter.providers.base import Envelope, Receipt
from newsletter.providers.smtp.config import SMTPServer
from newsletter.providers.smtp.provider import SMTPProvider

BLOCK = 64
POLL_SECONDS = 0.05
BODY = "<h1>News</h1>" + "".join(
    f"<h2>Item {number}</h2><p>{'A sentence of plain words about something new. ' * 8}"
    f'<a href="https://example.com/{number}">Read more</a></p>'
    for number in range(24)
)


def sending_rows(recipients: int, rounds: int) -> list[Row]:
    """The product and the bare loop take turns, so that a noisy machine is noisy for both."""
    rows = []
    for name, distributed in (("SQLite, one process", False), ("Postgres and Redis, one worker", True)):
        with (
            tempfile.TemporaryDirectory() as folder,
            sink(Path(folder)) as port,
            service(Path(folder), port, distributed=distributed) as running,
        ):
            pairs = [
                (product_rate(running, recipients), bare_rate(port, sample_mail(), recipients))
                for _ in range(rounds)
            ]
        ours, theirs = (statistics.median(side) for side in zip(*pairs, strict=True))
        ratio = statistics.median(one / other for one, other in pairs)
        rows.append(
            Row(
                Goal(f"Campaign, {name}"),
                Measured(f"{ours:,.0f} mails/s", f"bare loop {theirs:,.0f}/s", ratio),
            )
        )
    return rows


def memory_rows(small: int, large: int) -> list[Row]:
    """The peak of the worker after a small campaign, and after a large one."""
    peaks = {}
    for count in (small, large):
        with (
            tempfile.TemporaryDirectory() as folder,
            sink(Path(folder)) as port,
            service(Path(folder), port, distributed=True) as running,
        ):
            product_rate(running, count)
            peaks[count] = peak_memory(running.sender_pid)
    return [
        Row(
            Goal(f"Worker's peak memory, {large:,} recipients"),
            Measured(
                f"{peaks[large] / 1024:.0f} MB",
                f"{small:,} recipients: {peaks[small] / 1024:.0f} MB",
                peaks[large] / peaks[small],
            ),
        )
    ]


def sample_mail() -> bytes:
    return mime.build(
        Mail(
            message_id="<bench@example.com>",
            date=datetime.now(UTC),
            from_email="news@example.com",
            to_email="reader@example.com",
            subject="News",
            html=BODY * 2,
            text=BODY,
        )
    )


def bare_rate(port: int, mail: bytes, count: int) -> float:
    """Mails a second of a loop that pushes the same prebuilt bytes through the same client."""

    async def push() -> float:
        provider = SMTPProvider(SMTPServer.from_url(f"smtp+plain://127.0.0.1:{port}"))
        envelopes = [
            Envelope(f"m{number}", "news@example.com", f"reader{number}@example.com", mail)
            for number in range(count)
        ]
        started = time.perf_counter()
        running = [_block(provider, envelopes[start : start + BLOCK]) for start in range(0, count, BLOCK)]
        for pair in range(0, len(running), 2):
            await asyncio.gather(*running[pair : pair + 2])
        elapsed = time.perf_counter() - started
        await provider.aclose()
        return count / elapsed

    return uvloop.run(push())


async def _block(provider: SMTPProvider, envelopes: list[Envelope]) -> None:
    async for _, result in provider.send_many(envelopes):
        assert isinstance(result, Receipt), result


def product_rate(service: Service, count: int) -> float:
    """Mails a second of a campaign, from the call that launches it to its closed books."""
    with service.client() as client:
        list_id = fill_list(client, count)
        body = {"list_id": list_id, "subject": "News for {{ first_name }}", "html": BODY}
        campaign = answer(client.post("/campaigns", json=body))
        started = time.perf_counter()
        answer(client.post(f"/campaigns/{campaign['id']}/send", json={}))
        return count / (wait_until_sent(client, campaign["id"], count) - started)


def wait_until_sent(client: httpx.Client, campaign_id: str, count: int) -> float:
    """The time at which every recipient is in the books as sent."""
    while True:
        campaign = answer(client.get(f"/campaigns/{campaign_id}"))
        now = time.perf_counter()
        if campaign["status"] == "sent":
            assert campaign["emails_sent"] == count, campaign
            return now
        assert campaign["status"] == "sending", campaign
        time.sleep(POLL_SECONDS)


def peak_memory(pid: int) -> int:
    """The most memory that the process ever held, in kilobytes."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    raise LookupError("VmHWM")
