"""Worker threads for tensor work: each computes on one core, none disturbs the rest of the program."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from functools import cache
from types import TracebackType
from typing import Generic, TypeVar

from engine.progress import Progress

U = TypeVar("U")
R = TypeVar("R")

_limit_lock = threading.Lock()

_MMAP_THRESHOLD, _TRIM_THRESHOLD, _TOP_PAD = -3, -1, -2  # parameters of glibc's mallopt
_KEPT_BYTES = 64 << 20
_LARGE_BYTES = 16 << 20


@cache
def keep_pages() -> None:
    """Let freed memory of up to 64 MB a thread be used again instead of going back to the system.

    Chunks are freed and made anew all the time; pages that come from the system are slow (they are cleared), so
    that they cost more than the arithmetic. Whole tensors of 16 MB and more still go back at once. Only glibc has
    this setting; elsewhere nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_MMAP_THRESHOLD, _LARGE_BYTES)
        library.mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
        library.mallopt(_TOP_PAD, _KEPT_BYTES)


def default_threads() -> int:
    """One worker for each core this process may use, at most 8: more only fight for memory bandwidth."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(8, cores))


class Crew:
    """A fixed number of worker threads; use as a context manager.

    torch spreads every operation over all cores by default; with several workers that costs more than it
    gains. The number of torch threads is a property of the calling thread, so every worker sets its own to
    one; what torch remembers for threads to come is put back at once.

    Args:
        threads: How many; None for `default_threads`.
        host: Whether the work needs no torch.
    """

    def __init__(self, threads: int | None = None, *, host: bool = False) -> None:
        keep_pages()
        self.threads = threads or default_threads()
        self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="merge")
        if not host:
            self._calm_torch()

    def _calm_torch(self) -> None:
        """Let every worker compute with one thread."""
        import torch

        barrier = threading.Barrier(self.threads)

        def limit() -> None:
            torch.get_num_threads()  # a thread takes the common number when it first asks, so ask now
            torch.set_num_threads(1)
            barrier.wait()

        with _limit_lock:
            before = torch.get_num_threads()
            wait([self._pool.submit(limit) for _ in range(self.threads)])
            torch.set_num_threads(before)

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def drain(self, units: Iterable[U], work: Callable[[U], object]) -> None:
        """Do `work` for every unit, in any order; the first error stops the others and is raised.

        Raises:
            BaseException: the first error of `work` or of the units.
        """
        feed = _Feed(units)

        def pull() -> None:
            try:
                for unit in feed:
                    work(unit)
            except BaseException as error:
                feed.stop(error)

        futures = [self._pool.submit(pull) for _ in range(self.threads)]
        try:
            wait(futures)
        finally:
            feed.stop(None)
            wait(futures)
        if feed.error is not None:
            raise feed.error

    def map(self, units: Iterable[U], work: Callable[[U], R]) -> Iterator[R]:
        """`work` of every unit, in the order of the units; only a few results wait at a time."""
        pending: deque[Future[R]] = deque()
        try:
            for unit in units:
                pending.append(self._pool.submit(work, unit))
                if len(pending) > 2 * self.threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
            wait(pending)


class Gate:
    """Lets threads use an amount of memory in common, so that several large tensors are not computed at once.

    Args:
        limit: Bytes; a piece of work that needs more runs alone.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0
        self._changed = threading.Condition()

    @contextmanager
    def room(self, size: int, progress: Progress) -> Iterator[None]:
        """Wait until `size` bytes are free and hold them; a cancelled job stops waiting."""
        with self._changed:
            while self._used and self._used + size > self._limit:
                self._changed.wait(0.1)
                progress.check()
            self._used += size
        try:
            yield
        finally:
            with self._changed:
                self._used -= size
                self._changed.notify_all()


class _Feed(Generic[U]):
    """An iterator that several threads share and that can be stopped."""

    def __init__(self, units: Iterable[U]) -> None:
        self._units = iter(units)
        self._lock = threading.Lock()
        self._stopped = False
        self.error: BaseException | None = None

    def __iter__(self) -> Iterator[U]:
        return self

    def __next__(self) -> U:
        with self._lock:
            if self._stopped:
                raise StopIteration
            return next(self._units)

    def stop(self, error: BaseException | None) -> None:
        """Hand out nothing more; remember the first error."""
        with self._lock:
            self._stopped = True
            self.error = self.error or error
