"""Where Mixdown keeps its own files: settings, caches, recovery data. Never in temporary folders."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

RESOURCES = Path(__file__).resolve().parent.parent / "resources"
"""Icons, help and the demo, as shipped."""

DEMO = RESOURCES / "demo"
"""The demo project's folder."""


def home() -> Path:
    """The folder of this user's Mixdown data; `MIXDOWN_HOME` overrides it (tests do).

    It is made where that is possible; on a read-only disk whoever writes in it finds out and says so.
    """
    given = os.environ.get("MIXDOWN_HOME")
    if given:
        folder = Path(given)
    elif sys.platform == "darwin":
        folder = Path.home() / "Library" / "Application Support" / "Mixdown"
    elif sys.platform == "win32":
        folder = Path(os.environ.get("APPDATA", str(Path.home()))) / "Mixdown"
    else:
        folder = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "mixdown"
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def settings_file() -> Path:
    """Settings that differ from the defaults."""
    return home() / "settings.json"


def hash_cache_file() -> Path:
    """Content hashes of files that were read before."""
    return home() / "hashes.json"


def confirmed_file() -> Path:
    """Content hashes that the user vouches for; not a cache."""
    return home() / "confirmed.json"


def score_cache_file() -> Path:
    """Quick-eval scores that were measured before."""
    return home() / "scores.sqlite"


def history_file() -> Path:
    """Every export and score, unless another place is set; not a cache: deleting it loses the history."""
    return home() / "history.sqlite"


def sketch_folder() -> Path:
    """Exact magnitude sketches of task vectors that were measured before; may be deleted at any time."""
    folder = home() / "sketches"
    with suppress(OSError):
        folder.mkdir(exist_ok=True)
    return folder


def bundle_folder() -> Path:
    """Restored tasks of bundles; may be deleted at any time while no window uses them."""
    return home() / "bundles"


def analyses_folder() -> Path:
    """How the experts of earlier projects overlap; may be deleted at any time."""
    return home() / "analyses"


def graph_folder() -> Path:
    """ONNX graphs of architectures and how fast they ran; may be deleted at any time."""
    return home() / "graphs"


def session_file(slot: int = 1) -> Path:
    """The recipe as it was at the last change, for the next start; windows open at once have slots of their own."""
    return home() / ("session.mixdown" if slot == 1 else f"session-{slot}.mixdown")


def log_file() -> Path:
    """The crash log."""
    return home() / "crash.log"
