"""Calls addresses that customers name, without becoming their way into our network.

A name is resolved once per connection; every address it has is checked; the connection goes
to that very address, with the name kept for TLS and the Host header. So a name cannot change
its meaning between the check and the call (DNS rebinding). No redirects, no proxies, no
cookies, no decompression.
"""

import asyncio
import ipaddress
import ssl
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import cache

import httpcore
import httpx

from newsletter.kit import egress
from newsletter.kit.egress import (
    EgressFailed,
    EgressRefused,
    EgressTimedOut,
    Guard,
    Resolve,
    check_url,
    resolve,
)

__all__ = ["Answer", "EgressFailed", "EgressRefused", "EgressTimedOut", "GuardedClient", "check_url"]

_KEEP_ALIVE = 3.0
"""Shorter than the servers' own (Node closes after 5 s), so that none is met half closed."""
_KEPT_HEADERS = frozenset({"retry-after", "content-type"})


@dataclass(frozen=True, slots=True)
class Answer:
    """What the endpoint said. ``headers`` holds ``retry-after`` and ``content-type`` alone."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    """The first bytes, up to the client's limit."""
    elapsed_ms: int
    is_public: bool = False
    """Whether it came from a public address, so that whoever named the URL may read it: what is in
    a range that the operator allowed is none of a customer's business."""


@cache
def tls_context() -> ssl.SSLContext:
    """One for all clients of this process: reading the authorities takes some 40 ms."""
    return httpx.create_ssl_context()


