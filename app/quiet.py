"""The garbage collector, kept out of the window's way while libraries are loaded.

Python's full collection visits every object there is and lets no other thread run meanwhile. Loading a library
makes hundreds of thousands of objects that live as long as the process, and sets such collections off: with torch
in memory one of them stops the window for most of a second. Nothing of what is loaded is ever garbage.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

STARTING = "start"
"""Holds collections back from the start of the process until the window is there."""

_lock = threading.Lock()
_holders: set[str] = set()
_was_on = True
_settled: set[str] = set()


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
        if not _holders and _was_on:
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
