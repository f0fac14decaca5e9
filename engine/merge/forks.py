"""Processes instead of threads for the tensor work of a merge, where a program allows it.

torch gives the interpreter lock away and takes it back in every operation, so that two threads of a merge wait for
each other a good part of the time; two processes do not. Every worker thread of the merge gets a process that was
forked from this one with everything loaded. The thread hands it one unit after the other and takes the bytes through
shared memory, so that sinks, progress, pause, cancel and errors stay where they are.

A fork has only the thread that made it. That is safe for a command and for the export process, whose other threads
hold no lock that the tensor work takes; it is not for a window, and impossible on Windows.
"""

from __future__ import annotations

import ctypes
import gc
import mmap
import multiprocessing
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Generic, TypeVar

import numpy as np

from engine.errors import MixdownError
from engine.merge.sink import Buffer

U = TypeVar("U")
Write = Callable[[int, int, Buffer], None]
"""Takes the bytes of a job (by index) from an offset of its tensor on."""
Work = Callable[[U, Write], str]
"""What is done for a unit; it returns a note."""

WORTHWHILE_BYTES = 128 << 20
"""Models that are smaller together are merged before the processes would have started."""

_SLOT_BYTES = 2 << 20
_SLOTS = 2
_LOOK_S = 0.1
_PR_SET_PDEATHSIG = 1
_allowed = False


def allow() -> None:
    """Say that this program may fork while it merges; for programs without a window."""
    global _allowed
    _allowed = True


def are_wanted(device: str, threads: int, size: int) -> bool:
    """Whether a merge of models of `size` bytes should run in processes."""
    able = _allowed and sys.platform == "linux"
    return able and device == "cpu" and threads > 1 and size >= WORTHWHILE_BYTES


@dataclass(frozen=True, slots=True)
class _Worker:
    """One process: how to talk to it, and the memory that both see."""

    pid: int
    line: Connection
    shared: memoryview


class Forks(Generic[U]):
    """Processes that work on units for the threads of this one; use as a context manager.

    Args:
        count: How many; as many threads may call `do` at once.
        work: What is done for a unit, in the process. It sees this process as it was when `Forks` was entered.
    """

    def __init__(self, count: int, work: Work[U]) -> None:
        self._count = count
        self._work = work
        self._workers: list[_Worker] = []
        self._free: SimpleQueue[_Worker] = SimpleQueue()

    def __enter__(self) -> Forks[U]:
        gc.freeze()  # what is there already is not looked through, and so not copied, in the processes
        try:
            for _ in range(self._count):
                worker = self._start()
                self._workers.append(worker)
                self._free.put(worker)
        except BaseException:
            self._end()
            raise
        finally:
            gc.unfreeze()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def do(self, unit: U, write: Write, check: Callable[[], None]) -> str:
        """Have a process work on a unit, and take what it writes.

        Args:
            unit: The unit; it is pickled.
            write: Told what the process wrote, on this thread; the buffer is reused afterwards.
            check: Asked several times a second; what it raises ends the wait, and the process with this object.

        Returns:
            The note of the work.

        Raises:
            MemoryError: if the system ended the process, as it does when memory runs out.
            BaseException: what the work raised.
        """
        worker = self._free.get()
        with suppress(ConnectionError):  # one that has ended is noticed by its silence
            worker.line.send(unit)
        while True:
            while not worker.line.poll(_LOOK_S):
                check()
            kind, value = self._heard(worker)
            if kind == "bytes":
                slot, job, offset, size = value
                start = slot * _SLOT_BYTES
                write(job, offset, worker.shared[start : start + size])
                check()
                worker.line.send(None)
            elif kind == "error":
                raise value
            else:
                self._free.put(worker)
                return str(value)

    def _heard(self, worker: _Worker) -> tuple[str, Any]:
        try:
            heard: tuple[str, Any] = worker.line.recv()
        except (EOFError, ConnectionError):
            code = self._ended(worker)
            if code == -signal.SIGKILL:
                raise MemoryError("The system ended a process of the merge (out of memory).") from None
            raise RuntimeError(f"A process of the merge ended with code {code}.") from None
        return heard

    def _start(self) -> _Worker:
        shared = memoryview(mmap.mmap(-1, _SLOTS * _SLOT_BYTES))
        ours, theirs = multiprocessing.Pipe()
        pid = os.fork()
        if pid == 0:
            try:
                for other in (ours, *(worker.line for worker in self._workers)):
                    other.close()
                _serve(self._work, theirs, shared)
            finally:
                os._exit(1)  # what the parent had begun is not its child's to end
        theirs.close()
        return _Worker(pid, ours, shared)

    def _ended(self, worker: _Worker) -> int:
        """Wait for a process that has closed its line; how it ended."""
        self._workers.remove(worker)
        worker.line.close()
        return os.waitstatus_to_exitcode(os.waitpid(worker.pid, 0)[1])

    def _end(self) -> None:
        """End all processes at once: they hold nothing but memory."""
        for worker in self._workers:
            worker.line.close()
            os.kill(worker.pid, signal.SIGKILL)
        for worker in self._workers:
            os.waitpid(worker.pid, 0)
        self._workers.clear()


def _serve(work: Work[U], line: Connection, shared: memoryview) -> None:
    """Live in the process: work on units until nobody wants more."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    for number in (signal.SIGINT, signal.SIGTERM):  # the parent decides what they mean
        signal.signal(number, signal.SIG_IGN)
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(1)
    write = _Writer(line, shared)
    with suppress(EOFError, ConnectionError):  # the parent is gone, or needs no more
        while True:
            unit = line.recv()
            try:
                note = work(unit, write)
                write.settle()
            except BaseException as error:
                line.send(("error", _sendable(error)))
                return
            line.send(("done", note))


def _sendable(error: BaseException) -> BaseException:
    """The error, or its text if it cannot be sent; a bug keeps the place where it happened as a note."""
    place = "".join(traceback.format_exception(error))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {error}")
    if not isinstance(error, MixdownError):
        error.add_note(place)
    return error


class _Writer:
    """Hands bytes to the parent through slots of shared memory, as many at once as lie side by side and fit.

    It waits only when all slots are in use.
    """

    def __init__(self, line: Connection, shared: memoryview) -> None:
        self._line = line
        self._shared = shared
        self._sent = 0
        self._waiting = 0
        self._job = self._end = self._filled = 0  # of the slot that is being filled: up to where in which job

    def __call__(self, job: int, offset: int, buffer: Buffer) -> None:
        """Hand over bytes of any number."""
        data = (buffer.data if isinstance(buffer, np.ndarray) else buffer).cast("B")
        while len(data):
            if self._filled == _SLOT_BYTES or (job, offset) != (self._job, self._end):
                self._send()
                self._job = job
            if not self._filled and self._waiting == _SLOTS:
                self._taken()
            piece = data[: _SLOT_BYTES - self._filled]
            start = self._sent % _SLOTS * _SLOT_BYTES + self._filled
            self._shared[start : start + len(piece)] = piece
            self._filled += len(piece)
            offset += len(piece)
            self._end = offset
            data = data[len(piece) :]

    def settle(self) -> None:
        """Wait until everything was taken."""
        self._send()
        while self._waiting:
            self._taken()

    def _send(self) -> None:
        """Give the slot away, if there is anything in it, and have another."""
        if self._filled:
            slot = self._sent % _SLOTS
            self._line.send(("bytes", (slot, self._job, self._end - self._filled, self._filled)))
            self._sent, self._waiting, self._filled = self._sent + 1, self._waiting + 1, 0

    def _taken(self) -> None:
        self._line.recv()
        self._waiting -= 1
