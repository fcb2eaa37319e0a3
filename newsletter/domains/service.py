"""Registers sending domains, and opens their keys for who signs."""

import base64
import secrets
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts import queries as accounts
from newsletter.accounts.project import Project
from newsletter.domains import dkim, queries
from newsletter.domains.dkim import Algorithm, SelectedKey, Signature
from newsletter.domains.models import DomainStatus, SendingDomain, SigningMode
from newsletter.kit import clock, ids
from newsletter.kit.crypto import Vault
from newsletter.kit.errors import Conflict

ALGORITHMS = {
    SigningMode.relay: (),
    SigningMode.rsa: (Algorithm.rsa,),
    SigningMode.rsa_ed25519: (Algorithm.rsa, Algorithm.ed25519),
}


class DomainKnown(Conflict):
    code, status = "sending_domain_exists", 409
    summary = "The project has this sending domain already. Delete it first to get new keys."


class DomainLimitReached(Conflict):
    code, status = "sending_domain_limit_reached", 409
    summary = "The project has as many sending domains as it may have. Delete one first."


@dataclass(frozen=True, slots=True)
class NewKeys:
    """Fresh private keys and where their public ones will be found."""

    mode: SigningMode
    selector: str
    private: dict[Algorithm, bytes]


def make_keys(mode: SigningMode) -> NewKeys:
    """Takes some 50 ms of processor time for RSA: not for the event loop, nor for a transaction.

    The selector is drawn, because a domain may have keys of other projects and programs, too.
    """
    selector = "nl" + base64.b32encode(secrets.token_bytes(5)).decode("ascii").lower()
    return NewKeys(mode, selector, {each: dkim.generate(each) for each in ALGORITHMS[mode]})


async def create(
    session: AsyncSession, vault: Vault, project: Project, name: str, keys: NewKeys, *, limit: int
) -> SendingDomain:
    """``name`` as A-label. Raises `DomainKnown`, and `DomainLimitReached` at ``limit`` domains."""
    await accounts.lock_project(session, project)
    if await queries.by_name(session, project.id, name) is not None:
        raise DomainKnown()
    if await queries.count(session, project) >= limit:
        raise DomainLimitReached(f"A project may have {limit} sending domains. Delete one first.")
    domain_id = ids.uuid7()
    sealed = {
        algorithm: vault.encrypt(private, _context(domain_id, algorithm))
        for algorithm, private in keys.private.items()
    }
    row = SendingDomain(
        id=domain_id,
        project_id=project.id,
        domain=name,
        mode=keys.mode,
        status=DomainStatus.pending,
        selector=keys.selector,
        rsa_key=sealed.get(Algorithm.rsa),
        ed25519_key=sealed.get(Algorithm.ed25519),
        records=[
            {
                "type": "TXT",
                "name": f"{_selector(keys.selector, algorithm)}._domainkey.{name}",
                "value": dkim.record(private),
            }
            for algorithm, private in keys.private.items()
        ],
        created_at=clock.now(),
    )
    session.add(row)
    await session.flush()
    return row


async def remove(session: AsyncSession, project: Project, domain_id: UUID) -> None:
    """With its keys; a worker that has them in hand signs on until its mailing ends."""
    await session.delete(await queries.domain(session, project, domain_id))
    await session.flush()


@dataclass(frozen=True, slots=True)
class Marks:
    """What a mail bears of the domain that it is from."""

    signature: Signature | None = None
    """None where the sending server is to sign."""
    tracking_host: str | None = None
    """Where its tracked links lead; None: to the installation's host."""


async def marks(session: AsyncSession, vault: Vault, project_id: UUID, domain: str) -> Marks:
    """Those of mail from ``domain`` (as A-label), exactly.

    Raises `newsletter.kit.crypto.Undecryptable` when no known secret opens a key.
    """
    row = await queries.by_name(session, project_id, domain)
    if row is None:
        return Marks()
    return Marks(_signature(vault, row), row.tracking_host if row.is_tracking_host_used else None)


def _signature(vault: Vault, row: SendingDomain) -> Signature | None:
    if row.mode is SigningMode.relay:
        return None
    keys = []
    for algorithm, sealed in ((Algorithm.rsa, row.rsa_key), (Algorithm.ed25519, row.ed25519_key)):
        if sealed is not None:
            private = vault.decrypt(sealed, _context(row.id, algorithm))
            keys.append(SelectedKey(_selector(row.selector, algorithm), private))
    return Signature(row.domain, keys)


def _selector(selector: str, algorithm: Algorithm) -> str:
    """One name holds one key (RFC 6376 §3.6.2.2)."""
    return selector if algorithm is Algorithm.rsa else f"{selector}e"


def _context(domain_id: UUID, algorithm: Algorithm) -> str:
    return f"sending-domain:{domain_id}:{algorithm.value}"
