"""Which mail is taken in, and where it goes."""

from newsletter.delivery.return_path import ReturnPaths
from newsletter.feedback import returned
from newsletter.kit.db import Database
from newsletter.settings import ReturnPathSettings


class Mailroom:
    """What the dialogues of one process share."""

    def __init__(self, db: Database, return_paths: ReturnPaths, settings: ReturnPathSettings) -> None:
        self._db, self.return_paths, self._settings = db, return_paths, settings

    def takes(self, address: str) -> bool:
        """Only addresses that we signed, and those that the operator named: this is nobody's relay, and
        what is sent to guessed addresses costs one answer."""
        return self.return_paths.is_ours(address) or address.lower() in self._settings.addresses

    async def take(self, address: str, raw: bytes) -> bool:
        """Stores a mail; False where it is about no message of ours. May be repeated."""
        return await returned.receive(self._db, self.return_paths, raw, recipient=address)
