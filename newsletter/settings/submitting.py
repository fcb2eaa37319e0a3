"""Mail that customers' programs hand over by SMTP."""

from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings

from newsletter.settings.base import config, listening, place_of

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class SubmissionSettings(BaseSettings):
    """The listener for mail that is sent by SMTP (RFC 6409); ``docs/smtp-submission.md`` explains it."""

    model_config = config("SUBMISSION_")

    listen: str | None = None
    """``smtp://0.0.0.0:587``, where a client asks for TLS (STARTTLS), or ``smtps://0.0.0.0:465``, where it
    begins with it (RFC 8314). ``newsletter serve`` listens in the embedded mode, ``newsletter smtpd`` in the
    distributed one."""
    tls_certificate: Path | None = None
    """The certificate and its chain as PEM. It is read again when the file changes. Without one nobody signs
    in but from this machine itself."""
    tls_key: Path | None = None
    """The key of the certificate as PEM; default: in the file of the certificate."""
    hostname: str = ""
    """What the server calls itself; default: the machine's name."""
    connections: int = Field(100, ge=1, le=10_000)
    """Connections at the same time; 421 beyond that."""
    max_bytes: int = Field(20_000_000, ge=10_000, le=100_000_000)
    """The largest mail that is taken, as it is on the wire; 552 above it."""
    max_lines: int = Field(1_000_000, ge=1_000)
    """The most lines of a mail: 20 MB in base64 have 260,000. The reader looks at each, in each part that is
    open; 550 above this, and above the next four."""
    max_parts: int = Field(100, ge=1)
    """The most parts of a mail."""
    max_nested_parts: int = Field(20, ge=1)
    """The most of them that hold others."""
    max_fields: int = Field(500, ge=10)
    """The most fields of its header."""
    max_field_characters: int = Field(20_000, ge=1_000)
    """The most characters of one field: fifty addresses with long names have 20,000. The time to read them
    grows with their square."""
    held_bytes: int = Field(200_000_000, ge=10_000)
    """The most that mails which arrive at the same time take of a process's memory, as they are on the wire;
    452 beyond that, upon which a client tries again later. While it is read, a mail takes some three times
    its size besides, in as many threads as the machine has processors and four."""
    auth_failures: int = Field(20, ge=1)
    """Failed sign-ins of a minute and an address, after which its connections are ended."""
    command_seconds: float = Field(300, gt=0, le=600)
    """Seconds for the next command, and for a client to take an answer (RFC 5321 §4.5.3.2.7: 300)."""
    data_seconds: float = Field(600, gt=0, le=3600)
    """Seconds for a whole mail."""
    session_seconds: float = Field(3600, gt=0, le=86_400)
    """Seconds for a whole connection."""

    @field_validator("listen")
    @classmethod
    def _known_scheme(cls, url: str | None) -> str | None:
        return listening(url, {"smtp", "smtps"}, "smtp://0.0.0.0:587 or smtps://0.0.0.0:465")

    @model_validator(mode="after")
    def _can_be_signed_in_to(self) -> Self:
        if self.listen and self.tls_certificate is None:
            if self.is_implicit:
                raise ValueError("TLS_CERTIFICATE is missing: smtps:// begins with it")
            if self.place[0] not in _LOOPBACK:
                raise ValueError("TLS_CERTIFICATE is missing: without TLS only this machine may sign in")
        return self

    @model_validator(mode="after")
    def _holds_the_largest(self) -> Self:
        if self.held_bytes < self.max_bytes:
            raise ValueError("HELD_BYTES must be MAX_BYTES at least: else the largest mail never finds room")
        return self

    @property
    def is_implicit(self) -> bool:
        """Whether TLS begins before the first word."""
        return urlsplit(self.listen or "").scheme == "smtps"

    @property
    def place(self) -> tuple[str, int]:
        """Host and port to listen on."""
        return place_of(self.listen)
