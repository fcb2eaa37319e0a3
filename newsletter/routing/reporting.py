"""The address at which a sending server's provider reports what became of the mail.

``/inbound/{type}/{token}``: the token is signed and names the server, so an address that we did
not give away costs no look-up. It is no proof of who calls; that is in the report itself.
"""

from dataclasses import dataclass
from uuid import UUID

from newsletter.kit.tokens import BadToken, Signer
from newsletter.providers.registry import ServerType

_PURPOSE = "inbound"


@dataclass(frozen=True, slots=True)
class Reporting:
    """``public_url`` is where the world reaches this service, without a slash at its end."""

    signer: Signer
    public_url: str

    def url(self, kind: ServerType, server_id: UUID) -> str | None:
        """None for the sandbox, which needs nobody to report."""
        if kind is ServerType.sandbox:
            return None
        return f"{self.public_url}/inbound/{kind.value}/{self.signer.sign(_PURPOSE, server_id.bytes)}"

    def server_id(self, token: str) -> UUID | None:
        """None for a token that is not one of ours."""
        try:
            raw = self.signer.verify(_PURPOSE, token)
        except BadToken:
            return None
        return UUID(bytes=raw) if len(raw) == 16 else None
