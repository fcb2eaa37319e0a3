"""Blocks of rows on disk, for as long as the database is away.

A folder of files, one JSON object per line; each process appends to a file of its own, which it
holds by a lock of the system. A block counts as kept once it is synced. What is in the files of
processes that ended is read by whoever comes next; a line may be read twice, so each has an id.
"""

import asyncio
import fcntl
import json
import os
from collections.abc import AsyncGenerator, Iterator, Sequence
from io import BufferedRandom
from pathlib import Path
from typing import Any

import structlog

from newsletter.kit import ids
from newsletter.kit.db import JSONObject

log = structlog.get_logger(__name__)


class Spool:
    """One object serves one event loop; the work on files is done in threads."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder, self._max_bytes = folder, max_bytes
        self._file: BufferedRandom | None = None
        self._path = folder / f"{ids.uuid7().hex}.jsonl"

    async def append(self, block: Sequence[JSONObject]) -> bool:
        """True once the block is on disk; False when there is no room. Raises `OSError`."""
        lines = b"".join(
            json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() + b"\n" for row in block
        )
        return await asyncio.to_thread(self._append, lines)

    async def blocks(self, size: int) -> AsyncGenerator[list[Any], None]:
        """All that is kept, in blocks; a file goes when the caller asks for more after its last."""
        for path in await asyncio.to_thread(self._files):
            held = await asyncio.to_thread(self._hold, path)
            if held is None:
                continue  # Another process that lives appends to it, or reads it.
            try:
                for block in _cut(held, size):
                    yield block
                path.unlink(missing_ok=True)
            finally:
                if path == self._path:
                    self._file = None
                held.close()

    async def aclose(self) -> None:
        """What is kept stays for the next process."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _append(self, lines: bytes) -> bool:
        self._folder.mkdir(parents=True, exist_ok=True)
        if sum(path.stat().st_size for path in self._files()) + len(lines) > self._max_bytes:
            return False
        if self._file is None:
            self._file = self._path.open("a+b")
            fcntl.flock(self._file, fcntl.LOCK_EX)
        start = self._file.seek(0, os.SEEK_END)
        try:
            self._file.write(lines)
            self._file.flush()
            os.fdatasync(self._file.fileno())
        except OSError:
            # A full disk may have taken half of a line; the next one must not begin behind it.
            self._file.truncate(start)
            raise
        return True

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("*.jsonl"))

    def _hold(self, path: Path) -> BufferedRandom | None:
        if path == self._path and self._file is not None:
            return self._file
        try:
            file = path.open("r+b")
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        return file


def _cut(file: BufferedRandom, size: int) -> Iterator[list[Any]]:
    file.seek(0)
    block = []
    for line in file:
        try:
            block.append(json.loads(line))
        except ValueError:
            # The process died while it wrote: this block was never said to be kept.
            log.warning("a line of the spool is not complete")
            continue
        if len(block) == size:
            yield block
            block = []
    if block:
        yield block
