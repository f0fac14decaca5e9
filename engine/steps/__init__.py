"""The small tensor functions that merge methods are made of.

A lazy facade: `from engine import steps` is free, and `steps.trim` imports `engine.steps.trim` (and with
it torch) when it is first used. So a method can be declared, listed and documented without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

    from engine.steps import (
        compete,
        covariance,
        disjoint,
        drop,
        elect,
        estimate,
        guess,
        held,
        important,
        masks,
        ops,
        order,
        per_expert,
        pointwise,
        reduce,
        restore,
        rows,
        select,
        spectral,
        spherical,
        stock,
        subspace,
        trim,
        view,
    )

__all__ = [
    "compete",
    "covariance",
    "disjoint",
    "drop",
    "elect",
    "estimate",
    "guess",
    "held",
    "important",
    "masks",
    "ops",
    "order",
    "per_expert",
    "pointwise",
    "reduce",
    "restore",
    "rows",
    "select",
    "spectral",
    "spherical",
    "stock",
    "subspace",
    "trim",
    "view",
]


def __getattr__(name: str) -> ModuleType:
    """Import a submodule at its first use (PEP 562)."""
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
