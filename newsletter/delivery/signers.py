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

    def map(self, work: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """``work`` of each item, in order. Waits for all of them; raises what one of them raised."""
        # A share for each thread, because to hand over one item costs a tenth of an RSA signature.
        shares = [items[start :: self._threads] for start in range(self._threads)]
        done: list[R] = list(items)  # type: ignore[arg-type]
        for start, share in enumerate(self._pool.map(lambda part: [*map(work, part)], shares)):
            done[start :: self._threads] = share
        return done

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
