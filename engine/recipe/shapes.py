"""Preset curves over the depth of a network: functions of x in [0, 1], so they fit any model.

A shape maps depth to a factor of the present or default coefficient; `apply` blends to absolute values.
Formulas in the spirit of supermerger's presets, which are 26 fixed numbers; these are not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Curve = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A named curve.

    Attributes:
        id: Stable name for the command line and undo texts.
        title: Name in the menu.
        help: One sentence.
        curve: Depth (N,) in [0, 1] -> height (N,) in [0, 1].
    """

    id: str
    title: str
    help: str
    curve: Curve


def _smoothstep(x: np.ndarray) -> np.ndarray:
    made: np.ndarray = x * x * (3.0 - 2.0 * x)
    return made


SHAPES: tuple[Shape, ...] = (
    Shape(id="flat", title="Flat", help="The same everywhere.", curve=np.ones_like),
    Shape(id="ramp_up", title="Ramp up", help="From nothing first to full at the last layer.", curve=lambda x: x),
    Shape(id="ramp_down", title="Ramp down", help="From full to nothing.", curve=lambda x: 1.0 - x),
    Shape(id="v", title="V", help="Full at both ends, nothing in the middle.", curve=lambda x: np.abs(2.0 * x - 1.0)),
    Shape(id="peak", title="Λ", help="Full in the middle, nothing at the ends.",
          curve=lambda x: 1.0 - np.abs(2.0 * x - 1.0)),
    Shape(id="smoothstep", title="Smoothstep", help="A soft ramp up.", curve=_smoothstep),
    Shape(id="smoothstep_down", title="Smoothstep down", help="A soft one down.", curve=lambda x: 1.0 - _smoothstep(x)),
    Shape(id="ring", title="Ring", help="Full a quarter in from each end.",
          curve=lambda x: np.square(np.sin(2.0 * np.pi * x))),
    Shape(id="middle", title="Middle only", help="The middle half of the layers.",
          curve=lambda x: ((x >= 0.25) & (x <= 0.75)).astype(np.float64)),
    Shape(id="ends", title="Ends only", help="The first and the last quarter of the layers.",
          curve=lambda x: ((x < 0.25) | (x > 0.75)).astype(np.float64)),
)  # fmt: skip
"""All shapes, in menu order."""


def shape(shape_id: str) -> Shape:
    """The shape with this id.

    Raises:
        KeyError: if there is none.
    """
    return {s.id: s for s in SHAPES}[shape_id]


def apply(shape_id: str, depth: Sequence[float] | np.ndarray, *, low: float, high: float) -> np.ndarray:
    """Coefficients along a shape.

    Args:
        shape_id: Which shape.
        depth: (N,) positions in [0, 1].
        low: Value where the curve is 0.
        high: Value where the curve is 1.

    Returns:
        (N,) float64.
    """
    height = np.clip(shape(shape_id).curve(np.asarray(depth, dtype=np.float64)), 0.0, 1.0)
    return low + (high - low) * height
