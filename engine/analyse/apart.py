"""Processes that count for the threads of a sweep, where a program allows them (see `engine.merge.forks`).

Counting is many short operations of numpy and torch, each of which gives the interpreter lock away and takes it
back: two threads spend more time waiting for each other than they gain. Two processes do not wait.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from types import TracebackType
from typing import Generic, TypeVar

import numpy as np

from engine.merge.forks import Forks, Write
from engine.merge.sink import Buffer

U = TypeVar("U")
R = TypeVar("R")


class Apart(Generic[U, R]):
    """Does some work in processes; use as a context manager.

    Args:
        count: How many processes; as many threads may call `do` at once.
        work: What is done for a unit, in the process. Its results are small: they come back through a pipe.
    """

    def __init__(self, count: int, work: Callable[[U], R]) -> None:
        self._work = work
        self._forks = Forks[U](count, self._serve)

    def __enter__(self) -> Apart[U, R]:
        self._forks.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._forks.__exit__(kind, error, trace)

    def do(self, unit: U, check: Callable[[], None]) -> R:
        """Have a process work on a unit.

        Args:
            unit: The unit; it is pickled.
            check: Asked several times a second; what it raises ends the wait.

        Raises:
            MemoryError: if the system ended the process.
            BaseException: what the work raised.
        """
        found = bytearray()

        def take(_: int, offset: int, buffer: Buffer) -> None:
            found[offset : offset + len(buffer)] = buffer

        self._forks.do(unit, take, check)
        made: R = pickle.loads(found)  # written by `_serve`, in a copy of this very program
        return made

    def _serve(self, unit: U, write: Write) -> str:
        """In the process: work, and hand the result over."""
        write(0, 0, np.frombuffer(pickle.dumps(self._work(unit), pickle.HIGHEST_PROTOCOL), np.uint8))
        return ""
