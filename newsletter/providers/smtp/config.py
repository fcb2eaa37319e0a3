"""A sending server as its operator writes it: one URL, and the patience to have with it."""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Self
from urllib.parse import parse_qs, unquote, urlsplit

from newsletter.settings import SMTPSettings


class TLS(StrEnum):
    """When a connection is encrypted. The certificate is verified in each mode but ``NONE``."""

    OFFERED = "offered"
    REQUIRED = "required"
    IMPLICIT = "implicit"
    NONE = "none"


_MODES = {
    "smtp": TLS.OFFERED,
    "smtp+starttls": TLS.REQUIRED,
    "smtps": TLS.IMPLICIT,
    "smtp+plain": TLS.NONE,
}


@dataclass(frozen=True, slots=True)
class SMTPServer:
    """Where to connect to, how, and as whom."""

    host: str
    port: int
    tls: TLS = TLS.OFFERED
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    """Certificates to trust instead of the system's, in PEM."""

    @classmethod
    def from_url(cls, url: str) -> Self:
        """``smtp://user:password@host:587``; the schemes are those of `SMTPSettings.url`.

        User and password are percent-encoded; ``?ca=/path/to/ca.pem`` names a private
        authority. The default port is 465 for ``smtps``, 587 for ``smtp+starttls`` or with a
        user, else 25. Raises `ValueError`, whose text never repeats the password.
        """
        parts = urlsplit(url)
        if parts.scheme not in _MODES or not parts.hostname:
            raise ValueError("must look like smtp://user:password@host:587")
        try:
            port = parts.port
        except ValueError:
            raise ValueError("the port must be a number from 1 to 65535") from None
        query = parse_qs(parts.query, keep_blank_values=True)
        if set(query) - {"ca"} or parts.path not in ("", "/") or parts.fragment:
            raise ValueError("nothing but ?ca=/path/to/ca.pem may follow the host and port")
        username = unquote(parts.username) if parts.username else None
        if (username is None) != (parts.password is None):
            raise ValueError("a user needs a password, and a password a user")
        mode = _MODES[parts.scheme]
        if mode is TLS.IMPLICIT:
            default = 465
        elif mode is TLS.REQUIRED or username:
            default = 587
        else:
            default = 25
        return cls(
            host=parts.hostname,
            port=port or default,
            tls=mode,
            username=username,
            password=unquote(parts.password) if parts.password is not None else None,
            ca_file=Path(query["ca"][-1]) if "ca" in query else None,
        )


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds; the defaults are the least that RFC 5321 §4.5.3.2 asks for."""

    connect: float = 30
    command: float = 300
    data: float = 180
    final: float = 600

    @classmethod
    def from_settings(cls, settings: SMTPSettings) -> Self:
        return cls(
            connect=settings.connect_timeout,
            command=settings.command_timeout,
            data=settings.data_timeout,
            final=settings.final_timeout,
        )


@dataclass(frozen=True, slots=True)
class Limits:
    """What is asked of one server at most."""

    connections: int = 4
    messages: int = 500
    """Messages on one connection before it is replaced."""
    window: int = 4
    """Messages on the way on one connection where BDAT is offered; 0: it is not used."""

    @classmethod
    def from_settings(
        cls, settings: SMTPSettings, connections: int | None = None, messages: int | None = None
    ) -> Self:
        """What is given stands in for what is set."""
        return cls(
            connections=connections or settings.connections,
            messages=messages or settings.messages_per_connection,
            window=settings.window,
        )
