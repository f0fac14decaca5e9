"""How a long job tells how far it is, and how it is paused or stopped.

The engine only knows the `Progress` protocol. `Token` is the one implementation: thread-safe, without
Qt; the GUI polls it (or subclasses `changed`), the command line prints it.
"""

from __future__ import annotations

import threading
import time
from typing import Protocol

from engine.errors import Cancelled


class Progress(Protocol):
    """What a long job reports to. Call `check` at least every 100 ms of work."""

    def begin(self, total: int, text: str, unit: str = "bytes") -> None:
        """Start a stage of `total` units: "bytes" or a plural noun."""

    def advance(self, amount: int) -> None:
        """Say that `amount` more units are done."""

    def check(self) -> None:
        """Wait while paused; raise `Cancelled` if the user stopped the job."""


class Silent:
    """A progress that listens to nothing and never stops the job."""

    def begin(self, total: int, text: str, unit: str = "bytes") -> None:
        """Ignore."""

    def advance(self, amount: int) -> None:
        """Ignore."""

    def check(self) -> None:
        """Never stops."""


class Renamed:
    """Another progress whose stages have a text of one's own, for a job that is part of a larger one.

    Args:
        inner: Told everything.
        text: What every stage is called.
    """

    def __init__(self, inner: Progress, text: str) -> None:
        self._inner, self._text = inner, text

    def begin(self, total: int, text: str, unit: str = "bytes") -> None:
        """Start a stage."""
        self._inner.begin(total, self._text, unit)

    def advance(self, amount: int) -> None:
        """More is done."""
        self._inner.advance(amount)

    def check(self) -> None:
        """Wait while paused, or stop."""
        self._inner.check()


class Checked:
    """Another progress of which only pause and cancel get through, for a part of a job that counts for itself.

    Args:
        inner: Asked.
    """

    def __init__(self, inner: Progress) -> None:
        self._inner = inner

    def begin(self, total: int, text: str, unit: str = "bytes") -> None:
        """Ignore."""

    def advance(self, amount: int) -> None:
        """Ignore."""

    def check(self) -> None:
        """Wait while paused, or stop."""
        self._inner.check()


class Token:
    """Progress, pause and cancel of one job, shared by its threads and its watchers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running = threading.Event()
        self._running.set()
        self._cancelled = threading.Event()
        self._started = time.monotonic()
        self._paused_at: float | None = None
        self._paused_s = 0.0
        self.total = 0
        self.done = 0
        self.text = ""
        self.unit = "bytes"

    def begin(self, total: int, text: str, unit: str = "bytes") -> None:
        """Start a stage; the clock for the remaining time starts again."""
        with self._lock:
            self.total, self.done, self.text, self.unit = max(total, 0), 0, text, unit
            self._started, self._paused_s = time.monotonic(), 0.0

    def advance(self, amount: int) -> None:
        """Add to the work done."""
        with self._lock:
            self.done += amount

    def check(self) -> None:
        """Wait while paused; raise `Cancelled` when stopped."""
        if self._cancelled.is_set():
            raise Cancelled
        if not self._running.is_set():
            self._running.wait()
            if self._cancelled.is_set():
                raise Cancelled

    def cancel(self) -> None:
        """Stop the job at its next check; also wakes a paused one."""
        self._cancelled.set()
        self._running.set()

    def pause(self) -> None:
        """Hold the job at its next check."""
        with self._lock:
            self._paused_at = self._paused_at or time.monotonic()
        self._running.clear()

    def resume(self) -> None:
        """Let a paused job go on."""
        with self._lock:
            if self._paused_at is not None:
                self._paused_s += time.monotonic() - self._paused_at
                self._paused_at = None
        self._running.set()

    @property
    def is_cancelled(self) -> bool:
        """Whether the job was told to stop."""
        return self._cancelled.is_set()

    @property
    def is_paused(self) -> bool:
        """Whether the job is being held."""
        return not self._running.is_set()

    @property
    def elapsed_s(self) -> float:
        """Seconds of this stage, time spent paused excluded."""
        with self._lock:
            now = self._paused_at or time.monotonic()
            return max(0.0, now - self._started - self._paused_s)

    @property
    def remaining_s(self) -> float | None:
        """Estimated seconds to the end of this stage, or None while unknown."""
        if self.done <= 0 or self.total <= 0:
            return None
        return self.elapsed_s * max(0, self.total - self.done) / self.done
