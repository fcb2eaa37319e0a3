"""What belongs into the DNS for a sending domain, and what was seen there."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from newsletter.domains.models import SendingDomain, SigningMode
from newsletter.settings import Settings


class RecordPurpose(StrEnum):
    dkim = "dkim"
    ownership = "ownership"
    """Where the sending server signs, there is no key of ours to find: this proves whose the domain is."""
    spf = "spf"
    dmarc = "dmarc"
    tracking = "tracking"
    """Of the project's own tracking host: it is used once this was found."""


class RecordStatus(StrEnum):
    """``missing`` and ``wrong`` are what the DNS said; ``unknown`` is that it said nothing."""

    unchecked = "unchecked"
    found = "found"
    missing = "missing"
    wrong = "wrong"
    unknown = "unknown"


class RecordType(StrEnum):
    TXT = "TXT"
    CNAME = "CNAME"


@dataclass(frozen=True, slots=True)
class Record:
    """One entry for the zone. ``value`` is None where what stands there is for others to say."""

    purpose: RecordPurpose
    type: RecordType
    name: str
    value: str | None
    is_required: bool


@dataclass(frozen=True, slots=True)
class Seen:
    """What stands at a record's name."""

    status: RecordStatus
    found: tuple[str, ...] = ()
    reason: str | None = None
    """In plain words; None for what is as it should be and has nothing more to tell."""

    @property
    def is_absent(self) -> bool:
        """Whether the DNS said that what is expected is not there."""
        return self.status in (RecordStatus.missing, RecordStatus.wrong)


UNCHECKED = Seen(RecordStatus.unchecked)
Sight = Mapping[Record, Seen]


def expected(row: SendingDomain, settings: Settings) -> list[Record]:
    """The records of a domain, those that prove it first."""
    found = [
        Record(RecordPurpose.dkim, RecordType.TXT, each["name"], each["value"], is_required=True)
        for each in row.records
    ]
    if row.mode is SigningMode.relay:
        value = f"newsletter-domain={row.selector}"
        name = f"_newsletter.{row.domain}"
        found.append(Record(RecordPurpose.ownership, RecordType.TXT, name, value, is_required=True))
    include = settings.dns.spf_include
    spf = f"v=spf1 include:{include} ~all" if include else None
    found.append(Record(RecordPurpose.spf, RecordType.TXT, row.domain, spf, is_required=spf is not None))
    dmarc = f"_dmarc.{row.domain}"
    found.append(Record(RecordPurpose.dmarc, RecordType.TXT, dmarc, "v=DMARC1; p=none", is_required=False))
    if row.tracking_host is not None:
        host, target = row.tracking_host, settings.tracking_host
        found.append(Record(RecordPurpose.tracking, RecordType.CNAME, host, target, is_required=False))
    return found


def to_json(sight: Sight) -> list[dict[str, Any]]:
    """What was seen, as the row keeps it, with what was looked for."""
    return [
        {
            "purpose": record.purpose.value,
            "name": record.name,
            "value": record.value,
            **asdict(seen),
            "found": list(seen.found),
        }
        for record, seen in sight.items()
    ]


def kept(row: SendingDomain, settings: Settings) -> Sight:
    """The expected records with what was seen at the last look; `UNCHECKED` where that looked for
    something else, as before a change of the settings."""
    seen = {
        (each["purpose"], each["name"], each["value"]): Seen(
            RecordStatus(each["status"]), tuple(each["found"]), each["reason"]
        )
        for each in row.checks
    }
    return {
        record: seen.get((record.purpose.value, record.name, record.value), UNCHECKED)
        for record in expected(row, settings)
    }


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether a domain may be sent from, as other slices are told."""

    is_verified: bool
    public_id: str | None = None
    """None where the project has no such sending domain."""
    lacking: Sequence[str] = ()
    """The required records that were not found, each with what was."""