class GuardedClient:
    """Serves one event loop; may be used concurrently.

    ``timeout`` is in seconds, for a whole call from name to last byte. What may be called is for
    `kit.egress.Guard` to say. Raises `ValueError` for a malformed range.
    """

    def __init__(
        self,
        *,
        timeout: float,
        max_answer_bytes: int,
        allowed_ranges: Iterable[str] = (),
        allowed_ports: Iterable[int] = (80, 443),
        user_agent: str = "newsletter",
        resolve: Resolve = resolve,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._timeout = timeout
        self._max_answer_bytes = max_answer_bytes
        self._user_agent = user_agent
        self._guard = Guard(allowed_ranges, allowed_ports, resolve)
        self._connections = _Connections(tls or tls_context(), _GuardedBackend(self._guard))

    def check_url(self, url: str) -> None:
        """Whether it can be called at all, as far as it says itself. Raises `ValueError` with a sentence that
        says what is wrong."""
        self._guard.check_url(url)

    async def post(self, url: str, *, content: bytes, headers: Mapping[str, str]) -> Answer:
        """Any status is an answer, redirects included.

        Raises `EgressRefused` when nothing was connected to, `EgressFailed` when there was no
        answer; their texts are fit for the customer who named the URL.
        """
        return await self._call("POST", url, content, headers)

    async def get(self, url: str) -> Answer:
        """As `post`."""
        return await self._call("GET", url, b"", {})

    async def _call(self, method: str, url: str, content: bytes, headers: Mapping[str, str]) -> Answer:
        try:
            target = egress.parse(url)
        except ValueError as error:
            raise EgressRefused(f"The URL {error}.") from error
        started = time.perf_counter()
        try:
            async with asyncio.timeout(self._timeout):
                answer = await self._exchange(method, target, content, headers)
        except (TimeoutError, httpcore.TimeoutException) as error:
            raise EgressTimedOut(f"No complete answer within {self._timeout:g} seconds.") from error
        except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
            raise EgressFailed(_explain(error)) from error
        return replace(answer, elapsed_ms=round((time.perf_counter() - started) * 1000))

    async def aclose(self) -> None:
        await self._connections.close()

    async def _exchange(
        self, method: str, target: httpx.URL, content: bytes, headers: Mapping[str, str]
    ) -> Answer:
        sent = {
            "Host": target.netloc.decode("ascii"),
            "User-Agent": self._user_agent,
            "Accept": "*/*",
            "Accept-Encoding": "identity",
            "Content-Length": str(len(content)),
            **headers,
        }
        request = httpcore.Request(
            method,
            httpcore.URL(
                scheme=target.raw_scheme, host=target.raw_host, port=target.port, target=target.raw_path
            ),
            headers=[(_ascii(name), _ascii(value)) for name, value in sent.items()],
            content=content,
        )
        async with self._connections.to(request.url.origin) as connection:
            response = await connection.handle_async_request(request)
            try:
                body = await self._read(response)
                is_public = _is_public(response.extensions["network_stream"])
            finally:
                # What is unread is dropped together with the connection.
                await response.aclose()
        kept = {
            name.decode("ascii").lower(): value.decode("latin-1")[:200]
            for name, value in response.headers
            if name.decode("ascii").lower() in _KEPT_HEADERS
        }
        return Answer(response.status, kept, body, 0, is_public)

    async def _read(self, response: httpcore.Response) -> bytes:
        body = bytearray()
        async for chunk in response.aiter_stream():
            body += chunk
            if len(body) >= self._max_answer_bytes:
                break
        return bytes(body[: self._max_answer_bytes])


class _Connections:
    """Connections that are kept for the next call to the same origin; each serves one call at a time.

    httpcore's own pool looks at all that it has, and into the socket of each, twice in a call: with 32
    connections that was 40 % of the process's time.
    """

    def __init__(self, tls: ssl.SSLContext, backend: httpcore.AsyncNetworkBackend) -> None:
        self._tls, self._backend = tls, backend
        self._idle: dict[str, list[httpcore.AsyncHTTPConnection]] = {}
        self._sweep_at = 0.0

    @asynccontextmanager
    async def to(self, origin: httpcore.Origin) -> AsyncIterator[httpcore.AsyncHTTPConnection]:
        connection = await self._take(origin)
        try:
            yield connection
        finally:
            if connection.is_idle() and not connection.is_closed():
                self._idle.setdefault(str(origin), []).append(connection)
            else:
                await connection.aclose()
            await self._sweep()

    async def close(self) -> None:
        while self._idle:
            _, kept = self._idle.popitem()
            for connection in kept:
                await connection.aclose()

    async def _take(self, origin: httpcore.Origin) -> httpcore.AsyncHTTPConnection:
        """The one that was used last, as the others may then be closed sooner."""
        # Looked up anew each time, as `_sweep` may have put another list in its place meanwhile.
        while kept := self._idle.get(str(origin)):
            connection = kept.pop()
            if not connection.has_expired():
                return connection
            await connection.aclose()
        return httpcore.AsyncHTTPConnection(
            origin, self._tls, keepalive_expiry=_KEEP_ALIVE, network_backend=self._backend
        )

    async def _sweep(self) -> None:
        """Closes what nobody wanted for `_KEEP_ALIVE`."""
        now = time.monotonic()
        if now < self._sweep_at:
            return
        self._sweep_at = now + _KEEP_ALIVE
        old = {each for kept in self._idle.values() for each in kept if each.has_expired()}
        self._idle = {
            origin: still
            for origin, kept in self._idle.items()
            if (still := [each for each in kept if each not in old])
        }
        for connection in old:
            await connection.aclose()


class _GuardedBackend(httpcore.AsyncNetworkBackend):
    """Resolves, checks and connects in one step; httpcore adds TLS and HTTP above it."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature is httpcore's.
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        addresses = await self._guard.addresses(host, port)
        for address in addresses[:-1]:
            try:
                # The caller limits the whole call; one dead address shall not use it all up.
                async with asyncio.timeout(1):
                    return await self._network.connect_tcp(str(address), port, timeout, local_address)
            except (TimeoutError, httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await self._network.connect_tcp(str(addresses[-1]), port, timeout, local_address)


def _is_public(stream: httpcore.AsyncNetworkStream) -> bool:
    address = stream.get_extra_info("server_addr")
    return address is not None and egress.is_global(ipaddress.ip_address(address[0]))


def _ascii(text: str) -> bytes:
    """Raises `EgressRefused` for what would end a header line and begin another."""
    if not text.isascii() or not text.isprintable():
        raise EgressRefused("A header of the call has other than visible ASCII characters.")
    return text.encode("ascii")


def _explain(error: Exception) -> str:
    text = str(error)
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return f"The certificate is not valid: {text.rpartition('failed: ')[2]}."
    if "SSL" in text:
        return "TLS could not be set up."
    if isinstance(error, httpcore.ConnectError):
        return "The connection was refused or could not be made."
    if isinstance(error, httpcore.ProtocolError):
        return "The answer is not valid HTTP."
    return "The connection was lost before the answer."
