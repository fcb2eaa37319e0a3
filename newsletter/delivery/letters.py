"""The letters of the mailings that a process is sending: made once, with their keys, not once for
each batch."""

import asyncio
from collections import OrderedDict
from uuid import UUID

from newsletter.delivery import queries
from newsletter.delivery.letter import Letter
from newsletter.delivery.links import Links
from newsletter.delivery.return_path import ReturnPaths
from newsletter.delivery.signers import Signers
from newsletter.domains import service as domains
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

    async def of(self, mailing_id: UUID) -> Letter:
        """Signed for the domain of its From address, where the project has that domain.

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
            domain = ascii_domain_of(mailing.sender["from_email"])
            signature = await domains.signature(session, self._vault, mailing.project_id, domain)
        return Letter(mailing, self._links, self._return_paths, signature, self._signers)
