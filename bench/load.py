"""A load of HTTP calls over a fixed number of kept connections, and their latencies.

Written on sockets, because an HTTP library's own time would hide the server's.
"""

import asyncio
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

import uvloop


@dataclass(frozen=True, slots=True)
class Figures:
    """Calls a second, and the median and 95th percentile of the latency in milliseconds."""

    rate: float
    p50: float
    p95: float


def load(url: str, make: Callable[[int], bytes], *, calls: int, connections: int = 16) -> Figures:
    """Sends ``calls`` requests made by ``make(number)``; every answer must be a 2xx."""
    return uvloop.run(_load(urlsplit(url).port or 80, make, calls, connections))


def request(method: str, path: str, key: str, body: bytes = b"") -> bytes:
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def _load(port: int, make: Callable[[int], bytes], calls: int, connections: int) -> Figures:
    numbers = iter(range(calls))
    latencies: list[float] = []

    async def work() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in numbers:
            call = make(number)
            started = time.perf_counter()
            writer.write(call)
            await _read_answer(reader)
            latencies.append((time.perf_counter() - started) * 1000)
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(connections)))
    elapsed = time.perf_counter() - started
    latencies.sort()
    return Figures(calls / elapsed, statistics.median(latencies), latencies[int(len(latencies) * 0.95)])


async def _read_answer(reader: asyncio.StreamReader) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 2"):
        raise RuntimeError(head.decode(errors="replace") + (await reader.read(500)).decode(errors="replace"))
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            await reader.readexactly(int(line.partition(b":")[2]))
