"""Errors as the user meets them: a card that says what, why and what next; and a log of crashes."""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from app import places
from app.crash import scrubbed
from app.version import VERSION
from engine.errors import MixdownError
from widgets.dialogs.state import Problem

_LOG_LIMIT = 200_000


def as_problem(error: MixdownError, title: str = "", actions: tuple[tuple[str, str], ...] = ()) -> Problem:
    """The card of an error.

    Args:
        error: What happened.
        title: The first line; without it the error's message is the title.
        actions: (id, label) buttons.
    """
    where = f"In {error.where}." if error.where else ""
    why = " ".join(part for part in (error.message if title else "", where) if part)
    return Problem(
        title=title or error.message,
        why=why,
        hint=error.hint,
        actions=actions,
        details="\n".join([type(error).__name__, str(error), f"Mixdown {VERSION}", *getattr(error, "__notes__", ())]),
    )


def install_crash_hooks(tell: Callable[[str], None]) -> None:
    """Log what nobody caught, from any thread, and go on.

    Args:
        tell: Called with one line, on whatever thread it happened.
    """

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            sys.__excepthook__(kind, error, trace)
            return
        text = "".join(traceback.format_exception(kind, error, trace))
        sys.stderr.write(text)
        log(text)
        tell(f"{kind.__name__}: {error}")

    def thread_hook(args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None:
            hook(args.exc_type, args.exc_value, args.exc_traceback)

    sys.excepthook = hook
    threading.excepthook = thread_hook


def log(text: str, path: Path | None = None) -> None:
    """Append to the crash log, keeping it small; never raises."""
    path, text = path or places.log_file(), scrubbed(text)
    stamp = time.strftime("%Y-%m-%d %H:%M:%S")
    try:
        old = path.read_text("utf-8", errors="replace")[-_LOG_LIMIT // 2 :] if path.exists() else ""
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(f"{old}{stamp} Mixdown {VERSION}\n{text}\n")
    except OSError:
        return
