"""The letters of the mailings that a process is sending: made once, with their keys, not once for
each batch."""

import asyncio
from collections import OrderedDict
from functools import partial
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.delivery import queries, sheaf
from newsletter.delivery.batches import Claim
from newsletter.delivery.letter import Letter, Writer
from newsletter.delivery.links import Links
from newsletter.delivery.models import Mailing, MailingKind
from newsletter.delivery.return_path import ReturnPaths
from newsletter.delivery.sheaf import Filled, Sheaf
from newsletter.delivery.signers import Signers
from newsletter.domains import service as domains
from newsletter.domains.service import Marks
from newsletter.kit.address import ascii_domain_of
from newsletter.kit.crypto import Vault
from newsletter.kit.db import Database

KEPT = 8
"""Letters in memory, the one used last kept longest; each is about four times its content."""


class Letters:
    """Content and sender of a mailing never change, so what was made of them holds."""

    def __init__(
        self, db: Database, vault: Vault, links: Links, return_paths: ReturnPaths, signers: Signers
    ) -> None:
        self._db, self._vault, self._signers = db, vault, signers
        self._links, self._return_paths = links, return_paths
        self._kept: OrderedDict[UUID, Letter] = OrderedDict()
        self._making = asyncio.Lock()

    async def of_batch(self, claimed: Claim) -> Writer:
        """Of single mails only what this batch needs, which is not kept: nobody asks for it again, and
        it would push out the letters of campaigns. Raises as `of` does."""
        mailing = claimed.mailing
        if mailing.kind not in sheaf.KINDS:
            return await self.of(mailing.id)
        if mailing.kind is MailingKind.automation:
            return await self._filled(claimed)
        async with self._db.read() as session:
            parts = await sheaf.parts(session, mailing.id, claimed.first_seq, claimed.last_seq)
            numbers = {part.content for part in parts.values()}
            contents = await sheaf.enclosed(session, mailing.id, numbers)
            marks = await self._marks(session, mailing)
        links = self._links.at(marks.tracking_host)
        return Sheaf(
            partial(Letter, mailing, links, self._return_paths, marks.signature, self._signers),
            contents,
            parts,
        )

    async def _filled(self, claimed: Claim) -> Writer:
        """Of an automation without variables the letter says the same to all."""
        letter = await self.of(claimed.mailing.id)
        async with self._db.read() as session:
            parts = await sheaf.parts(session, claimed.mailing.id, claimed.first_seq, claimed.last_seq)
        return Filled(letter, parts) if parts else letter

    async def of(self, mailing_id: UUID) -> Letter:
        """Signed for the domain of its From address, where the project has that domain, and with links to
        that domain's tracking host.

        Raises `LookupError` when there is no such mailing, and `newsletter.kit.crypto.Undecryptable`
        for keys that no known secret opens.
        """
        # One at a time: the batches of a mailing that just started all ask at once.
        async with self._making:
            letter = self._kept.pop(mailing_id, None) or await self._make(mailing_id)
            self._kept[mailing_id] = letter
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
            return letter

    async def _make(self, mailing_id: UUID) -> Letter:
        async with self._db.read() as session:
            mailing = await queries.find_mailing(session, mailing_id)
            if mailing is None:
                raise LookupError(f"mailing {mailing_id} is gone")
            marks = await self._marks(session, mailing)
        links = self._links.at(marks.tracking_host)
        return Letter(mailing, links, self._return_paths, marks.signature, self._signers)

    async def _marks(self, session: AsyncSession, mailing: Mailing) -> Marks:
        domain = ascii_domain_of(mailing.sender["from_email"])
        return await domains.marks(session, self._vault, mailing.project_id, domain)
