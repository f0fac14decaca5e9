"""Means of several models on the sphere: Multi-SLERP and the Karcher mean."""

from __future__ import annotations

from math import fsum
from typing import TYPE_CHECKING

from engine import steps
from engine.errors import OutOfRange
from engine.methods.spec import Param, Value, merge_method

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from torch import Tensor

    from engine.steps.spherical import Blend
    from engine.steps.view import Chunk, View

HELP_MULTISLERP = """
**Multi-SLERP** averages the *directions* of the experts' tensors and, apart from that, their norms. An average
of unlike tensors shrinks; this one keeps its size.

- *Faders* are the experts' shares of both averages. *Normalise* divides them by their sum, which must not be
  0; off, faders that do not add up to 1 also scale the result, by the sum of `cₜ · ‖xₜ‖`.
- *From base* averages the task vectors and adds the base, as mergekit does when there is a `base_model`; off,
  the weights themselves. Without a base it makes no difference.
- mergekit then goes one step from the mean along the sphere. That step is always 0 (the parts at right angles
  to the mean cancel out), so Mixdown leaves it out; the numbers agree. It is not the Karcher mean.
- Where directions cancel out, or all inputs are 0, there is no mean direction and the weighted average is
  taken (mergekit: for two inputs only, else it stops with an error); the report says for how many tensors.
- mergekit computes in the file's type and is off by up to a few percent in bf16. Mixdown needs one pass for
  the inner products, in float64, and rounds once.

Reproducibility class **A**: the same bytes on any device, thread count and chunk size.
"""

HELP_KARCHER = """
**Karcher mean** finds the direction that is nearest to all experts' directions *on the sphere* (the sum of the
squared angles is least), and gives it the mean of their norms.

- *Faders* are weights; only their ratios matter, and their sum must not be 0. Equal faders are what mergekit
  does, which has no weights here.
- *Include base* makes the base one more input with weight 1, as mergekit does with its `base_model`. Weights are
  averaged, not task vectors; fine-tunes of one base differ so little that this is nearly the linear average.
- *Rounds* bounds the iteration (mergekit `max_iter`); it stops when a step is shorter than *tolerance*
  (mergekit `tol`). Directions nearer than that to the mean, and tensors of smaller norm, do not pull.
- Tensors of norm 0 count in the mean norm, not in the direction. Where the directions cancel out the
  iteration starts at the first expert in the order of their contents.
- mergekit iterates in the file's type and is off by up to several percent in bf16. Mixdown iterates on the
  inner products in float64 and reads the models once.

Reproducibility class **A**: the same bytes on any device, thread count and chunk size (sines and arc cosines
come from the system and agree to the last bit or one off).
"""


def _shares(weights: Sequence[float]) -> list[float]:
    """The coefficients divided by their sum."""
    total = fsum(weights)
    if total == 0:
        raise OutOfRange("The coefficients add up to 0, so there is no mean.", hint="Change one of them.")
    return [w / total for w in weights]


def _shortcut(weights: tuple[float, ...], params: Mapping[str, Value]) -> int | None:
    """Copy the base if all is silent, the expert if it is the only input."""
    heard = [t for t, w in enumerate(weights) if w != 0]
    if not heard:
        return -1
    alone = len(heard) == 1 and (params.get("normalise") or params.get("include_base") is False)
    return heard[0] if alone else None


def _effective(coefficients: np.ndarray, params: Mapping[str, Value]) -> np.ndarray:
    """(T, G) estimated factors: those of the weighted average."""
    return steps.estimate.shares(coefficients) if params["normalise"] else coefficients


def _offsets(models: Sequence[Tensor], base: Tensor, from_base: bool) -> list[Tensor]:
    """The inputs of Multi-SLERP: task vectors or weights, (n,) each."""
    return [x - base for x in models] if from_base else list(models)


def _measure_multislerp(view: View, *, normalise: bool, from_base: bool, **_: object) -> Blend:
    """Pass over one tensor for the factors of its inputs."""
    weights: list[tuple[float, ...]] = []

    def picks(chunk: Chunk) -> list[Tensor]:
        weights.append(chunk.weights)
        return _offsets(chunk.deltas, chunk.base, from_base)

    products = steps.spherical.gram(view, picks)
    given = weights[0] if weights else ()
    return steps.spherical.toward_mean(products, _shares(given) if normalise and given else given, 1e-8)


