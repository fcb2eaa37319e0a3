"""The link to a test project's inbox page: signed, so that who has it may read, and nobody else."""

from uuid import UUID

from newsletter.kit.tokens import Signer

_PURPOSE = "inbox"


def inbox_url(signer: Signer, public_url: str, project_id: UUID) -> str:
    """Good for as long as the secret key is; it reads mails and can do nothing else."""
    return f"{public_url}/inbox/{signer.sign(_PURPOSE, project_id.bytes)}"


def read_inbox_token(signer: Signer, token: str) -> UUID:
    """The project's id. Raises `newsletter.kit.tokens.BadToken`."""
    return UUID(bytes=signer.verify(_PURPOSE, token))
