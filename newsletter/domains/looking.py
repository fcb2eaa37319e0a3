"""Looks at the records of a domain in the DNS, all at the same time."""

import asyncio
from collections.abc import Iterator, Sequence

from newsletter.domains import judging
from newsletter.domains.records import Record, RecordPurpose, RecordStatus, Seen, Sight
from newsletter.domains.resolver import LookupFailed, Resolver

_MOST_LABELS = 8
"""Of a name whose parents are asked for a DMARC policy; of a longer one the front is left out, which keeps
it at this many questions."""


async def look(resolver: Resolver, records: Sequence[Record]) -> Sight:
    """What stands there now. Raises nothing for what could not be looked up: that is what is told of it."""
    seen = await asyncio.gather(*(_see(resolver, record) for record in records))
    return dict(zip(records, seen, strict=True))


async def _see(resolver: Resolver, record: Record) -> Seen:
    settings = resolver.settings
    try:
        async with asyncio.timeout(settings.lifetime):  # A policy may take several questions.
            seen = await _judged(resolver, record)
    except LookupFailed as error:
        return Seen(RecordStatus.unknown, (), f"It could not be looked up: {error}. Try again.")
    except TimeoutError:
        return Seen(RecordStatus.unknown, (), "It could not be looked up in time. Try again.")
    # A zone may hold anything, and what is kept here is shown and stored.
    found = tuple(
        _printable(value)[: settings.kept_characters] for value in seen.found[: settings.kept_values]
    )
    return Seen(seen.status, found, seen.reason)


async def _judged(resolver: Resolver, record: Record) -> Seen:
    match record.purpose:
        case RecordPurpose.dkim:
            return judging.dkim(await resolver.txt(record.name), record.value or "")
        case RecordPurpose.ownership:
            return judging.ownership(await resolver.txt(record.name), record.value or "")
        case RecordPurpose.spf:
            return judging.spf(await resolver.txt(record.name), resolver.settings.spf_include)
        case RecordPurpose.dmarc:
            return await _dmarc(resolver, record.name)
        case RecordPurpose.tracking:
            return judging.cname(await resolver.cname(record.name), record.value or "")


async def _dmarc(resolver: Resolver, name: str) -> Seen:
    """The first policy on the way up: a domain without one has that of its parents (RFC 7489 §6.6.3)."""
    seen = judging.dmarc([], name=name, is_own=True)
    for number, each in enumerate(_policies(name)):
        seen = judging.dmarc(await resolver.txt(each), name=each, is_own=number == 0)
        if seen.status is not RecordStatus.missing:
            break
    return seen


def _policies(name: str) -> Iterator[str]:
    """``_dmarc.a.example.com``, then ``_dmarc.example.com``; a top-level domain is nobody's to publish in."""
    yield name
    labels = name.split(".")[1:]
    for start in range(max(1, len(labels) - _MOST_LABELS + 1), len(labels) - 1):
        yield ".".join(["_dmarc", *labels[start:]])


def _printable(value: str) -> str:
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in value)
