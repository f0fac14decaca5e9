"""Models inside a file: a path that goes on behind a .safetensors file ("all.safetensors/digits").

What such a path means is not known here: whoever can open these models says so once with `serve`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

from engine.errors import FileProblem
from engine.files.model import Checkpoint

Opener = Callable[[Path, str], Checkpoint]
_UNSAFE = re.compile(r"[%/\\:*?\"<>|\x00-\x1f\x7f]|^[.(]|[. ]$")
_openers: list[Opener] = []


class NotRestored(FileProblem):
    """The model is in its file, but has to be unpacked before it can be read."""


def serve(opener: Opener) -> None:
    """Let `engine.files.checkpoint.open_checkpoint` open models inside files with this function, from now on."""
    _openers[:] = [opener]


def opener() -> Opener | None:
    """The function that opens models inside files, if there is one."""
    return _openers[0] if _openers else None


def member_path(file: Path, name: str) -> Path:
    """The path of a model inside a file; characters that a file name cannot have are written as %XX."""
    return file / quoted(name)


def quoted(name: str) -> str:
    """A name as one part of a path."""
    return _UNSAFE.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8")), name)


def split(path: Path) -> tuple[Path, str] | None:
    """File and name of a model inside a file, or None for every other path."""
    file = path.parent
    if file.suffix != ".safetensors" or not file.is_file():
        return None
    return file, path.name if path.name.startswith("(") else unquote(path.name, errors="replace")
