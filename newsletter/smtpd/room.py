"""How much of the mails that arrive at the same time one process holds in its memory."""

from collections.abc import Iterator
from contextlib import contextmanager


class Room:
    """Counts the octets of all mails from their first one until they were answered."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.held = 0
        """Octets."""

    def fits(self, octets: int) -> bool:
        """Whether a mail of this size, or the rest of one, can be held now. Nothing is kept free for it."""
        return self.held + octets <= self._most

    @contextmanager
    def share(self) -> Iterator["Share"]:
        """What one mail takes, which is free again at the end of the block."""
        share = Share(self)
        try:
            yield share
        finally:
            self.held -= share.held


class Share:
    def __init__(self, room: Room) -> None:
        self._room = room
        self.held = 0

    def grow(self, octets: int) -> bool:
        """Takes so many more; False where there is no room for them."""
        if not self._room.fits(octets):
            return False
        self._room.held += octets
        self.held += octets
        return True
