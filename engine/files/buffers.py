"""Memory that files are read into."""

from __future__ import annotations

from typing import Any

import numpy as np

PAGE = 4096


def page_aligned(size: int) -> np.ndarray[Any, Any]:
    """Memory that begins at a page: (size,) uint8, with anything in it.

    The system copies from its cache four times more slowly where the address, within its page, is 1 to 31 bytes after
    the file's offset (seen on x86-64 Linux: 2.0 instead of 8.5 GB/s). Large memory from Python and C usually begins 16
    bytes after a page, and files are usually read from multiples of a page on.
    """
    made = np.empty(size + PAGE, np.uint8)
    start = -made.ctypes.data % PAGE
    return made[start : start + size]
