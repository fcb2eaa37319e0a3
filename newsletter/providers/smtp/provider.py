"""The sending server as its callers see it: envelopes in, results out as they end."""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Self

import structlog

from newsletter.kit.egress import EgressFailed, EgressRefused, Guard
from newsletter.providers.base import Envelope, Result, ServerDown, never
from newsletter.providers.smtp.call import Call
from newsletter.providers.smtp.config import TLS, Limits, SMTPServer, Timeouts
from newsletter.providers.smtp.desk import Desk
from newsletter.providers.smtp.pool import Pool
from newsletter.providers.smtp.session import GOODBYE, Session, tls_context
from newsletter.settings import SMTPSettings

log = structlog.get_logger(__name__)


class SMTPProvider:
    """Sends over SMTP. One object serves one event loop; concurrent calls share its connections."""

    name = "smtp"

    def __init__(
        self,
        server: SMTPServer,
        *,
        limits: Limits | None = None,
        timeouts: Timeouts | None = None,
        local_hostname: str | None = None,
        guard: Guard | None = None,
    ) -> None:
        """``guard`` checks where the host's name leads; for servers that customers name."""
        if local_hostname is not None and (
            not local_hostname.isascii() or set(local_hostname) & set("\r\n\0 ")
        ):
            raise ValueError("the local host name must be in ASCII, without spaces")
        self._server = server
        self._limits = limits or Limits()
        self._timeouts = timeouts or Timeouts()
        self._local_hostname = local_hostname
        self._guard = guard
        self._pool = Pool(self._connect)
        self._desk = Desk(self._work, self._limits.connections)
        self._context: ssl.SSLContext | None = None

    @classmethod
    def from_settings(cls, settings: SMTPSettings) -> Self:
        """Raises `ValueError` where no URL is set or it is malformed."""
        if settings.url is None:
            raise ValueError("no sending server is configured")
        return cls(
            SMTPServer.from_url(settings.url.get_secret_value()),
            limits=Limits.from_settings(settings),
            timeouts=Timeouts.from_settings(settings),
            local_hostname=settings.local_hostname,
        )

    async def send_many(
        self, envelopes: Sequence[Envelope], should_stop: Callable[[], bool] = never
    ) -> AsyncGenerator[tuple[int, Result], None]:
        """Sends each envelope once, over as many connections as the pool has.

        A message that meets a connection which died while it was kept is tried at once on a
        fresh one. Where no connection can be made, and none is left that works, all
        that were not tried are `ServerDown`.
        """
        call = Call(envelopes, should_stop)
        self._desk.open(call)
        try:
            while await call.wait():
                for item in call.settled():
                    yield item
            for item in call.left():
                yield item
        finally:
            await self._desk.close(call)

    async def check(self) -> str:
        session = await self._connect()
        session.quit()
        await session.wait_closed()
        return session.description

    async def aclose(self) -> None:
        await self._desk.end_work(within=GOODBYE)
        await self._pool.aclose()

    async def _connect(self) -> Session:
        if self._context is None and self._server.tls is not TLS.NONE:
            try:
                self._context = tls_context(self._server.ca_file)
            except OSError as error:
                raise ServerDown(f"cannot read {self._server.ca_file}: {error}") from error
        if self._guard is None:
            return await self._open(self._server.host)
        # The connection goes to an address that was checked, not to the name a second time.
        addresses = await self._checked(self._guard)
        for address in addresses[:-1]:
            try:
                return await self._open(address)
            except ServerDown as down:
                if down.code is not None:
                    raise  # It did answer, and another address would say the same.
                log.info("an address of a sending server does not answer", reason=down.text)
        return await self._open(addresses[-1])

    async def _open(self, address: str) -> Session:
        return await Session.open(
            self._server, address, self._timeouts, self._limits, self._context, self._local_hostname
        )

    async def _checked(self, guard: Guard) -> list[str]:
        try:
            async with asyncio.timeout(self._timeouts.connect):
                found = await guard.addresses(self._server.host, self._server.port)
        except TimeoutError:
            raise ServerDown(f"no answer about the name {self._server.host} in time") from None
        except (EgressRefused, EgressFailed) as error:
            raise ServerDown(str(error)) from error
        return [str(address) for address in found]

    async def _work(self) -> ServerDown | None:
        while self._desk.has_more():
            try:
                session = await self._pool.take()
            except ServerDown as unreachable:
                # Others may have connections; the last one's end settles what is left.
                return unreachable
            try:
                down = await session.transfer(self._desk)
                if session.went_stale:
                    # What was kept beside it is likely to be dead as well, and might take the
                    # whole command timeout to show it.
                    self._pool.drop_idle()
                if down is not None:
                    session.abort()
                    return down
                await self._pool.give_back(session)
            except BaseException:
                session.abort()
                raise
        return None
