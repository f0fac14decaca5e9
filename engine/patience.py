"""How long something has taken, without the time in which this process itself was stopped or the machine asleep."""

from __future__ import annotations

import time

LONGEST_S = 1.0
"""Who looks several times a second and finds that more has passed did not run in between."""


class Patience:
    """Counts the seconds between looks, each at most as `LONGEST_S`; of one thread, which looks several times a second.

    Args:
        seconds: After so many it is at an end.
    """

    def __init__(self, seconds: float) -> None:
        self._left = seconds
        self._looked = time.monotonic()

    @property
    def is_over(self) -> bool:
        """Whether the time is up; this is a look."""
        now = time.monotonic()
        self._left -= min(now - self._looked, LONGEST_S)
        self._looked = now
        return self._left < 0
