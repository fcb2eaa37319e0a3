"""The guarded client against servers that want in, and servers that want to hold it up."""

import asyncio
import ipaddress
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from newsletter.kit.egress import Resolve, is_global, resolve
from newsletter.kit.http import EgressFailed, EgressRefused, GuardedClient, check_url
from tests.tls import server_context

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nRetry-After: 7\r\nSet-Cookie: a=b\r\n\r\nhi"


class Server:
    """Counts connections and keeps what was asked."""

    def __init__(self, answer: bytes | Handler) -> None:
        self._answer = answer
        self.requests: list[bytes] = []
        self.connections = 0
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.lower().split(b"\r\n")
                length = next(
                    int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length")
                )
                self.requests.append(head + await reader.readexactly(length))
                if not isinstance(self._answer, bytes):
                    await self._answer(reader, writer)
                    return
                writer.write(self._answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.transport.abort()


@asynccontextmanager
async def serving(
    answer: bytes | Handler, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> AsyncIterator[Server]:
    server = Server(answer)
    running: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        running.add(asyncio.create_task(server.serve(reader, writer)))

    listener = await asyncio.start_server(accept, host, 0, ssl=tls)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        await listener.wait_closed()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def names(*answers: Sequence[str]) -> tuple[Resolve, list[str]]:
    """A resolver that gives another answer each time, and the names it was asked."""
    asked: list[str] = []

    async def resolve(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return answers[min(len(asked), len(answers)) - 1]

    return resolve, asked


@asynccontextmanager
async def guarded(
    *,
    ranges: Sequence[str] = ("127.0.0.0/8",),
    timeout: float = 5,  # noqa: ASYNC109 - handed on to the client.
    limit: int = 1000,
    ports: Sequence[int] = (80, 443),
    resolve: Resolve = resolve,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[GuardedClient]:
    client = GuardedClient(
        timeout=timeout,
        max_answer_bytes=limit,
        allowed_ranges=ranges,
        allowed_ports=ports,
        resolve=resolve,
        tls=tls,
    )
    try:
        yield client
    finally:
        await client.aclose()


async def test_a_call_arrives_as_it_was_meant_and_answers() -> None:
    async with serving(OK) as server, guarded() as client:
        answer = await client.post(
            f"http://127.0.0.1:{server.port}/hook?a=b%20c", content=b'{"a":1}', headers={"X-Event": "one"}
        )
    assert (answer.status, answer.body, dict(answer.headers)) == (200, b"hi", {"retry-after": "7"})
    assert answer.elapsed_ms < 5000
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /hook?a=b%20c HTTP/1.1\r\n")
    assert f"Host: 127.0.0.1:{server.port}".encode() in head.split(b"\r\n")
    assert b"X-Event: one" in head.split(b"\r\n")
    assert body == b'{"a":1}'


async def test_no_private_address_is_called_unless_its_range_is_allowed() -> None:
    async with serving(OK) as server, guarded(ranges=(), ports=(server.port,)) as client:
        for host in ("127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "0.0.0.0"):
            with pytest.raises(EgressRefused):
                await client.post(f"http://{host}:{server.port}/", content=b"", headers={})
        assert server.connections == 0


@pytest.mark.parametrize(
    "host", ["2130706433", "0x7f000001", "017700000001", "127.1", "0177.0.0.1", "0x7f.1"]
)
async def test_numeric_spellings_of_a_private_address_are_refused(host: str) -> None:
    async with serving(OK) as server, guarded(ports=(server.port,)) as client:
        with pytest.raises(EgressRefused):
            await client.post(f"http://{host}:{server.port}/", content=b"", headers={})
        assert server.connections == 0
    with pytest.raises(ValueError, match="IPv4"):
        check_url(f"http://{host}/")


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.255.255.254", "169.254.169.254"),
        *("172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.2.1", "192.168.1.1", "198.18.0.1"),
        *("198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"),
        *("::", "::1", "::ffff:10.0.0.1", "::ffff:a9fe:a9fe", "::127.0.0.1", "64:ff9b::10.0.0.1"),
        *("64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1", "2002:7f00:1::", "3fff::1", "fc00::1"),
        *("fd00:ec2::254", "fe80::1", "fec0::1", "ff02::1", "4000::1"),
    ],
)
async def test_special_addresses_are_not_public(address: str) -> None:
    assert not is_global(ipaddress.ip_address(address))
    resolve, _ = names(["93.184.215.14", address])
    async with guarded(ranges=(), resolve=resolve) as client:
        with pytest.raises(EgressRefused, match="not public"):
            await client.post("http://hook.example.com/", content=b"", headers={})


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1",
        "172.32.0.1",
        "100.128.0.1",
        "2606:4700::1111",
        "64:ff9b::1.1.1.1",
        "::ffff:1.1.1.1",
        "2001:4860::1",
    ],
)
def test_public_addresses_are_public(address: str) -> None:
    assert is_global(ipaddress.ip_address(address))


async def test_a_name_that_changes_its_address_is_called_where_it_was_checked() -> None:
    async with serving(OK, host="127.0.0.2") as checked:
        resolve, asked = names(["127.0.0.2"], ["127.0.0.1"])
        async with guarded(ranges=["127.0.0.2/32"], resolve=resolve) as client:
            url = f"http://rebind.example.com:{checked.port}/"
            await client.post(url, content=b"", headers={})
            assert asked == ["rebind.example.com"]
            assert checked.connections == 1
            assert f"Host: rebind.example.com:{checked.port}".encode() in checked.requests[0]
        resolve, asked = names(["127.0.0.1"], ["127.0.0.2"])
        async with guarded(ranges=["127.0.0.2/32"], resolve=resolve) as client:
            with pytest.raises(EgressRefused):
                await client.post(url, content=b"", headers={})
            assert len(asked) == checked.connections == 1


async def test_one_private_address_among_public_ones_refuses_the_name() -> None:
    resolve, _ = names(["127.0.0.1", "10.0.0.1"])
    async with serving(OK) as server, guarded(resolve=resolve) as client:
        with pytest.raises(EgressRefused):
            await client.post(f"http://mixed.example.com:{server.port}/", content=b"", headers={})
        assert server.connections == 0


async def test_a_dead_address_is_passed_over() -> None:
    async with serving(OK) as server:
        resolve, _ = names(["127.0.0.3", "127.0.0.1"])
        async with guarded(resolve=resolve) as client:
            answer = await client.post(f"http://two.example.com:{server.port}/", content=b"", headers={})
            assert answer.status == 200


async def test_ports_outside_the_list_are_refused_outside_allowed_ranges() -> None:
    resolve, _ = names(["93.184.215.14"])
    async with guarded(resolve=resolve) as client:
        with pytest.raises(EgressRefused, match="Port 22 is not allowed; use one of 80, 443"):
            await client.post("http://hook.example.com:22/", content=b"", headers={})


async def test_a_redirect_is_an_answer_and_is_not_followed() -> None:
    async with serving(OK) as secret:
        answer = (
            f"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:{secret.port}/\r\nContent-Length: 0\r\n\r\n"
        )
        async with serving(answer.encode()) as server, guarded() as client:
            found = await client.post(f"http://127.0.0.1:{server.port}/", content=b"", headers={})
    assert found.status == 302
    assert found.headers == {}
    assert secret.connections == 0


async def test_an_endless_answer_is_cut() -> None:
    sent = 0

    async def pour(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"x" * 65536)
            sent += 65536
            await writer.drain()

    async with serving(pour) as server, guarded(limit=1000) as client:
        answer = await client.post(f"http://127.0.0.1:{server.port}/", content=b"", headers={})
        assert answer.body == b"x" * 1000
        assert sent < 50_000_000


@pytest.mark.parametrize(
    "part", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"]
)
async def test_a_server_that_trickles_or_hangs_is_left_after_the_total_time(part: bytes) -> None:
    async def hang(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(part)
        for _ in range(600):
            # Each byte comes well within the limit; only their sum does not.
            writer.write(b"x" if part else b"")
            await asyncio.sleep(0.1)

    async with serving(hang) as server, guarded(timeout=0.4) as client:
        started = time.monotonic()
        with pytest.raises(EgressFailed, match=r"0\.4 seconds"):
            await client.post(f"http://127.0.0.1:{server.port}/", content=b"", headers={})
        assert time.monotonic() - started < 30


async def test_a_resolver_that_hangs_counts_too() -> None:
    async def slow(host: str, port: int) -> Sequence[str]:
        await asyncio.sleep(60)
        return ["127.0.0.1"]

    async with guarded(timeout=0.2, resolve=slow) as client:
        with pytest.raises(EgressFailed):
            await client.post("http://hook.example.com/", content=b"", headers={})


async def test_a_refused_or_broken_connection_is_a_failure() -> None:
    async def slam(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async with guarded() as client:
        async with serving(slam) as server:
            with pytest.raises(EgressFailed, match="answer"):
                await client.post(f"http://127.0.0.1:{server.port}/", content=b"", headers={})
        with pytest.raises(EgressFailed, match="refused"):
            await client.post(f"http://127.0.0.1:{server.port}/", content=b"", headers={})
        async with serving(b"SSH-2.0-server\r\n\r\n") as server:
            with pytest.raises(EgressFailed, match="not valid HTTP"):
                await client.post(f"http://127.0.0.1:{server.port}/", content=b"", headers={})


async def test_an_unknown_name_is_a_failure() -> None:
    async def unknown(host: str, port: int) -> Sequence[str]:
        raise OSError("no such name")

    async with guarded(resolve=unknown) as client:
        with pytest.raises(EgressFailed, match="does not resolve"):
            await client.post("http://hook.example.com/", content=b"", headers={})


@pytest.mark.parametrize(
    "headers", [{"X-A": "1\r\nX-B: 2"}, {"X-A\r\nX-B": "1"}, {"X-A": "1\n2"}, {"X-A": "é"}, {"X-A": "\0"}]
)
async def test_a_header_cannot_start_another(headers: dict[str, str]) -> None:
    async with serving(OK) as server, guarded() as client:
        with pytest.raises(EgressRefused):
            await client.post(f"http://127.0.0.1:{server.port}/", content=b"", headers=headers)
        assert server.requests == []


async def test_certificates_are_verified_against_the_name_of_the_url(tmp_path: Path) -> None:
    context = server_context(tmp_path, "hook.example.com")
    resolve, _ = names(["127.0.0.1"])
    async with serving(OK, tls=context) as server:
        trusting = ssl.create_default_context(cafile=tmp_path / "ca.pem")
        async with guarded(resolve=resolve, tls=trusting) as client:
            answer = await client.post(f"https://hook.example.com:{server.port}/", content=b"x", headers={})
            assert answer.status == 200
            with pytest.raises(EgressFailed, match="certificate"):
                await client.post(f"https://other.example.com:{server.port}/", content=b"x", headers={})
        async with guarded(resolve=resolve) as client:
            with pytest.raises(EgressFailed, match="certificate"):
                await client.post(f"https://hook.example.com:{server.port}/", content=b"x", headers={})
        assert len(server.requests) == 1


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(OK) as proxy, serving(OK) as server:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{proxy.port}")
        async with guarded() as client:
            await client.post(f"http://127.0.0.1:{server.port}/", content=b"", headers={})
    assert (proxy.connections, server.connections) == (0, 1)


async def test_two_calls_share_a_connection() -> None:
    async with serving(OK) as server, guarded() as client:
        for _ in range(3):
            await client.post(f"http://127.0.0.1:{server.port}/", content=b"", headers={})
        assert (server.connections, len(server.requests)) == (1, 3)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/hook",
        "http://example.com:8080/a?b=c",
        "https://bücher.example/hook",
        "https://hook.internal/",
        "https://localhost/",
        "https://10.0.0.1/",
        "https://[2606:4700::1111]/",
        "https://a_b.example.com/x",
        "https://example.com/user@example.com",
    ],
)
def test_urls_of_endpoints(url: str) -> None:
    check_url(url)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "https"),
        ("example.com/hook", "https"),
        ("ftp://example.com/", "https"),
        ("file:///etc/passwd", "https"),
        ("gopher://example.com/", "https"),
        ("https://", "host"),
        ("https:///hook", "host"),
        ("https://user:password@example.com/", "password"),
        ("https://@example.com/", "password"),
        ("https://example.com/#top", "fragment"),
        ("https://example.com:0/", "port"),
        ("https://example.com:99999/", "port"),
        ("https://exa mple.com/", "spaces"),
        ("https://example.com/\r\nHost: evil", "control"),
        ("https://example.com\\@127.0.0.1/", "backslash"),
        ("https://example.com/\u202e", "control"),
        ("https://[::1%25eth0]/", "zone"),
        ("https://[nonsense]/", "not a valid"),
        ("https://-.example.com/", "host name"),
        ("https://a..example.com/", "host name"),
        ("https://1.2.3/", "IPv4"),
        ("https://1.2.3.4.5/", "IPv4"),
        ("https://256.1.1.1/", "IPv4"),
        ("https://127.0.0.1./", "IPv4"),
        ("https://example.com/" + "a" * 2000, "2000"),
        ("https://" + "a" * 64 + ".example.com/", "host name"),
        ("https://xn--/", "host name"),
    ],
)
def test_urls_that_are_none(url: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        check_url(url)


def test_a_malformed_range_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match=r"10\.0\.0\.1/8"):
        GuardedClient(timeout=1, max_answer_bytes=1, allowed_ranges=["10.0.0.1/8"])
