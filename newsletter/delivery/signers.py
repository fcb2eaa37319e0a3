"""Threads that sign side by side: OpenSSL lets go of the interpreter while it does."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Signers:
    """A pool that all batches of a process share."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="signer")

    def map(self, work: Callable[[Sequence[T]], list[R]], items: Sequence[T]) -> list[R]:
        """What ``work`` makes of all items, in order: it is given a share of them in each thread, and makes
        one of each. Waits for all of them; raises what one of them raised."""
        # A share for each thread, because to hand over one item costs a tenth of an RSA signature.
        number = min(self._threads, len(items))
        shares = [items[start::number] for start in range(number)]
        done: list[R] = list(items)  # type: ignore[arg-type]
        for start, share in enumerate(self._pool.map(work, shares)):
            done[start::number] = share
        return done

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
