"""What the methods that work with singular values have in common: parameters, help texts, live estimates."""

from __future__ import annotations

from functools import lru_cache
from math import pi
from typing import TYPE_CHECKING

import numpy as np

from engine.methods.spec import Param

if TYPE_CHECKING:
    from collections.abc import Mapping

    from engine.methods.spec import Value

SCALE = Param("scale", 1.0, help="Multiplies the merged task vector.", low=-5.0, high=5.0)

SPLIT = Param("split_qkv", False, help="Treat query, key and value of fused matrices each for itself.")

GUARD = Param("guard", True, help="Leave out directions that hold nothing but rounding errors.")

HELP_COMMON = """
- A *fader* `cₜ` scales the expert's task vector before everything else: `Dₜ` is `cₜ · τₜ`. T is the number of
  experts that are heard in the tensor; experts at 0 are as if they were not in the recipe.
- **Other tensors** (biases, norms, convolutions, and what *matrices* leaves out) are the mean of the `Dₜ`, as in
  the official code; *scale* multiplies them too.
- *Matrices* says which tensors are decomposed: `paper` those with two dimensions except `text_projection`, `all`
  of them (fusion_bench), `inner` none of the embeddings, projections and heads at the ends of a model.
- *Split qkv* decomposes query, key and value of fused matrices (`in_proj_weight`, `qkv.weight`, `c_attn.weight`)
  each for itself, as for models that store them apart. That is a different model; off as in the papers.
"""

HELP_CLASS = """
Reproducibility class **B**: the same bytes on the same device and build of PyTorch, whatever the number of threads;
other devices differ by rounding. Where two singular values at a cut are equal, which of them stays is arbitrary.
Decompositions are checked and, if they fail, done again in float64.
"""


def matrices(default: str) -> Param:
    """The choice of tensors that are treated as matrices."""
    text = "Which tensors are treated as matrices."
    return Param("matrices", default, help=text, choices=("paper", "all", "inner"))


# -- live estimates: a task vector like a matrix of normally distributed numbers ------------------------------

FLAT = (8 / (3 * pi)) ** 2
"""Squared mean over mean square of the singular values of such a square matrix (quarter circle law)."""


@lru_cache(maxsize=1)
def _spectrum() -> np.ndarray:
    """(1000,) singular values of a large square random matrix, largest first."""
    angle = np.linspace(0, pi / 2, 20_001)
    count = (2 * angle - np.sin(2 * angle)) / pi  # share of the singular values larger than 2 cos(angle)
    values: np.ndarray = 2 * np.cos(np.interp((np.arange(1000) + 0.5) / 1000, count, angle))
    return values


def kept_energy(share: float) -> float:
    """Share of the squared norm in the largest `share` of the singular values; real ones fall off faster."""
    energy = np.cumsum(_spectrum() ** 2)
    count = round(min(max(share, 0.0), 1.0) * 1000)
    return float(energy[count - 1] / energy[-1]) if count else 0.0


def overlap(columns: float) -> float:
    """Cosine between random unit vectors and what they become when all are made orthogonal together.

    Args:
        columns: Number of vectors over their length.

    Returns:
        1 for few vectors, 0.85 for as many as there are dimensions, less for more.
    """
    lost = 1 - 8 / (3 * pi)
    return 1 - lost * columns if columns <= 1 else (1 - lost / columns) / columns**0.5


def share_of_sum(part: float) -> float:
    """Share of the singular values whose sum is `part` of the sum of all."""
    sums = np.cumsum(_spectrum())
    return float((np.searchsorted(sums, part * sums[-1]) + 1) / 1000) if part > 0 else 0.001


def heard_count(coefficients: np.ndarray) -> np.ndarray:
    """(G,) how many of T coefficients (T, G) are not 0; at least 1."""
    counts: np.ndarray = np.maximum((coefficients != 0).sum(axis=0), 1)
    return counts


def flat_effective(coefficients: np.ndarray, params: Mapping[str, Value]) -> np.ndarray:
    """(T, G) estimated factors where all singular values of a sum become their mean."""
    return coefficients * (float(params["scale"]) * FLAT)
