"""A project's own host for its tracked links: who may take which, and which are in use."""

from ipaddress import ip_address
from urllib.parse import urlsplit

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts.project import Project
from newsletter.domains import queries
from newsletter.domains.models import SendingDomain
from newsletter.kit.errors import Conflict, ValidationFailed
from newsletter.settings import Settings


class TrackingHostTaken(Conflict):
    code, status = "tracking_host_taken", 409
    summary = "Another sending domain, of this project or another, has this tracking host."


class TrackingHostNotProven(Conflict):
    code, status = "tracking_host_not_proven", 409
    summary = (
        "A tracking host lies below a verified sending domain of the project. Register that domain, publish "
        "its records and call POST /sending-domains/{id}/verify first."
    )


async def assign(
    session: AsyncSession, project: Project, row: SendingDomain, host: str | None, settings: Settings
) -> None:
    """``row`` is locked; ``host`` as A-label. None goes back to the installation's. It is used once its CNAME
    was seen.

    It must lie below a domain that the project has proven to be its own. Its CNAME alone proves nothing: that
    of a project which left points here as well. Raises `TrackingHostNotProven`, `TrackingHostTaken`, and
    `ValidationFailed` for a host of the installation.
    """
    if host == row.tracking_host:
        return
    if host is not None:
        _check(host, settings)
        proven = await queries.verified_names(session, project)
        if not any(host.endswith(f".{name}") for name in proven):
            raise TrackingHostNotProven()
        if await queries.by_tracking_host(session, host) is not None:
            raise TrackingHostTaken()
    row.tracking_host, row.tracking_verified_at = host, None
    try:
        await session.flush()
    except IntegrityError as error:  # Of two calls at the same moment.
        raise TrackingHostTaken() from error


def _check(host: str, settings: Settings) -> None:
    target = settings.tracking_host
    if _is_address(target) or "." not in target:
        raise ValidationFailed.of(
            "tracking_host", "cannot be used here: the installation has no host name that a CNAME could name"
        )
    own = {target, urlsplit(settings.public_url).hostname, settings.return_path.domain}
    if host in own:
        raise ValidationFailed.of("tracking_host", "is a host of this installation")


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
