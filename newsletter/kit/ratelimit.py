"""Sliding-window rate limits: of any 60 seconds, never more than N calls, and exactly N.

In memory for one process, in Redis for several. When Redis is away the process falls back
to its own memory and says so in the log: a limit that is too wide for a minute is better
than an API that is down.
"""

import math
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from newsletter.kit import ids
from newsletter.kit.together import Together

log = structlog.get_logger(__name__)

WINDOW_SECONDS = 60.0
_MAX_WINDOWS = 100_000
_RETRY_REDIS_AFTER = 5.0

# One round trip for all calls of one moment: per key drop what left the window, count, and add
# the calls that fit. Times are Redis's own, so that the clocks of API processes need not agree.
_SCRIPT = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local window = tonumber(ARGV[1])
local answers = {}
for number, key in ipairs(KEYS) do
  local limit, calls, id = tonumber(ARGV[3 * number - 1]), tonumber(ARGV[3 * number]), ARGV[3 * number + 1]
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now - window)
  local count = redis.call('ZCARD', key)
  local allowed = math.max(0, math.min(calls, limit - count))
  for call = 1, allowed do
    redis.call('ZADD', key, now, id .. call)
  end
  if allowed > 0 then
    redis.call('PEXPIRE', key, math.ceil(window / 1000))
  end
  local oldest = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
  local wait = window
  if oldest[2] then wait = oldest[2] + window - now end
  answers[number] = {allowed, count, wait}
end
return answers
"""
_CALLS_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class Verdict:
    """``reset`` is the number of whole seconds until the oldest counted call leaves the window."""

    is_allowed: bool
    limit: int
    remaining: int
    reset: int


@runtime_checkable
class Limiter(Protocol):
    async def hit(self, key: str, limit: int) -> Verdict:
        """Counts a call under ``key`` unless it is over the limit. A refused call does not count."""

    async def aclose(self) -> None: ...


class MemoryLimiter:
    """For one process. Forgets the least recently used windows beyond a bound."""

    def __init__(self) -> None:
        self._windows: dict[str, deque[float]] = {}

    async def hit(self, key: str, limit: int) -> Verdict:
        now = time.monotonic()
        calls = self._windows.pop(key, None) or deque()
        self._windows[key] = calls
        if len(self._windows) > _MAX_WINDOWS:
            del self._windows[next(iter(self._windows))]
        while calls and calls[0] <= now - WINDOW_SECONDS:
            calls.popleft()
        is_allowed = len(calls) < limit
        if is_allowed:
            calls.append(now)
        wait = calls[0] + WINDOW_SECONDS - now if calls else WINDOW_SECONDS
        return _verdict(is_allowed, limit, len(calls), wait)

    async def aclose(self) -> None:
        self._windows.clear()


class RedisLimiter:
    """For any number of processes. Calls that come while Redis answers share the next question:
    at 32 connections that is one round trip for some 16 of them."""

    def __init__(self, url: str) -> None:
        self._redis: Redis = Redis.from_url(url, socket_connect_timeout=1, socket_timeout=1)
        self._script = self._redis.register_script(_SCRIPT)
        self._fallback = MemoryLimiter()
        self._together = Together(self._ask, most=_CALLS_AT_ONCE)
        self._away_until = 0.0

    async def hit(self, key: str, limit: int) -> Verdict:
        if time.monotonic() >= self._away_until:
            try:
                return await self._together((key, limit))
            except (RedisError, OSError) as error:
                self._away_until = time.monotonic() + _RETRY_REDIS_AFTER
                log.warning("Redis is away; this process limits by its own memory", error=repr(error))
        return await self._fallback.hit(key, limit)

    async def _ask(self, calls: Sequence[tuple[str, int]]) -> Sequence[Verdict]:
        windows = Counter(calls)
        arguments: list[int | str] = [int(WINDOW_SECONDS * 1_000_000)]
        for (_, limit), number in windows.items():
            arguments += [limit, number, f"{ids.uuid7().hex}:"]
        answers = await self._script(keys=[f"newsletter:limit:{key}" for key, _ in windows], args=arguments)
        # The first calls of a window are those that fit; the verdicts go out in the order of the calls.
        verdicts = {
            (key, limit): iter(
                [
                    _verdict(call < allowed, limit, count + min(call + 1, allowed), float(wait) / 1_000_000)
                    for call in range(number)
                ]
            )
            for ((key, limit), number), (allowed, count, wait) in zip(windows.items(), answers, strict=True)
        }
        return [next(verdicts[call]) for call in calls]

    async def aclose(self) -> None:
        await self._redis.aclose()


def make_limiter(redis_url: str | None) -> Limiter:
    return RedisLimiter(redis_url) if redis_url else MemoryLimiter()


def _verdict(is_allowed: bool, limit: int, count: int, wait: float) -> Verdict:
    return Verdict(is_allowed, limit, max(0, limit - count), max(1, math.ceil(wait)))
