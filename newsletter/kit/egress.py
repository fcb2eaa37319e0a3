"""Which addresses of the network may be called for somebody else, and which URLs name one.

The tables are written out rather than left to `ipaddress`, whose idea of "global" counts
multicast in and changes between Python releases.
"""

import asyncio
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeAlias

import httpx

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]

# IANA's special-purpose registry (RFC 6890) with multicast and all that is reserved.
_CLOSED_V4 = [
    ipaddress.IPv4Network(text)
    for text in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15"),
        *("198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
    )
]
_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")
# Inside 2000::/3: protocol assignments with Teredo, documentation (two), and 6to4, which
# carries any IPv4 address in itself.
_CLOSED_V6 = [
    ipaddress.IPv6Network(text) for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
]
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_LOOKS_NUMERIC = re.compile(r"(?:.*\.)?(?:[0-9]+|0[xX][0-9a-fA-F]*)\.?")
_HOST = re.compile(r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*\.?")
_MAX_URL = 2000
_PORTS = {"https": 443, "http": 80}
"""Of a URL that names none."""
_ADDRESSES = 4
"""Of one name that are tried."""


class EgressRefused(Exception):
    """The address may not be called; no connection was made."""


class EgressFailed(Exception):
    """The call was tried and got no answer."""


class EgressTimedOut(EgressFailed):
    """It got none in all the time that it had."""


async def resolve(host: str, port: int) -> Sequence[str]:
    """The addresses that this machine knows a name by. Raises `OSError`."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(sockaddr[0]) for *_, sockaddr in found]


class Guard:
    """Resolves a name once and checks every address it has; who connects must connect to one of
    these very addresses, so that the name cannot change its meaning in between (DNS rebinding).

    Addresses within ``allowed_ranges`` may be private and have any port; all others are global
    and have one of ``allowed_ports``. Raises `ValueError` for a malformed range.
    """

    def __init__(
        self, allowed_ranges: Iterable[str], allowed_ports: Iterable[int], resolve: Resolve = resolve
    ) -> None:
        self._allowed_ranges = ranges(allowed_ranges)
        self._allowed_ports = frozenset(allowed_ports)
        self._resolve = resolve

    def check_url(self, url: str) -> None:
        """As the function of this name, and besides whether any address at all may be called at its port.
        Where ranges are allowed, one may be. Raises `ValueError` with a sentence that says what is wrong."""
        target = parse(url)
        port = target.port or _PORTS[target.scheme]
        if not self._allowed_ranges and port not in self._allowed_ports:
            raise ValueError(f"must have the port {' or '.join(map(str, sorted(self._allowed_ports)))}")

    async def addresses(self, host: str, port: int) -> list[Address]:
        """At least one, the best first. Raises `EgressRefused` or `EgressFailed`."""
        try:
            found = list(dict.fromkeys(await self._resolve(host, port)))
        except (OSError, UnicodeError) as error:
            raise EgressFailed(f"The name {host} does not resolve.") from error
        if not found:
            raise EgressFailed(f"The name {host} has no address.")
        addresses = [ipaddress.ip_address(text) for text in found]
        for address in addresses:
            if is_within(address, self._allowed_ranges):
                continue
            if not is_global(address):
                raise EgressRefused(f"The name {host} leads to an address that is not public.")
            if port not in self._allowed_ports:
                known = ", ".join(map(str, sorted(self._allowed_ports)))
                raise EgressRefused(f"Port {port} is not allowed; use one of {known}.")
        return addresses[:_ADDRESSES]


def ranges(texts: Iterable[str]) -> list[Network]:
    """Raises `ValueError` for what is not a network such as ``10.1.0.0/16``."""
    return [ipaddress.ip_network(text) for text in texts]


def is_within(address: Address, networks: Sequence[Network]) -> bool:
    address = _true(address)
    return any(address.version == network.version and address in network for network in networks)


def is_global(address: Address) -> bool:
    """Whether it is a public unicast address, after what it may be wrapped in is taken off."""
    address = _true(address)
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _CLOSED_V4)
    if address in _NAT64:
        return is_global(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
    return address in _GLOBAL_V6 and not any(address in network for network in _CLOSED_V6)


def check_url(url: str) -> None:
    """Whether it can be an endpoint at all; where it leads is checked when it is called.

    Raises `ValueError` with a sentence that says what is wrong.
    """
    parse(url)


def parse(url: str) -> httpx.URL:
    """As `check_url`; the one parser whose reading is also what gets called."""
    if len(url) > _MAX_URL:
        raise ValueError(f"must have at most {_MAX_URL} characters")
    # Browsers and servers disagree on all of these, and that is how guards are got around.
    if not url.isprintable() or any(letter in " \\" for letter in url):
        raise ValueError("must not contain spaces, backslashes or control characters")
    try:
        parsed = httpx.URL(url)
        host = parsed.raw_host.decode("ascii")
    except (httpx.InvalidURL, UnicodeError) as error:
        raise ValueError(f"is not a valid URL: {error}") from None
    if parsed.scheme not in _PORTS:
        raise ValueError("must begin with https:// or http://")
    if not host:
        raise ValueError("must name a host, as in https://example.com/hook")
    if "@" in re.split(r"[/?#]", url.partition("//")[2], maxsplit=1)[0]:
        raise ValueError("must not contain a user name or password")
    if parsed.fragment or "#" in url:
        raise ValueError("must not contain a fragment (#…)")
    if parsed.port is not None and not 1 <= parsed.port <= 65535:
        raise ValueError("must have a port from 1 to 65535")
    check_host(host)
    return parsed


def check_host(host: str) -> None:
    """Whether it is a name or an address in the one spelling that nobody can misread. Raises
    `ValueError` with a sentence that says what is wrong."""
    if ":" in host:
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise ValueError("has an invalid IPv6 address") from None
        if "%" in host:
            raise ValueError("must not contain an IPv6 zone")
        return
    if _LOOKS_NUMERIC.fullmatch(host):
        # 127.1, 0177.0.0.1, 0x7f000001 and 2130706433 are all spellings of one address.
        try:
            ipaddress.IPv4Address(host)
        except ValueError:
            raise ValueError("has an invalid IPv4 address; write it as four decimal numbers") from None
    elif len(host) > 253 or not _HOST.fullmatch(host) or any(len(label) > 63 for label in host.split(".")):
        raise ValueError("has an invalid host name")


def _true(address: Address) -> Address:
    """An IPv4 address that hides in an IPv6 one the operating system would unwrap."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if int(address) >> 32 == 0 and int(address) > 1:
            return ipaddress.IPv4Address(int(address))
    return address
