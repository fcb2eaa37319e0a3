"""Sends through the HTTP API of a mail provider; each provider is a map that it asks what to say.

What became of a request decides whether it may be repeated, as the final dot does in SMTP:

    no connection was made                      → ServerDown: nothing was tried
    cut while the request was being written     → Temporary: a server acts on whole requests only
    cut, or no answer in time, after that       → Unknown: it may have been taken
    … where the provider knows repeated calls   → Temporary: the same key gives the same answer
"""

import asyncio
import json
import math
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Protocol, Self

import httpx

from newsletter.kit.db import JSONObject, JSONValue
from newsletter.kit.http import tls_context
from newsletter.providers.base import (
    Envelope,
    Permanent,
    Receipt,
    Refusal,
    Result,
    ServerDown,
    Temporary,
    Throttled,
    Unknown,
    never,
)
from newsletter.settings import ProviderSettings

METADATA = "message_id"
"""The name under which our message id travels with a message, and comes back in its events."""
_LOOK_AGAIN = 10.0
"""Seconds to wait after a 429 that does not say how long."""
_LONGEST_WAIT = 600.0
"""However long a 429 asks for: the limit may have been raised meanwhile."""
_KEEP_ALIVE = 20.0
"""Seconds that an idle connection is kept; load balancers end theirs after 30 s or more."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request. ``path`` begins with a slash and is already escaped."""

    method: str
    path: str
    headers: Mapping[str, str]
    content: bytes = b""

    @classmethod
    def of_json(cls, path: str, headers: Mapping[str, str], body: JSONObject) -> Self:
        text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
        return cls(
            "POST", path, {"Content-Type": "application/json", **headers}, text.encode(errors="replace")
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """What the provider said. ``headers`` have lower-cased names."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def is_success(self) -> bool:
        return self.status // 100 == 2

    def json(self) -> Mapping[str, JSONValue]:
        """The body as an object; empty for anything else."""
        try:
            value = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return value if isinstance(value, dict) else {}

    def text_of(self, name: str) -> str:
        """A field of the body that holds text; empty where it does not."""
        value = self.json().get(name)
        return value if isinstance(value, str) else ""


class MailAPI(Protocol):
    """One provider's way to say it. Pure: bytes in, bytes out."""

    name: str
    """As in `registry.ServerType`."""
    title: str
    """As its owner spells it."""
    has_idempotency: bool
    """Whether the same message may be handed over again without being sent again."""
    base_url: str
    """Without a slash at its end."""

    def message(self, envelope: Envelope) -> Call:
        """Raises `Permanent` for what this API cannot carry."""

    def receipt(self, answer: Answer) -> Receipt:
        """Raises `Refusal` for every answer that does not name the message it took."""

    def probe(self) -> Call:
        """A request that shows whether the credentials are good, and sends nothing."""

    def found(self, answer: Answer) -> str:
        """What the answer to `probe` says, in words. Raises `Refusal`."""


@dataclass(slots=True)
class _Progress:
    """How far a request came; httpcore calls it at each step."""

    is_connected: bool = False
    is_written: bool = False

    async def __call__(self, event: str, info: Mapping[str, object]) -> None:
        if event == "http11.send_request_headers.started":
            self.is_connected = True
        elif event == "http11.send_request_body.complete":
            self.is_written = True


@dataclass(slots=True)
class _Send:
    """One `send_many`: what is still to do, and why no more could be done."""

    envelopes: Sequence[Envelope]
    pending: deque[int]
    should_stop: Callable[[], bool]
    results: "asyncio.Queue[tuple[int, Result] | None]" = field(default_factory=asyncio.Queue)
    down: ServerDown | None = None

    def has_more(self) -> bool:
        return bool(self.pending) and self.down is None and not self.should_stop()


class HTTPProvider:
    """A `newsletter.providers.base.Provider` over HTTP; one request for each message.

    Serves one event loop and may be used concurrently; all calls share its connections.
    """

    def __init__(self, api: MailAPI, settings: ProviderSettings) -> None:
        self.name = api.name
        self._api = api
        self._settings = settings
        self.base_url = api.base_url
        self._slots = asyncio.Semaphore(settings.connections)
        self._client: httpx.AsyncClient | None = None

    async def send_many(
        self, envelopes: Sequence[Envelope], should_stop: Callable[[], bool] = never
    ) -> AsyncGenerator[tuple[int, Result], None]:
        """See `Provider.send_many`. The first `ServerDown` ends the call: what it holds for,
        such as a revoked key, holds for every message."""
        send = _Send(envelopes, deque(range(len(envelopes))), should_stop)
        workers = [
            asyncio.create_task(self._work(send), name=self.name)
            for _ in range(min(self._settings.connections, len(envelopes)))
        ]
        for worker in workers:
            worker.add_done_callback(lambda _: send.results.put_nowait(None))
        try:
            ended = 0
            while ended < len(workers):
                item = await send.results.get()
                if item is None:
                    ended += 1
                else:
                    yield item
            for worker in workers:
                worker.result()
            for index in send.pending:
                yield index, _not_tried(send.down)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def check(self) -> str:
        async with self._slots:
            return self._api.found(await self._ask(self._api.probe()))

    async def aclose(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    async def _work(self, send: _Send) -> None:
        while send.has_more():
            async with self._slots:
                if not send.has_more():
                    return
                index = send.pending.popleft()
                try:
                    answer = await self._ask(self._api.message(send.envelopes[index]))
                    result: Result = self._api.receipt(answer)
                except ServerDown as down:
                    send.down = down
                    send.pending.appendleft(index)
                    return
                except Refusal as refusal:
                    result = refusal
                send.results.put_nowait((index, result))

    async def _ask(self, call: Call) -> Answer:
        """Any status is an answer. Raises `Refusal` as the module's table has it."""
        progress = _Progress()
        try:
            async with asyncio.timeout(self._settings.timeout):
                return await self._exchange(call, progress)
        except (TimeoutError, httpx.TransportError) as error:
            reason = f"{self._api.title}: {_explain(error, self._settings.timeout)}"
            if not progress.is_connected:
                raise ServerDown(reason) from error
            if not progress.is_written:
                raise Temporary(reason) from error
            raise lost(self._api)(f"after the message was handed over: {reason}") from error

    async def _exchange(self, call: Call, progress: _Progress) -> Answer:
        if self._client is None:
            self._client = self._connect()
        request = self._client.build_request(
            call.method,
            self.base_url + call.path,
            content=call.content,
            headers=call.headers,
            extensions={"trace": progress},
        )
        response = await self._client.send(request, stream=True)
        body = bytearray()
        try:
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > self._settings.max_answer_bytes:
                    break
        except httpx.TransportError:
            # The status is there. What a cut body does not say, `MailAPI.receipt` will miss.
            pass
        finally:
            await response.aclose()
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status_code, headers, bytes(body[: self._settings.max_answer_bytes]))

    def _connect(self) -> httpx.AsyncClient:
        settings = self._settings
        return httpx.AsyncClient(
            # A redirect would carry the key and the mail to a host that nobody configured; an
            # answer that was compressed could grow beyond the bytes that are counted.
            follow_redirects=False,
            trust_env=False,
            verify=tls_context(),
            headers={"User-Agent": "newsletter", "Accept": "application/json", "Accept-Encoding": "identity"},
            timeout=httpx.Timeout(settings.timeout, connect=settings.connect_timeout),
            limits=httpx.Limits(
                max_connections=settings.connections,
                max_keepalive_connections=settings.connections,
                keepalive_expiry=_KEEP_ALIVE,
            ),
        )


def taken(answer: Answer, message_id: str, api: MailAPI) -> Receipt:
    """The receipt of a successful answer. Raises `Refusal` where no id came with it: whoever
    said yes, it was not certainly the provider."""
    if not message_id:
        raise lost(api)(f"{api.title} answered {answer.status} without the id of a message")
    return Receipt(f"{answer.status} {message_id}"[:500])


def refusal(answer: Answer, text: str, api: MailAPI) -> Refusal:
    """What a status stands for, where the provider says nothing more exact in the body.

    ``text`` is the provider's own. It is left out of a 401, because some quote the key in it.
    """
    status = answer.status
    said = f"{api.title} answered {status}" + (f": {text}" if text else "")
    if status == 401:
        return ServerDown(f"{api.title} refused the credentials (401)", code=status)
    if status == 429:
        return too_fast(answer, said)
    if status in (408, 425):
        return Temporary(said, code=status)
    if status in (402, 403, 404, 405) or status < 400:
        # It is about the account or the address of the API, so it holds for every message.
        return ServerDown(said, code=status)
    if status == 504:
        # A gateway gave up waiting for the server behind it, which may have taken the message.
        return lost(api)(said, code=status)
    return (Temporary if status >= 500 else Permanent)(said, code=status)


def too_fast(answer: Answer, said: str) -> Throttled:
    """A limit of the account's: it says nothing of the message, so no attempt of it is used up."""
    seconds = retry_after(answer)
    return Throttled(said, retry_after=_LOOK_AGAIN if seconds is None else min(seconds, _LONGEST_WAIT))


def lost(api: MailAPI) -> type[Refusal]:
    """What a call is whose answer cannot be known: safe to repeat only where repeats are known."""
    return Temporary if api.has_idempotency else Unknown


def retry_after(answer: Answer) -> float | None:
    """Seconds from ``Retry-After`` (RFC 9110 §10.2.3: seconds or a date); None without one."""
    value = answer.headers.get("retry-after", "")
    try:
        seconds = float(value)
    except ValueError:
        try:
            at = parsedate_to_datetime(value)
        except ValueError:
            return None
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        seconds = (at - datetime.now(UTC)).total_seconds()
    return max(seconds, 0.0) if math.isfinite(seconds) else None


def _explain(error: Exception, seconds: float) -> str:
    if isinstance(error, httpx.ConnectTimeout):
        return "no connection in time"
    if isinstance(error, TimeoutError | httpx.TimeoutException):
        return f"no answer within {seconds:g} s"
    if isinstance(error, httpx.ConnectError):
        return f"no connection: {error}"
    return "the connection was cut"


def _not_tried(down: ServerDown | None) -> ServerDown:
    if down is None:
        return ServerDown("the message was not tried")
    return ServerDown(down.text, code=down.code, enhanced=down.enhanced)
