"""What all groups of settings share."""

import os
from collections.abc import Collection
from ipaddress import ip_network
from urllib.parse import urlsplit

from pydantic_settings import SettingsConfigDict

PREFIX = "NEWSLETTER_"


def config(group: str = "") -> SettingsConfigDict:
    return SettingsConfigDict(
        env_prefix=PREFIX + group,
        env_file=os.environ.get(PREFIX + "ENV_FILE", ".env"),
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
        populate_by_name=True,
    )


def networks(ranges: tuple[str, ...]) -> tuple[str, ...]:
    for text in ranges:
        try:
            ip_network(text)
        except ValueError:
            raise ValueError(f"'{text}' must be a network such as 10.1.0.0/16") from None
    return ranges


def listening(url: str | None, schemes: Collection[str], such_as: str) -> str | None:
    """What a process is to listen on, checked; None for nothing."""
    if url:
        parts = urlsplit(url)
        if parts.scheme not in schemes or not parts.hostname or parts.port is None:
            raise ValueError(f"must look like {such_as}")
    return url or None


def place_of(url: str | None) -> tuple[str, int]:
    """Its host and port."""
    parts = urlsplit(url or "")
    return parts.hostname or "127.0.0.1", parts.port or 0
