"""What a mail's sender needs before anything is sent, for campaigns and single mails alike."""

from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts.project import Profile, Project
from newsletter.domains import queries as domains
from newsletter.kit.address import ascii_domain_of
from newsletter.kit.errors import Conflict
from newsletter.providers.base import Purpose
from newsletter.routing import queries as routing
from newsletter.settings import Settings


class SenderMissing(Conflict):
    code, status = "sender_missing", 409
    summary = "There is no sender. Set from_email on the project, or name one here."


class PostalAddressMissing(Conflict):
    code, status = "postal_address_missing", 409
    summary = "The law asks for a postal address in each newsletter. Set postal_address on the project."


class SendingServerMissing(Conflict):
    code, status = "sending_server_missing", 409
    summary = "There is no sending server for this sender. Connect one: POST /sending-servers."


class DomainNotVerified(Conflict):
    code, status = "domain_not_verified", 409
    summary = (
        "The sender's domain is not verified, and this installation requires it. Publish its DNS records, "
        "then call POST /sending-domains/{id}/verify."
    )


async def check(
    session: AsyncSession,
    project: Project,
    profile: Profile,
    own_email: str | None,
    settings: Settings,
    purpose: Purpose = Purpose.marketing,
) -> str:
    """The address that mail is sent from: its own, else the project's.

    Raises the 409 that names what is missing. A postal address is asked for in marketing alone.
    """
    from_email = own_email or profile.from_email
    if from_email is None:
        raise SenderMissing()
    if not profile.is_test:
        domain = ascii_domain_of(from_email)
        if purpose is Purpose.marketing and not profile.postal_address:
            raise PostalAddressMissing()
        has_default = settings.smtp.url is not None
        if not has_default and not await routing.has_server(session, project, domain):
            raise SendingServerMissing()
        if settings.require_verified_domain:
            await _check_verified(session, project, domain, settings)
    return from_email


async def _check_verified(session: AsyncSession, project: Project, domain: str, settings: Settings) -> None:
    standing = await domains.standing(session, project, domain, settings)
    if standing.is_verified:
        return
    if standing.public_id is None:
        raise DomainNotVerified(
            f"{domain} is no sending domain of this project, and this installation requires a verified one. "
            "Register it: POST /sending-domains."
        )
    raise DomainNotVerified(
        f"{domain} is not verified, and this installation requires it. Not found in the DNS: "
        f"{', '.join(standing.lacking) or 'nothing any more'}. Publish what is missing, then call "
        f"POST /sending-domains/{standing.public_id}/verify."
    )
