"""What some programs do to a model's file: other bytes in the same file, which gets its old time again."""

from __future__ import annotations

import os
import time
from pathlib import Path


def rewrite_in_place(path: Path, at: int = -1, by: int = 1) -> None:
    """Change one byte of a file; its size, inode and time stay.

    Args:
        path: The file.
        at: Which byte; negative from the end.
        by: Its bits to turn round.
    """
    time.sleep(0.02)  # the clock of a file system is coarse
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(at, os.SEEK_END if at < 0 else os.SEEK_SET)
        old = file.read(1)[0]
        file.seek(at, os.SEEK_END if at < 0 else os.SEEK_SET)
        file.write(bytes([old ^ by]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_ino, after.st_mtime_ns) == (before.st_size, before.st_ino, before.st_mtime_ns)
