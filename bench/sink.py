"""An SMTP server that takes everything and keeps nothing, as fast as Python allows.

Run as ``python -m bench.sink``: prints its port, then serves until its standard input ends.
"""

import asyncio
import sys
from typing import cast

import uvloop

END = b"\r\n.\r\n"
REPLIES = {
    b"EHLO": b"250-sink\r\n250 ENHANCEDSTATUSCODES\r\n",
    b"DATA": b"354 go on\r\n",
    b"QUIT": b"221 bye\r\n",
}
OK = b"250 2.0.0 ok\r\n"


class Sink(asyncio.Protocol):
    """One connection. Counts nothing: the sender's books are what is measured."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._is_in_data = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(b"220 sink ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while self._take():
            pass

    def _take(self) -> bool:
        """Answers one command or one message; False when neither is complete."""
        mark = END if self._is_in_data else b"\r\n"
        end = self._buffer.find(mark)
        if end < 0:
            return False
        verb = bytes(self._buffer[:4]).upper()
        del self._buffer[: end + len(mark)]
        if self._is_in_data:
            self._is_in_data = False
            self._transport.write(OK)
            return True
        self._transport.write(REPLIES.get(verb, OK))
        self._is_in_data = verb == b"DATA"
        if verb == b"QUIT":
            self._transport.close()
        return True


async def main() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Sink, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    uvloop.run(main())