@merge_method(
    id="multislerp",
    title="Multi-SLERP",
    family="spherical",
    summary="Averages the directions of the experts' tensors and keeps the mean of their norms.",
    paper="Goddard 2024, Multi-SLERP; as in mergekit",
    space="weight",
    params=[
        Param("normalise", True, help="Divide the coefficients by their sum."),
        Param("from_base", True, help="Average the task vectors rather than the weights."),
    ],
    live="full",
    host=True,
    reproducibility="A",
    needs_base=False,
    coefficient_help="The expert's share of the mean direction and norm.",
    help=HELP_MULTISLERP,
    measure=_measure_multislerp,
    shortcut=_shortcut,
    effective=_effective,
)
def multislerp(
    models: Sequence[Tensor], weights: Sequence[float], *, normalise: bool, from_base: bool, base: Tensor, stats: Blend
) -> Tensor:
    """sum_t f_t x_t with the measured factors, plus the base for task vectors x_t.

    Args:
        models: T experts' weights (n,).
        weights: T coefficients, from which the factors were found.
        normalise: Whether they were divided by their sum.
        from_base: Whether the inputs are task vectors.
        base: The base's weights (n,).
        stats: The factors.

    Returns:
        The merged weights (n,).
    """
    merged = steps.reduce.weighted_sum(_offsets(models, base, from_base), stats.factors)
    if from_base:
        merged += base
    return merged


def _inputs(models: Sequence[Tensor], base: Tensor, include_base: bool) -> list[Tensor]:
    """The inputs of the Karcher mean, (n,) each."""
    return [base, *models] if include_base else list(models)


def _measure_karcher(view: View, *, include_base: bool, rounds: int, tolerance: float, **_: object) -> Blend:
    """Pass over one tensor for the factors of its inputs."""
    weights: list[tuple[float, ...]] = []

    def picks(chunk: Chunk) -> list[Tensor]:
        weights.append(chunk.weights)
        return _inputs(chunk.deltas, chunk.base, include_base)

    products = steps.spherical.gram(view, picks)
    given = [1.0] * include_base + list(weights[0] if weights else ())
    return steps.spherical.karcher(products, _shares(given) if weights else (), rounds, tolerance)


def _effective_karcher(coefficients: np.ndarray, params: Mapping[str, Value]) -> np.ndarray:
    """(T, G) estimated factors: those of the weighted average, the base included if it takes part."""
    shares = steps.estimate.shares(coefficients)
    total = coefficients.sum(axis=0)
    if params["include_base"]:
        shares = shares * abs(total) / (abs(total) + 1)
    return shares


@merge_method(
    id="karcher",
    title="Karcher mean",
    family="spherical",
    summary="The direction nearest to all experts' on the sphere, with the mean of their norms.",
    paper="Karcher 1977; as in mergekit 2025",
    space="weight",
    params=[
        Param("include_base", False, help="Make the base one more input."),
        Param("rounds", 10, help="Most steps of the iteration.", low=1, high=1000),
        Param("tolerance", 1e-5, help="Shorter steps end the iteration.", low=1e-12, high=0.1, step=1e-5),
    ],
    live="full",
    host=True,
    reproducibility="A",
    needs_base=False,
    coefficient_help="The expert's weight in the mean.",
    help=HELP_KARCHER,
    measure=_measure_karcher,
    shortcut=_shortcut,
    effective=_effective_karcher,
)
def karcher(
    models: Sequence[Tensor],
    weights: Sequence[float],
    *,
    include_base: bool,
    rounds: int,
    tolerance: float,
    base: Tensor,
    stats: Blend,
) -> Tensor:
    """sum_t f_t x_t with the measured factors.

    Args:
        models: T experts' weights (n,).
        weights: T coefficients, from which the factors were found.
        include_base: Whether the base is the first input.
        rounds: Most steps of the iteration that found the factors.
        tolerance: Where it ended.
        base: The base's weights (n,).
        stats: The factors.

    Returns:
        The merged weights (n,).
    """
    return steps.reduce.weighted_sum(_inputs(models, base, include_base), stats.factors)
