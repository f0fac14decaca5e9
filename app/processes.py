"""Processes of the window's own program: how one is started, and how its end is told."""

from __future__ import annotations

import signal
import sys
from contextlib import suppress
from pathlib import Path

_MAIN = Path(__file__).resolve().parent.parent / "main.py"
TAIL_BYTES = 20_000
"""How much of what a process wrote to stderr is kept for a report."""
BUG_HINT = "Nothing of yours is lost. Copy the details and report this."


def command(flag: str) -> list[str]:
    """The command line that starts this program as the worker that a flag names, frozen or from the tree."""
    return [sys.executable, flag] if getattr(sys, "frozen", False) else [sys.executable, str(_MAIN), flag]


def end_words(code: int) -> str:
    """How a process ended, for the middle of a sentence: "it ended with SIGSEGV", "it ended with code 3"."""
    with suppress(ValueError):  # a signal without a name
        if code < 0:
            return f"it ended with {signal.Signals(-code).name}"
    return f"it ended with code {code}"
