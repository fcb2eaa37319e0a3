"""Whom a count of calls takes for one, where nothing but the address tells callers apart."""

from dataclasses import dataclass
from ipaddress import ip_address, ip_network


@dataclass(frozen=True, slots=True)
class Callers:
    """The lengths of the prefixes that addresses are counted by.

    Who rents a machine gets 2^64 addresses of IPv6 with it, often many times more (RFC 6177): counted
    one by one, a limit on an address would be no limit.
    """

    ipv4_prefix: int = 32
    ipv6_prefix: int = 64

    def of(self, address: str) -> str:
        """The network that the address is counted in; what is no address, as it came. An address of IPv4
        that was written as one of IPv6 (RFC 4291 §2.5.5.2) is counted as what it is."""
        return network_of(address.partition("%")[0], self.ipv4_prefix, self.ipv6_prefix) or address


def network_of(address: str, ipv4_prefix: int, ipv6_prefix: int) -> str | None:
    """The network of this length that the address is in; None for what is no address."""
    try:
        found = ip_address(address)
    except ValueError:
        return None
    if found.version == 6 and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return str(ip_network((found, ipv4_prefix if found.version == 4 else ipv6_prefix), strict=False))
