"""A name server on a loopback port, by UDP and TCP, that says what a test has it say."""

import asyncio
from dataclasses import dataclass, field
from typing import cast

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

from newsletter.settings import DNSSettings


@dataclass
class NameServer:
    """``zone`` holds the records by name and type, TXT as the strings of each; what it does not hold does
    not exist. ``broken`` names answer SERVFAIL, ``silent`` ones nothing at all."""

    zone: dict[tuple[str, str], list[list[str]]] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    silent: set[str] = field(default_factory=set)
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    """Protocol, name and type of each question."""
    port: int = 0

    def txt(self, name: str, *values: str) -> None:
        """Long ones in several strings, each of at most 255 bytes, as a zone file has them."""
        cut = [[value[start : start + 63] for start in range(0, len(value), 63)] for value in values]
        self.zone[name, "TXT"] = cut

    def cname(self, name: str, target: str) -> None:
        self.zone[name, "CNAME"] = [[f"{target}."]]

    def publish(self, records: list[dict[str, str]]) -> None:
        """What an answer of the API wants published."""
        for record in records:
            if record["value"] is not None:
                if record["type"] == "TXT":
                    self.txt(record["name"], record["value"])
                else:
                    self.cname(record["name"], record["value"])

    @property
    def settings(self) -> DNSSettings:
        """Those that have this server asked, and no other."""
        return DNSSettings(nameservers=(f"127.0.0.1:{self.port}",), timeout=30, lifetime=60)

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._tcp = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._tcp.sockets[0].getsockname()[1]
        self._udp, _ = await loop.create_datagram_endpoint(
            lambda: _Datagrams(self), local_addr=("127.0.0.1", self.port)
        )

    async def stop(self) -> None:
        self._udp.close()
        self._tcp.close()
        await self._tcp.wait_closed()

    def answer(self, protocol: str, wire: bytes) -> bytes | None:
        query = dns.message.from_wire(wire)
        [question] = query.question
        name, kind = (
            question.name.to_text(omit_final_dot=True).lower(),
            dns.rdatatype.to_text(question.rdtype),
        )
        self.asked.append((protocol, name, kind))
        if name in self.silent:
            return None
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        if name in self.broken:
            response.set_rcode(dns.rcode.SERVFAIL)
        elif records := self.zone.get((name, kind)):
            texts = [_text(kind, record) for record in records]
            response.answer.append(dns.rrset.from_text(question.name, 60, "IN", kind, *texts))
        elif not any(known == name for known, _ in self.zone):
            response.set_rcode(dns.rcode.NXDOMAIN)
        made = response.to_wire(max_size=65_535)
        if protocol == "UDP" and len(made) > query.payload:
            response.answer.clear()
            response.flags |= dns.flags.TC
            made = response.to_wire()
        return made

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        made = self.answer("TCP", await reader.readexactly(int.from_bytes(await reader.readexactly(2))))
        if made is not None:
            writer.write(len(made).to_bytes(2) + made)
            await writer.drain()
        writer.close()


def _text(kind: str, record: list[str]) -> str:
    if kind != "TXT":
        return record[0]
    return " ".join('"' + part.replace("\\", "\\\\").replace('"', '\\"') + '"' for part in record)


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: NameServer) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        made = self._server.answer("UDP", data)
        if made is not None:
            self._transport.sendto(made, address)
