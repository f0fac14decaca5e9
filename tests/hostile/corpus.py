"""All hostile things by name, and a sample of every class that is always tried."""

from __future__ import annotations

from collections import defaultdict

from tests.hostile import folders, graphs, headers, pickles, texts
from tests.hostile.case import Case

_MODULES = (headers, folders, pickles, texts, graphs)
CASES: dict[str, Case] = {case.name: case for module in _MODULES for case in module.cases()}

SLOW = frozenset({"folder-many-entries", "archive-many-entries", "archive-deflate-bomb"})


def sample(most: int = 5) -> list[str]:
    """A few of every class ("header-...", "index-...")."""
    classes: dict[str, list[str]] = defaultdict(list)
    for name in CASES:
        if name not in SLOW:
            classes[name.partition("-")[0]].append(name)
    chosen = []
    for names in classes.values():
        step = max(1, len(names) // most)
        chosen += names[::step][:most]
    return chosen
