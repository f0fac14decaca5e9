"""All hostile things by name, and a sample of every class that is always tried."""

from __future__ import annotations

from collections import defaultdict

from tests.hostile import folders, headers, pickles, texts
from tests.hostile.case import Case

CASES: dict[str, Case] = {case.name: case for module in (headers, folders, pickles, texts) for case in module.cases()}
"""Other modules may add theirs: they call `add`."""

SLOW = frozenset({"folder-many-entries", "archive-many-entries", "archive-deflate-bomb"})


def add(case: Case) -> None:
    """Register a hostile thing of another module (ONNX)."""
    CASES[case.name] = case


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
