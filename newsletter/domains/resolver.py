"""Questions to the DNS. A name that holds nothing is an answer; silence is none, and is told apart."""

import asyncio

import dns.asyncresolver
import dns.exception
import dns.nameserver
import dns.resolver
from dns.rdtypes.ANY.CNAME import CNAME
from dns.rdtypes.ANY.MX import MX
from dns.rdtypes.ANY.TXT import TXT
from dns.rdtypes.IN.A import A
from dns.rdtypes.IN.AAAA import AAAA

from newsletter.settings.domains import DNSSettings, place

_PAYLOAD = 1_232
"""Bytes of an answer by UDP that no path needs to cut (DNS flag day 2020). The TXT record of an RSA key
is larger than the 512 of RFC 1035; what does not fit here either is asked for again by TCP."""


class LookupFailed(Exception):
    """The DNS did not say what stands at a name: the same question may be answered later."""


class Resolver:
    """Asks the resolvers that the operator named, else the machine's."""

    def __init__(self, settings: DNSSettings) -> None:
        self.settings = settings
        self._places = asyncio.Semaphore(settings.questions)

    async def txt(self, name: str) -> list[str]:
        """The TXT records at a name, the strings of each joined (RFC 7208 §3.3); none where nothing stands
        there. Raises `LookupFailed`."""
        return [
            b"".join(data.strings).decode("utf-8", "replace")
            for data in await self._ask(name, "TXT")
            if isinstance(data, TXT)
        ]

    async def cname(self, name: str) -> list[str]:
        """Where the CNAME at a name leads, in lower case and without the last dot. Raises `LookupFailed`."""
        return [
            data.target.to_text(omit_final_dot=True).lower()
            for data in await self._ask(name, "CNAME")
            if isinstance(data, CNAME)
        ]

    async def mx(self, name: str) -> list[str]:
        """The hosts that take a domain's mail, the preferred first, in lower case and without the last dot;
        ``.`` alone where it says that it takes none (RFC 7505). Raises `LookupFailed`."""
        found = [data for data in await self._ask(name, "MX") if isinstance(data, MX)]
        found.sort(key=lambda data: data.preference)
        return [data.exchange.to_text(omit_final_dot=True).lower() for data in found]

    async def addresses(self, name: str) -> list[str]:
        """Those of a host, by IPv4 and then by IPv6. Raises `LookupFailed`."""
        kinds = await asyncio.gather(self._ask(name, "A"), self._ask(name, "AAAA"))
        return [data.address for kind in kinds for data in kind if isinstance(data, A | AAAA)]

    async def _ask(self, name: str, kind: str) -> list[object]:
        try:
            async with self._places:
                # Absolute: a search list would ask for the record below other domains.
                return list(await self._asked().resolve(f"{name}.", kind, search=False))
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return []
        except (dns.exception.DNSException, OSError) as error:
            raise LookupFailed(_why(error)) from error

    def _asked(self) -> dns.asyncresolver.Resolver:
        """Made for each question, which takes 40 µs: a change of ``/etc/resolv.conf`` is noticed."""
        resolver = dns.asyncresolver.Resolver(configure=not self.settings.nameservers)
        if self.settings.nameservers:
            resolver.nameservers = [
                dns.nameserver.Do53Nameserver(*place(each)) for each in self.settings.nameservers
            ]
        resolver.timeout, resolver.lifetime = self.settings.timeout, self.settings.lifetime
        resolver.use_edns(0, 0, _PAYLOAD)
        return resolver


def _why(error: Exception) -> str:
    if isinstance(error, dns.resolver.NoNameservers):
        return "its name servers, or ours, answer with an error"
    if isinstance(error, dns.exception.Timeout):
        return "there was no answer in time"
    return f"the answer could not be used ({type(error).__name__})"
