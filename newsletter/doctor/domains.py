"""The sending domains of live projects: which of them the DNS does not bear out."""

from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.doctor.finding import Finding, ok, warning
from newsletter.domains import queries

SHOWN = 20
"""Domains named at most."""


async def check(session: AsyncSession, *, is_required: bool) -> list[Finding]:
    """Reads what the last look wrote down; asks no DNS, as the domains are customers'."""
    unverified = await queries.unverified(session)
    if not unverified:
        return [ok("domains", "mail is refused from those that are not verified")] if is_required else []
    listed = ", ".join(f"{name} ({status.value})" for name, status in unverified[:SHOWN])
    more = f" and {len(unverified) - SHOWN} more" if len(unverified) > SHOWN else ""
    then = "mail from them is refused" if is_required else "their mail may count for nothing"
    mend = "POST /api/v1/sending-domains/{id}/verify says which records are missing: docs/sending-domains.md."
    return [warning("domains", f"not verified: {listed}{more}; {then}", mend)]
