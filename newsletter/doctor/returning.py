"""Mail that comes back: whether anybody reads it, and whether it finds the way."""

import asyncio
from ipaddress import ip_address

from newsletter.doctor.finding import Finding, broken, off, ok, warning
from newsletter.domains.resolver import LookupFailed, Resolver
from newsletter.settings import Settings

SECONDS = 10.0
"""What all questions to the DNS may take."""
HOSTS = 5
"""Mail servers of the return path that are looked up and named at most, the preferred first."""


def returned_mail(settings: Settings) -> Finding:
    """Whether what comes back is read by anybody."""
    domain, listen = settings.return_path.domain, settings.smtpd.listen
    ways = [f"at {listen}"] if listen else []
    ways += ["from the mailbox " + settings.imap.name] if settings.imap.url is not None else []
    if listen and not domain and not settings.return_path.addresses:
        mend = "Set NEWSLETTER_RETURN_PATH_DOMAIN to the domain whose MX leads there."
        return warning("returned mail", f"{listen} takes no address at all", mend)
    if domain is None and not ways:
        mend = "docs/inbound.md: a domain for it, or NEWSLETTER_IMAP_URL. Reports of providers need neither."
        return off("returned mail", "bounces go to the sender's address, where nobody reads them", mend)
    to = f"to {domain}" if domain else "to the sender's address"
    return ok("returned mail", f"{to}, taken in {', '.join(ways) or 'by the API alone'}")


async def return_path(resolver: Resolver, settings: Settings) -> list[Finding]:
    """Where the DNS leads what is returned to `RETURN_PATH_DOMAIN`; nothing without one. Whether the hosts
    that it names take the mail, and hand it on, is not tried: port 25 is closed to many machines."""
    domain = settings.return_path.domain
    if domain is None:
        return []
    try:
        async with asyncio.timeout(SECONDS):
            return [await _led(resolver, domain, settings.smtpd.listen)]
    except (LookupFailed, TimeoutError) as error:
        reason = str(error) or "there was no answer in time"
        mend = (
            "Run this again; do the name servers of NEWSLETTER_DNS_NAMESERVERS, or of this machine, answer?"
        )
        return [warning("return path", f"the MX of {domain} could not be looked up: {reason}", mend)]


async def _led(resolver: Resolver, domain: str, listen: str | None) -> Finding:
    hosts = (await resolver.mx(domain))[:HOSTS]
    goal = f"the host where {listen} is reached" if listen else "the host that takes its mail"
    mend = f"Publish '{domain}. MX 10 …' with {goal}: docs/inbound.md."
    if hosts == ["."]:
        return broken("return path", f"{domain} says that it takes no mail (null MX): none comes back", mend)
    if not hosts:
        # RFC 5321 §5.1 has the domain's own address stand in for it, which some servers no longer do.
        if addresses := await resolver.addresses(domain):
            text = f"{domain} has no MX; its own address, {', '.join(addresses)}, stands in for one"
            return warning("return path", text, mend)
        text = f"{domain} has no MX: no bounce comes back, and servers refuse mail with such a return path"
        return broken("return path", text, mend)

    found = dict(zip(hosts, await asyncio.gather(*(resolver.addresses(host) for host in hosts)), strict=True))
    named = ", ".join(f"{host} ({', '.join(found[host]) or 'no address'})" for host in hosts)
    text = f"mail to {domain} goes to {named}"
    reached = [host for host in hosts if any(not _is_of_one_machine(each) for each in found[host])]
    if not reached:
        return broken("return path", f"{text}, where no other server reaches it", mend)
    if lost := [host for host in hosts if host not in reached]:
        mend = f"Give {', '.join(lost)} a public address record (A, AAAA), or take it out of the MX."
        return warning("return path", text, mend)
    return ok("return path", text)


def _is_of_one_machine(address: str) -> bool:
    """Whether it means something else, or nothing, on any other machine."""
    ip = ip_address(address)
    ip = getattr(ip, "ipv4_mapped", None) or ip
    return ip.is_loopback or ip.is_unspecified or ip.is_link_local
