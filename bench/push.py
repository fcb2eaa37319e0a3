"""The bare loop: ``python -m bench.push PORT COUNT FILE`` pushes prebuilt bytes through our SMTP client.

Prints the seconds that it took. Two calls of a block each are under way, as in the product.
"""

import asyncio
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import uvloop

from newsletter.kit.memory import settle_in
from newsletter.providers.base import Envelope, Receipt
from newsletter.providers.smtp import SMTPProvider, SMTPServer

BLOCK = 64
CALLS = 2


async def push(port: int, count: int, mail: bytes) -> float:
    provider = SMTPProvider(SMTPServer.from_url(f"smtp+plain://127.0.0.1:{port}"))
    numbers = iter(range(0, count, BLOCK))
    started = time.perf_counter()
    await asyncio.gather(*(_call(provider, numbers, count, mail) for _ in range(CALLS)))
    elapsed = time.perf_counter() - started
    await provider.aclose()
    return elapsed


async def _call(provider: SMTPProvider, starts: Iterator[int], count: int, mail: bytes) -> None:
    for start in starts:
        envelopes = [
            Envelope(f"m{n}", "news@example.com", f"reader{n}@example.com", mail, is_wire_ready=True)
            for n in range(start, min(start + BLOCK, count))
        ]
        async for _, result in provider.send_many(envelopes):
            assert isinstance(result, Receipt), result


if __name__ == "__main__":
    settle_in()  # As workers do.
    print(uvloop.run(push(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]).read_bytes())))
