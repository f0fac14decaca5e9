"""The garbage collector: out of the window's way while libraries are loaded, and in one thread only.

Python's full collection visits every object there is and lets no other thread run meanwhile. Loading a library
makes hundreds of thousands of objects that live as long as the process, and sets such collections off: with torch
in memory one of them stops the window for most of a second. Nothing of what is loaded is ever garbage.

Automatic collection runs in whichever thread happens to make an object. A closed panel is a cycle of Qt objects, and
a worker that came upon it would end them in its own thread: their timers stay known to the event loop, and the next
tick calls into freed memory. A process with a window therefore takes collection over (`take_over`) and collects where
Qt lives (`collect`, called by `app.collector`).
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

STARTING = "start"
"""Holds collections back from the start of the process until the window is there."""

YOUNG = 700
"""New objects after which the young ones are looked through, as Python itself does."""
OLDER = 4
"""Collections of the young after which those that were left are looked through as well; Python's are smaller."""
OLDEST = 10
"""Such collections after which all objects are."""
SHARE = 200
"""A full collection takes at most this part of the time: after one, nothing for so many times as long as it took."""
LEAST_S = 30.0
"""No two full collections within this time."""

_lock = threading.Lock()
_holders: set[str] = set()
_was_on = True
_settled: set[str] = set()
_taken = False
_full_after = 0.0


def take_over() -> None:
    """From now on nothing is collected but by `collect`."""
    global _taken
    with _lock:
        _taken = True
        gc.disable()


def collect(calm: Callable[[], bool] = lambda: True) -> int:
    """Collect what is due, in the calling thread; nothing while somebody holds collection back.

    Args:
        calm: Whether there is time for a full collection, asked when one is due; else it waits.

    Returns:
        The oldest age that was looked through (0, 1 or 2), -1 for none.
    """
    global _full_after
    young, middle, old = gc.get_count()
    if _holders or young <= YOUNG:
        return -1
    age = 0 if middle < OLDER else 1
    started = time.monotonic()
    if age == 1 and old >= OLDEST and started >= _full_after and calm():
        age = 2
    gc.collect(age)
    if age == 2:
        ended = time.monotonic()
        _full_after = ended + max(LEAST_S, SHARE * (ended - started))
    return age


def hold(who: str) -> None:
    """No automatic collection until all who hold it back have released it.

    Args:
        who: Name of the holder; twice the same counts once.
    """
    global _was_on
    with _lock:
        if not _holders:
            _was_on = gc.isenabled()
            gc.disable()
        _holders.add(who)


def release(who: str) -> None:
    """The opposite of `hold`; nothing happens for one who does not hold."""
    with _lock:
        if who not in _holders:
            return
        _holders.remove(who)
        if not _holders and _was_on and not _taken:
            gc.enable()


def settle(what: str) -> None:
    """Leave everything that there is now out of later collections; once for each `what` in a process."""
    with _lock:
        if what in _settled:
            return
        _settled.add(what)
    gc.freeze()


@contextmanager
def loading(what: str) -> Iterator[None]:
    """Load a library: no collection meanwhile, and none of what it made in later ones.

    Args:
        what: Name of the library; the second time it is loaded already, and nothing is left out again.
    """
    hold(what)
    try:
        yield
        settle(what)
    finally:
        release(what)
