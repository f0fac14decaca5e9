"""A lock between processes on one file: held for a write or for maintenance, given up by the system on any death."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.errors import WriteProblem

WAIT_S = 10.0


class ProcessLock:
    """One writer at a time, over all threads and processes.

    Args:
        path: The lock file; made if it is not there, never deleted.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._threads = threading.RLock()
        self._depth = 0

    @contextmanager
    def held(self, wait_s: float = WAIT_S) -> Iterator[None]:
        """Hold the lock; threads of this process wait for each other without a limit.

        Raises:
            WriteProblem: if another process does not let go, or the folder cannot be written.
        """
        with self._threads:
            if self._depth:
                self._depth += 1
                try:
                    yield
                finally:
                    self._depth -= 1
                return
            descriptor = self._taken(wait_s)
            self._depth = 1
            try:
                yield
            finally:
                self._depth = 0
                os.close(descriptor)  # which gives the lock up

    def _taken(self, wait_s: float) -> int:
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        except OSError as error:
            raise WriteProblem(f"The history cannot be written: {error.strerror}.", where=str(self._path),
                               hint="Check free space and permissions.") from error  # fmt: skip
        limit = time.monotonic() + wait_s
        while not _try_lock(descriptor):
            if time.monotonic() > limit:
                os.close(descriptor)
                raise WriteProblem("Another Mixdown is using the history.", where=str(self._path),
                                   hint="Close it, or try again in a moment.")  # fmt: skip
            time.sleep(0.01)
        return descriptor


def _try_lock(descriptor: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
