"""What comes back: where it is taken in, and what follows."""

from urllib.parse import SplitResult, unquote, urlsplit

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings

from newsletter.kit.address import domain_name
from newsletter.settings.base import config, listening, place_of


class ReturnPathSettings(BaseSettings):
    """Where other mail servers return mail to; ``docs/inbound.md`` explains it."""

    model_config = config("RETURN_PATH_")

    domain: str | None = None
    """A domain whose mail comes back to this service: each mail then has a signed return path of its
    own there. Without one, reports go to the sender's address, and are known by the Message-ID of
    the mail that they return."""

    addresses: tuple[str, ...] = ()
    """Further addresses that mail is taken for, as a JSON list, such as those that the complaints of
    mailbox providers go to. Only what returns a mail of ours changes anything."""

    @field_validator("addresses")
    @classmethod
    def _lower_case(cls, addresses: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(address.lower() for address in addresses)

    @field_validator("domain")
    @classmethod
    def _known_form(cls, domain: str | None) -> str | None:
        return domain_name(domain) if domain else None


class SMTPDSettings(BaseSettings):
    """The listener that returned mail arrives at."""

    model_config = config("SMTPD_")

    listen: str | None = None
    """``lmtp://127.0.0.1:2424`` behind a mail server, or ``smtp://0.0.0.0:25`` as the domain's MX.
    ``newsletter serve`` listens in the embedded mode, ``newsletter smtpd`` in the distributed one."""
    connections: int = Field(100, ge=1, le=10_000)
    """Connections at the same time; each holds up to 1 MB of a mail. 421 beyond that."""
    command_seconds: float = Field(60, gt=0, le=600)
    """Seconds for the next command, and for a client to take an answer."""
    data_seconds: float = Field(300, gt=0, le=3600)
    """Seconds for a whole mail."""
    session_seconds: float = Field(900, gt=0, le=7200)
    """Seconds for a whole connection."""
    max_bytes: int = Field(50_000_000, ge=10_000)
    """The largest mail that is taken; its first megabyte is read and kept, the rest passed over."""

    @field_validator("listen")
    @classmethod
    def _known_scheme(cls, url: str | None) -> str | None:
        return listening(url, {"lmtp", "smtp"}, "lmtp://127.0.0.1:2424")

    @property
    def protocol(self) -> str:
        return urlsplit(self.listen or "").scheme

    @property
    def is_lmtp(self) -> bool:
        return self.protocol == "lmtp"

    @property
    def place(self) -> tuple[str, int]:
        """Host and port to listen on."""
        return place_of(self.listen)


class IMAPSettings(BaseSettings):
    """A mailbox that returned mail is read from, such as that of the sender's address."""

    model_config = config("IMAP_")

    url: SecretStr | None = None
    """``imaps://user:password@mail.example.com/INBOX``; ``imap://`` speaks without TLS. An ``@`` in the
    name is written ``%40``."""
    move_to: str | None = None
    """A folder for mails that were taken in; without it they stay and are marked as read."""
    poll_seconds: float = Field(60, ge=1)
    """Seconds between two looks."""
    timeout: float = Field(60, gt=0, le=600)
    """Seconds for each answer of the server."""

    @field_validator("url")
    @classmethod
    def _known_scheme(cls, url: SecretStr | None) -> SecretStr | None:
        if url is None or not url.get_secret_value():
            return None
        parts = urlsplit(url.get_secret_value())
        if parts.scheme not in {"imaps", "imap"} or not (
            parts.hostname and parts.username and parts.password
        ):
            raise ValueError("must look like imaps://user:password@mail.example.com/INBOX")
        return url

    @property
    def _parts(self) -> SplitResult:
        return urlsplit(self.url.get_secret_value() if self.url else "")

    @property
    def is_encrypted(self) -> bool:
        return self._parts.scheme == "imaps"

    @property
    def address(self) -> tuple[str, int]:
        return self._parts.hostname or "", self._parts.port or (993 if self.is_encrypted else 143)

    @property
    def credentials(self) -> tuple[str, str]:
        return unquote(self._parts.username or ""), unquote(self._parts.password or "")

    @property
    def folder(self) -> str:
        return unquote(self._parts.path.strip("/")) or "INBOX"

    @property
    def name(self) -> str:
        """The mailbox without its password."""
        host, port = self.address
        return f"{self.credentials[0]}@{host}:{port}/{self.folder}"[:500]


class BounceSettings(BaseSettings):
    """When soft bounces add up to a hard one."""

    model_config = config("BOUNCE_")

    soft_limit: int = Field(5, ge=1)
    """Soft bounces of an address in one project, with no mail that is known to have arrived in
    between, after which it is suppressed like one that does not exist."""
    soft_days: float = Field(30, gt=0)
    """Days within which they must come; after that the count begins anew."""
