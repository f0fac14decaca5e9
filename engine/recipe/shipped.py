"""The models that come with Mixdown, by content: who ships a program vouches for what lies in it (decision 0021).

It is the content that counts and not where a file lies: a demo model that was changed, or built anew, is not one of
them, and a copy of one anywhere is.
"""

from __future__ import annotations

import hashlib
from functools import cache

_FILE = "model.safetensors"
SHIPPED = (
    "c2af896e1e0fe55bad5a5ee62f4a7ad2d5decfc4f204941b123f3f8dae12bc22",  # base
    "3d5cf778692b2ea3cf3ff1e1527bb012542bbe43bbafed94a31655e2a49630ab",  # digits
    "787c558a0ac30a1e75ceb742fd0240f91d3416a6a27b1a9172a1702ac51db554",  # garments
    "4853251f50e73348b645fd1646427cd5ad199cf3dcc4b14d6623d0cbe58edefc",  # negatives
    "477551fe7d25aaa5258f00836ebeeef21c8a1c938c921cb561b7cd27b9f3cab1",  # parity
    "f2d37d60eb70e1719034640688335f106904aab8fbf8a920768285d77139b5a5",  # rotated
    "41e98331bd112c3c5322c1fba17d74cdd96ff9ce9656968a384f34fa3d98c30c",  # scans
)
"""SHA-256 of the weight files of the demo, as `sha256sum resources/demo/base/*.safetensors` and so on print it."""


@cache
def shipped() -> frozenset[str]:
    """Content hashes of what is shipped: of each file alone, and of a folder that holds it under its own name."""
    folders = (hashlib.sha256(f"{sha256}  {_FILE}\n".encode()).hexdigest() for sha256 in SHIPPED)
    return frozenset((*SHIPPED, *folders))
