"""TSV-M and TSV-C: task singular vectors, merged without interference or stored small."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from engine import steps
from engine.methods import spectral
from engine.methods.spec import Param, Value, merge_method

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from engine.steps.spectral import Factors
    from engine.steps.view import Span

HELP_MERGE = f"""
**TSV-M** keeps the largest singular values of every task matrix and makes the singular vectors of all tasks
orthogonal to each other, so that tasks do not interfere: `polar([U₁|U₂…]) · diag(s₁, s₂…) · polar([V₁|V₂…])ᵀ`.

- *Rank* is the share of the singular values that each expert keeps: `int(r · rank)` of r; 0 is the paper's 1/T.
- *Variant* `svd` is the paper's; `eigen` makes the vectors orthogonal by an eigendecomposition (the same result,
  faster); `lossless` keeps all singular values; `sum` adds the matrices of low rank without making their vectors
  orthogonal.
- *Scale* 1 works without validation data; the paper tries 0.1 … 3. One expert alone at 1 is copied.
- *Guard* leaves out what is arbitrary: directions that a task matrix or all of them together do not have, as
  with two copies of one expert, LoRA, or frozen weights. The official code fills them with noise; *guard* off is
  the official code. For task matrices of full rank both give the same.
- *Small* says what becomes of matrices with fewer rows or columns than experts, of which the paper's rank keeps
  nothing: the `mean`, or `zero` as in the official code (such a weight stays the base's).
- mergekit has no TSV-M. fusion_bench is *matrices* all.
{spectral.HELP_COMMON.strip()}
{spectral.HELP_CLASS}"""

HELP_COMPRESS = f"""
**TSV-C** stores one task small and restores it: the chosen *task*'s matrices keep their largest singular values
only, `base + scale · Uₖ diag(sₖ) Vₖᵀ`. It shows how much of an expert is in a few singular vectors; the result is
a model for that task alone, made of that expert alone (the others only count).

- *Rank* is the share of the singular values that is kept, `int(r · rank)` of r; 0 is the paper's 1/T, so that T
  tasks together take the room of one.
- *Matrices* says which tensors are decomposed: `all` as in the official code, `text_projection` included; `paper`
  and `inner` leave some whole. **Other tensors** are kept whole, as in the official code.
- *Small* matrices, with fewer rows or columns than experts, are kept `whole`, or `zero` as in the official code.
- A *fader* `cₜ` multiplies the restored task vector. *Scale* is 1 in the paper. mergekit has no TSV-C.
- *Split qkv* decomposes query, key and value of fused matrices each for itself; off in the paper.
{spectral.HELP_CLASS}"""

RANK = Param("rank", 0.0, help="Share of the singular values that is kept; 0 is 1/T.", low=0.0, high=1.0)


def kept(size: int, share: float, experts: int) -> int:
    """How many of `size` singular values are kept, as the official code counts."""
    return int(size * (share if share > 0 else 1 / experts))


def _merge_shortcut(weights: tuple[float, ...], params: Mapping[str, Value]) -> int | None:
    """Copy the base if all is silent, the expert if it alone enters with factor 1 and all its singular values."""
    heard = [t for t, w in enumerate(weights) if w * float(params["scale"]) != 0]
    if not heard:
        return -1
    whole = params["rank"] in (0.0, 1.0) or params["variant"] == "lossless"
    return heard[0] if len(heard) == 1 and whole and weights[heard[0]] * float(params["scale"]) == 1 else None


def _merge_effective(coefficients: np.ndarray, params: Mapping[str, Value]) -> np.ndarray:
    """(T, G) estimated factors of unrelated task vectors: what is kept, less what making it orthogonal costs."""
    rank, count = float(params["rank"]), spectral.heard_count(coefficients)
    shares = np.full(count.shape, rank) if rank > 0 else 1 / count
    if params["variant"] == "lossless":
        shares = np.ones(count.shape)
    energy = np.array([spectral.kept_energy(float(x)) for x in shares])
    if params["variant"] != "sum":
        energy = energy * np.array([spectral.overlap(float(x)) for x in np.where(count > 1, shares * count, 0)]) ** 2
    factors: np.ndarray = coefficients * energy * float(params["scale"])
    return factors


@merge_method(
    id="tsv_m",
    title="TSV-M",
    family="spectral",
    summary="Joins the largest singular vectors of all tasks, made orthogonal to each other.",
    paper="Gargiulo et al. 2025, Task Singular Vectors (TSV-Merge)",
    space="delta",
    scope="tensor",
    params=[
        spectral.SCALE,
        RANK,
        Param("variant", "svd", help="How singular vectors are joined.", choices=("svd", "eigen", "lossless", "sum")),
        Param("small", "mean", help="What becomes of matrices smaller than T.", choices=("mean", "zero")),
        spectral.GUARD,
        spectral.matrices("paper"),
        spectral.SPLIT,
    ],
    live="full",
    reproducibility="B",
    coefficient_help="Scales the expert's task vector before its singular values are taken.",
    help=HELP_MERGE,
    shortcut=_merge_shortcut,
    effective=_merge_effective,
)
def tsv_m(
    deltas: Sequence[Tensor],
    weights: Sequence[float],
    *,
    scale: float,
    rank: float,
    variant: str,
    small: str,
    guard: bool,
    matrices: str,
    split_qkv: bool,
    span: Span,
) -> Tensor:
    """polar([U_1 | ...]) diag(s_1, ...) polar([V_1 | ...])^T of the largest singular values of each task.

    Args:
        deltas: T task vectors of any shape.
        weights: T coefficients.
        scale: Common factor.
        rank: Share of the singular values that is kept; 0 is 1/T.
        variant: "svd", "eigen", "lossless" or "sum".
        small: What matrices smaller than T become: "mean" or "zero".
        guard: Whether directions that are not there are left out.
        matrices: Which tensors are decomposed.
        split_qkv: Whether fused matrices are split.
        span: Name and shape of the tensor.

    Returns:
        The merged task vector, in the same shape.
    """

    def join(blocks: list[Tensor]) -> Tensor:
        size = min(blocks[0].shape)
        count = size if variant == "lossless" else kept(size, rank, len(blocks))
        if count == 0 and small == "mean":
            return steps.spectral.mean(blocks)
        return _join(steps.spectral.svds(blocks, count), variant, guard)

    return steps.spectral.matrixwise(deltas, weights, span, join, matrices=matrices, split=split_qkv).mul_(scale)


def _join(parts: list[Factors], variant: str, guard: bool) -> Tensor:
    """The merged matrix (m, n) of T truncated decompositions."""
    if guard:
        parts = [x.above(steps.spectral.noise(x.s, (len(x.u), x.vt.shape[1]))) for x in parts]
    whole = steps.spectral.joined(parts)
    if variant == "sum":
        return whole.product()
    eigen = variant == "eigen"
    u = steps.spectral.polar(whole.u, guard=guard, eigen=eigen)  # (m, sum k)
    vt = steps.spectral.polar(whole.vt, guard=guard, eigen=eigen)  # (sum k, n)
    return (u * whole.s) @ vt


def _compress_effective(coefficients: np.ndarray, params: Mapping[str, Value], names: Sequence[str] = ()) -> np.ndarray:
    """(T, G) estimated factors: the energy that is kept of the chosen expert, nothing of the others."""
    row = names.index(str(params["task"])) if params["task"] in names else 0
    rank = float(params["rank"])
    shares = np.full(coefficients.shape[1], rank) if rank > 0 else 1 / spectral.heard_count(coefficients)
    factors = np.zeros(coefficients.shape)
    factors[row] = coefficients[row] * [spectral.kept_energy(float(x)) for x in shares] * float(params["scale"])
    return factors


@merge_method(
    id="tsv_c",
    title="TSV-C",
    family="spectral",
    summary="Restores one task from its largest singular vectors.",
    paper="Gargiulo et al. 2025, Task Singular Vectors (TSV-Compress)",
    space="delta",
    scope="tensor",
    params=[
        Param("task", "", help="The expert whose task is restored.", role="expert"),
        RANK,
        spectral.SCALE,
        Param("small", "whole", help="What becomes of matrices smaller than T.", choices=("whole", "zero")),
        spectral.matrices("all"),
        spectral.SPLIT,
    ],
    live="full",
    reproducibility="B",
    coefficient_help="Scales the restored task vector of the expert.",
    help=HELP_COMPRESS,
    effective=_compress_effective,
)
def tsv_c(
    deltas: Sequence[Tensor],
    weights: Sequence[float],
    *,
    task: str,
    rank: float,
    scale: float,
    small: str,
    matrices: str,
    split_qkv: bool,
    span: Span,
) -> Tensor:
    """U_k diag(s_k) V_k^T of one task.

    Args:
        deltas: T task vectors of any shape.
        weights: T coefficients.
        task: Name of the expert to restore; "" is the first.
        rank: Share of the singular values that is kept; 0 is 1/T.
        scale: Common factor.
        small: What matrices smaller than T become: "whole" or "zero".
        matrices: Which tensors are decomposed.
        split_qkv: Whether fused matrices are split.
        span: Names of the experts, name and shape of the tensor.

    Returns:
        The restored task vector, in the same shape.

    Raises:
        OutOfRange: if no expert that is heard has this name.
    """
    chosen = span.place(task)
    delta, factor = deltas[chosen], weights[chosen] * scale
    if factor == 0 or not steps.spectral.is_matrix(span.tensor, span.shape, matrices):
        return delta * factor
    experts = sum(w != 0 for w in weights)

    def compress(blocks: list[Tensor]) -> Tensor:
        count = kept(min(blocks[0].shape), rank, experts)
        if count == 0 and small == "whole":
            return blocks[0].clone()
        return steps.spectral.svds(blocks, count)[0].product()

    return steps.spectral.blockwise([delta], span.tensor, split_qkv, compress).mul_(factor)
