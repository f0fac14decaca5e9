"""A clock that stands still while this process does: when it is stopped, or the machine sleeps.

Who judges by silence whether another process hangs must not count such time: both were stopped, and the other one may
get the processor a moment later.
"""

from __future__ import annotations

import threading
import time

TICK_S = 0.5
LONGEST_S = 2.0
"""A tick that took longer than this was not waited for: the process did not run."""


class AwakeClock:
    """Seconds, like those of `time.monotonic`, less those in which this process did not run; thread-safe.

    It ticks in a thread from `start` on; before that it is `time.monotonic`.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._ticked = self._lost = 0.0

    def start(self) -> None:
        """Begin to tick; nothing happens if it does already."""
        with self._lock:
            if self._thread is None:
                self._ticked = time.monotonic()
                self._thread = threading.Thread(target=self._tick, name="mixdown-awake", daemon=True)
                self._thread.start()

    def now(self) -> float:
        """Seconds since some moment in the past."""
        with self._lock:
            now = time.monotonic()
            return now - self._lost - (self._gap(now) if self._thread is not None else 0.0)

    def _gap(self, now: float) -> float:
        """How much longer than a tick it is since the last one."""
        return max(0.0, now - self._ticked - LONGEST_S)

    def _tick(self) -> None:
        while True:
            time.sleep(TICK_S)
            with self._lock:
                now = time.monotonic()
                self._lost += self._gap(now)
                self._ticked = now


CLOCK = AwakeClock()
"""That of this process."""
