"""What all groups of settings share."""

import os
from ipaddress import ip_network

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
