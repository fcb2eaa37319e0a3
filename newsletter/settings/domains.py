"""How the DNS records of sending domains are looked up, and what follows."""

import re
from ipaddress import ip_address

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings

from newsletter.kit.address import domain_name
from newsletter.settings.base import config

_WITH_PORT = re.compile(r"(?:\[(?P<v6>[^\]]+)\]|(?P<v4>[^:]+))(?::(?P<port>\d{1,5}))?")


class DNSSettings(BaseSettings):
    """The look into the DNS that verifies sending domains; ``docs/sending-domains.md`` has the rules."""

    model_config = config("DNS_")

    nameservers: tuple[str, ...] = ()
    """Addresses of the resolvers to ask, as a JSON list: ``["192.0.2.53", "[2001:db8::53]:5353"]``.
    Default: those of the machine (``/etc/resolv.conf``)."""
    timeout: float = Field(3, gt=0, le=60)
    """Seconds until one resolver must have answered; then the next is asked, or the same again."""
    lifetime: float = Field(8, gt=0, le=60)
    """Seconds for one record in all; after that it could not be looked up."""
    questions: int = Field(20, ge=1, le=1_000)
    """Questions that one process asks at the same time."""
    kept_values: int = Field(5, ge=1, le=100)
    """Values found at one name that are kept and shown."""
    kept_characters: int = Field(1_000, ge=100, le=10_000)
    """The first characters of each of them that are."""
    spf_include: str | None = None
    """A domain that the SPF record of each sending domain must include, where your servers' addresses
    stand; without it no SPF record is asked for."""
    recheck_hours: float = Field(24, ge=1, le=720)
    """Hours after which a verified domain is looked at again."""
    grace_hours: float = Field(72, ge=0, le=8_760)
    """Hours that a verified domain stays so while the DNS says that a record of it is not there. No answer
    of the DNS is no such saying."""

    @field_validator("nameservers")
    @classmethod
    def _addresses(cls, nameservers: tuple[str, ...]) -> tuple[str, ...]:
        for text in nameservers:
            try:
                place(text)
            except ValueError:
                raise ValueError(f"'{text}' must be an IP address, such as 192.0.2.53") from None
        return nameservers

    @field_validator("spf_include")
    @classmethod
    def _domain(cls, name: str | None) -> str | None:
        return domain_name(name) if name else None


def place(nameserver: str) -> tuple[str, int]:
    """Its address and port. Raises `ValueError`."""
    try:
        return str(ip_address(nameserver)), 53
    except ValueError:
        found = _WITH_PORT.fullmatch(nameserver)
        if found is None or not 0 < int(found["port"] or 53) < 65_536:
            raise
        return str(ip_address(found["v6"] or found["v4"])), int(found["port"] or 53)
