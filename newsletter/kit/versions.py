"""Which version of a resource a caller saw, by the header ``If-Match`` (RFC 9110 §13.1.1)."""

from newsletter.kit.errors import ValidationFailed, VersionConflict


def read(if_match: str | None) -> int | None:
    """None: whichever it is. Raises `ValidationFailed` for what is no version."""
    if if_match is None:
        return None
    text = if_match.strip().removeprefix("W/").strip('"')
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise ValidationFailed.of("If-Match", "must be the version that you read, for example 3")
    return int(text)


def check(version: int, seen: int | None) -> None:
    """Raises `VersionConflict` when it is not the one that a caller saw."""
    if seen is not None and version != seen:
        raise VersionConflict()
