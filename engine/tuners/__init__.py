"""Tuners: they choose coefficients on validation rows. One short file each, found by being in this folder.

Light: never imports torch. A tuner declares itself (`engine.tuners.spec.tuner`) and is a generator of steps that
talks to a `Bench` only, so that a window can animate, pause and stop it between any two steps.
"""

from __future__ import annotations

import importlib
import pkgutil

from engine.tuners.spec import Bench, Step, Tuner, find_tuner, tuner, tuners

__all__ = ["Bench", "Step", "Tuner", "discover", "find_tuner", "tuner", "tuners"]


def discover() -> None:
    """Import every module of this package; each registers its tuners, the first time only."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")


discover()
