"""Whether what stands in the DNS is what should: pure functions over the values of a name."""

import re
from collections.abc import Sequence

from newsletter.domains.records import RecordStatus, Seen

_POLICIES = ("none", "quarantine", "reject")


def dkim(values: Sequence[str], expected: str) -> Seen:
    """Compared by the key alone (``p=``), whatever the spaces, the order of the tags and their case: a panel
    may write them anew. RFC 6376 §3.6.2.2 leaves open what several records at one name mean."""
    if not values:
        return _missing("There is no TXT record at this name.")
    found, wanted = [_tags(value) for value in values], _tags(expected)
    if len(values) > 1:
        return _wrong(values, "There are several TXT records at this name; leave this one alone there.")
    if '"' in values[0]:
        return _wrong(
            values, "The record has quotation marks in it; they belong around it in a zone file alone."
        )
    if found[0].get("v", "DKIM1").upper() != "DKIM1" or "p" not in found[0]:
        return _wrong(values, "The record is not a DKIM key.")
    if not found[0]["p"]:
        return _wrong(values, "The key is marked as revoked: its p= is empty.")
    if found[0]["p"].rstrip("=") != wanted["p"].rstrip("="):
        is_cut = wanted["p"].startswith(found[0]["p"])
        return _wrong(values, "The key is cut short." if is_cut else "The record holds another key.")
    kind = wanted.get("k", "rsa")
    if found[0].get("k", "rsa").lower() != kind:
        return _wrong(values, f"The record must say k={kind}.")
    return Seen(RecordStatus.found, tuple(values))


def ownership(values: Sequence[str], expected: str) -> Seen:
    """Other values may stand beside it, such as those of another project."""
    if expected in (value.strip() for value in values):
        return Seen(RecordStatus.found, (expected,))
    if not values:
        return _missing("There is no TXT record at this name.")
    return _wrong(values, "None of the TXT records at this name is this one.")


def spf(values: Sequence[str], include: str | None) -> Seen:
    """RFC 7208 §3.2 and §4.5: more than one record is an error to whoever asks. Of what it includes, only
    ``include`` is looked for; how many look-ups it takes is not counted."""
    found = [value for value in values if re.match(r"v=spf1(?: |\Z)", value, re.IGNORECASE)]
    if len(found) > 1:
        return _wrong(found, "There are several SPF records, so that none of them counts. Make one of them.")
    if not found:
        return _missing("There is no SPF record at this name.")
    if include is not None and not _includes(found[0], include):
        return _wrong(found, f"The SPF record lacks include:{include} before its 'all'.")
    return Seen(RecordStatus.found, tuple(found))


def _includes(record: str, include: str) -> bool:
    for term in record.lower().split()[1:]:
        if term.lstrip("+-~?") == "all":
            return False  # What stands behind it is never reached (RFC 7208 §5.1).
        if term.removeprefix("+").rstrip(".") in (f"include:{include}", f"redirect={include}"):
            return True
    return False


def dmarc(values: Sequence[str], *, name: str, is_own: bool) -> Seen:
    """RFC 7489 §6.3 and §6.6.3. ``is_own`` says whether the record stands below the domain itself; that of a
    parent holds for its subdomains with ``sp=``, else with ``p=``."""
    found = [value for value in values if re.match(r"v\s*=\s*DMARC1\s*(?:;|\Z)", value)]
    if not found:
        return _missing("There is no DMARC record for this domain.")
    if len(found) > 1:
        return _wrong(found, f"There are several DMARC records at {name}, so that none of them counts.")
    tags = _tags(found[0])
    policy = tags.get("p", "") if is_own else tags.get("sp", tags.get("p", ""))
    if policy.lower() not in _POLICIES:
        return _wrong(
            found, f"The DMARC record at {name} has no policy: p= must be one of {', '.join(_POLICIES)}."
        )
    text = f"The policy is '{policy.lower()}'" + ("." if is_own else f", by the record at {name}.")
    return Seen(RecordStatus.found, tuple(found), text)


def cname(values: Sequence[str], expected: str) -> Seen:
    """An address record in its place would do until the installation moves, so it does not count."""
    if not values:
        return _missing("There is no CNAME at this name.")
    if list(values) != [expected]:
        return _wrong(values, "The CNAME leads to another host.")
    return Seen(RecordStatus.found, tuple(values))


def _tags(record: str) -> dict[str, str]:
    """A list of tags (RFC 6376 §3.2) without white space in its values; names in lower case."""
    pairs = (part.partition("=") for part in record.split(";"))
    return {name.strip().lower(): re.sub(r"\s+", "", value) for name, equals, value in pairs if equals}


def _missing(reason: str) -> Seen:
    return Seen(RecordStatus.missing, (), reason)


def _wrong(values: Sequence[str], reason: str) -> Seen:
    return Seen(RecordStatus.wrong, tuple(values), reason)
