"""Calls addresses that customers name, without becoming their way into our network.

A name is resolved once per connection; every address it has is checked; the connection goes
to that very address, with the name kept for TLS and the Host header. So a name cannot change
its meaning between the check and the call (DNS rebinding). No redirects, no proxies, no
cookies, no decompression.
"""

import asyncio
import ipaddress
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import httpcore
import httpx

from newsletter.kit import egress
from newsletter.kit.egress import EgressRefused, check_url

__all__ = ["Answer", "EgressFailed", "EgressRefused", "GuardedClient", "check_url"]

Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]

_KEEP_ALIVE = 3.0
"""Shorter than the servers' own (Node closes after 5 s), so that none is met half closed."""
_ADDRESSES = 4
"""Of one name that are tried."""
_KEPT_HEADERS = frozenset({"retry-after", "content-type"})


class EgressFailed(Exception):
    """The call was tried and got no answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the endpoint said. ``headers`` holds ``retry-after`` and ``content-type`` alone."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    """The first bytes, up to the client's limit."""
    elapsed_ms: int


async def resolve(host: str, port: int) -> Sequence[str]:
    """The addresses that this machine knows a name by. Raises `OSError`."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(sockaddr[0]) for *_, sockaddr in found]


class GuardedClient:
    """Serves one event loop; may be used concurrently.

    ``timeout`` is in seconds, for a whole call from name to last byte. Addresses within
    ``allowed_ranges`` may be private and have any port; all others are global and have one of
    ``allowed_ports``. Raises `ValueError` for a malformed range.
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
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls or httpx.create_ssl_context(),
            max_connections=1000,
            keepalive_expiry=_KEEP_ALIVE,
            network_backend=_GuardedBackend(egress.ranges(allowed_ranges), frozenset(allowed_ports), resolve),
        )

    async def post(self, url: str, *, content: bytes, headers: Mapping[str, str]) -> Answer:
        """Any status is an answer, redirects included.

        Raises `EgressRefused` when nothing was connected to, `EgressFailed` when there was no
        answer; their texts are fit for the customer who named the URL.
        """
        try:
            target = egress.parse(url)
        except ValueError as error:
            raise EgressRefused(f"The URL {error}.") from error
        started = time.perf_counter()
        try:
            async with asyncio.timeout(self._timeout):
                status, kept, body = await self._exchange(target, content, headers)
        except (TimeoutError, httpcore.TimeoutException) as error:
            raise EgressFailed(f"No complete answer within {self._timeout:g} seconds.") from error
        except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
            raise EgressFailed(_explain(error)) from error
        return Answer(status, kept, body, round((time.perf_counter() - started) * 1000))

    async def aclose(self) -> None:
        await self._pool.aclose()

    async def _exchange(
        self, target: httpx.URL, content: bytes, headers: Mapping[str, str]
    ) -> tuple[int, dict[str, str], bytes]:
        sent = {
            "Host": target.netloc.decode("ascii"),
            "User-Agent": self._user_agent,
            "Accept": "*/*",
            "Accept-Encoding": "identity",
            "Content-Length": str(len(content)),
            **headers,
        }
        body = bytearray()
        async with self._pool.stream(
            "POST",
            httpcore.URL(
                scheme=target.raw_scheme, host=target.raw_host, port=target.port, target=target.raw_path
            ),
            headers=[(_ascii(name), _ascii(value)) for name, value in sent.items()],
            content=content,
        ) as response:
            async for chunk in response.aiter_stream():
                body += chunk
                if len(body) >= self._max_answer_bytes:
                    # What is unread is dropped together with the connection.
                    break
            kept = {
                name.decode("ascii").lower(): value.decode("latin-1")[:200]
                for name, value in response.headers
                if name.decode("ascii").lower() in _KEPT_HEADERS
            }
        return response.status, kept, bytes(body[: self._max_answer_bytes])


class _GuardedBackend(httpcore.AsyncNetworkBackend):
    """Resolves, checks and connects in one step; httpcore adds TLS and HTTP above it."""

    def __init__(
        self, allowed_ranges: Sequence[egress.Network], allowed_ports: frozenset[int], resolve: Resolve
    ) -> None:
        self._allowed_ranges = allowed_ranges
        self._allowed_ports = allowed_ports
        self._resolve = resolve
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature is httpcore's.
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        addresses = await self._addresses(host, port)
        for address in addresses[:-1]:
            try:
                # The caller limits the whole call; one dead address shall not use it all up.
                async with asyncio.timeout(1):
                    return await self._network.connect_tcp(str(address), port, timeout, local_address)
            except (TimeoutError, httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await self._network.connect_tcp(str(addresses[-1]), port, timeout, local_address)

    async def _addresses(self, host: str, port: int) -> list[egress.Address]:
        try:
            found = list(dict.fromkeys(await self._resolve(host, port)))
        except (OSError, UnicodeError) as error:
            raise EgressFailed(f"The name {host} does not resolve.") from error
        if not found:
            raise EgressFailed(f"The name {host} has no address.")
        addresses = [ipaddress.ip_address(text) for text in found]
        for address in addresses:
            if egress.is_within(address, self._allowed_ranges):
                continue
            if not egress.is_global(address):
                raise EgressRefused(f"The name {host} leads to an address that is not public.")
            if port not in self._allowed_ports:
                known = ", ".join(map(str, sorted(self._allowed_ports)))
                raise EgressRefused(f"Port {port} is not allowed; use one of {known}.")
        return addresses[:_ADDRESSES]


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
