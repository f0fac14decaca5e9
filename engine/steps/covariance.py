"""Merging as regression without data: the task vectors themselves stand in for the covariance of the inputs.

WUDI, ACTMat and ACE. All work on T matrices D_t (m, n), one row for every output.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log, sqrt
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from engine.steps.reduce import total
from engine.steps.spectral import svd

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

BETAS = (0.9, 0.999)
"""Decay of Adam's averages, PyTorch's defaults."""

EPSILON = 1e-8
"""Adam's."""

GATE = 0.3
"""ACE calls task vectors heterogeneous above this relative variance of the logarithms of their squared norms."""

TINY = 1e-12

SAFE = 1e-9
"""Least ridge, relative to the trace, that Woodbury's identity divides by."""


def by_norm(matrices: Sequence[Tensor]) -> list[tuple[Tensor, float]]:
    """Every matrix (m, n) that is not 0 and its squared Frobenius norm, summed in float64."""
    sized = [(x, float(x.square().sum(dtype=torch.float64))) for x in matrices]
    return [(x, size) for x, size in sized if size > 0]


# -- WUDI --------------------------------------------------------------------------------------------------------


def descend(matrices: Sequence[Tensor], steps: int, rate: float) -> Tensor:
    """Minimise sum_t |(X - D_t) D_t^T|^2 / |D_t|^2 with Adam from X = sum_t D_t.

    The gradient is 2 sum_t (X - D_t) D_t^T D_t / |D_t|^2 = 2 (X A - C); no graph is kept, and what does not change
    is computed once, unless the matrices are so wide that going through every task is less work.

    Args:
        matrices: T matrices (m, n); they set the dtype of the work.
        steps: Steps of Adam.
        rate: Its learning rate.

    Returns:
        X (m, n).
    """
    x = total(matrices)
    tasks = by_norm(matrices)
    if not tasks:
        return x
    slope = _slope(tasks)
    first, second = torch.zeros_like(x), torch.zeros_like(x)
    for step in range(1, steps + 1):
        g = slope(x)
        first.mul_(BETAS[0]).add_(g * (1 - BETAS[0]))
        second.mul_(BETAS[1]).add_(g.square_().mul_(1 - BETAS[1]))
        length = second.sqrt().div_(sqrt(1 - BETAS[1] ** step)).add_(EPSILON)
        x -= first.div(length).mul_(rate / (1 - BETAS[0] ** step))
    return x


def _slope(tasks: Sequence[tuple[Tensor, float]]) -> Callable[[Tensor], Tensor]:
    """The gradient at X of sum_t |(X - D_t) D_t^T|^2 / |D_t|^2, for T matrices (m, n) and their squared norms."""
    m, n = tasks[0][0].shape
    if n <= 2 * m * len(tasks):
        pull, goal = _sums([(d.double(), 2 / size) for d, size in tasks])
        narrow, target = pull.to(tasks[0][0].dtype), goal.to(tasks[0][0].dtype)
        return lambda x: x @ narrow - target
    return lambda x: total([((x - d) @ d.mT) @ (d * (2 / size)) for d, size in tasks])


def _sums(tasks: Sequence[tuple[Tensor, float]]) -> tuple[Tensor, Tensor]:
    """sum_t w_t D_t^T D_t (n, n) and sum_t w_t D_t D_t^T D_t (m, n) of T matrices and their weights."""
    first, weight = tasks[0]
    pull = (first * weight).mT @ first
    goal = first @ pull
    for d, w in tasks[1:]:
        one = (d * w).mT @ d
        pull += one
        goal += d @ one
    return pull, goal


def solve(matrices: Sequence[Tensor], ridge: float, *, normed: bool) -> Tensor:
    """X = (sum_t w_t D_t D_t^T D_t) (sum_t w_t D_t^T D_t + ridge I)^+ with w_t = 1 / |D_t|^2 or 1.

    With all D_t on top of each other, sqrt(w_t) D_t, as E (T m, n), X is G (E E^T + ridge I)^+ E as well as
    G E (E^T E + ridge I)^+; the smaller of the two systems is solved, by eigenvalues in float64.

    Args:
        matrices: T matrices (m, n), float64.
        ridge: Added to the diagonal; 0 is the pseudoinverse.
        normed: Whether to divide by the squared norms (WUDI) or not (ACTMat).

    Returns:
        X (m, n), float64.
    """
    tasks = by_norm(matrices)
    if not tasks:
        return torch.zeros_like(matrices[0])
    roots = [1 / sqrt(size) if normed else 1.0 for _, size in tasks]
    m, n = matrices[0].shape
    if n <= m * len(tasks):
        pull, goal = _sums([(d, r * r) for (d, _), r in zip(tasks, roots, strict=True)])
        return torch.mm(goal, inverse(pull, ridge))
    tall = torch.cat([d * r for (d, _), r in zip(tasks, roots, strict=True)])  # E (T m, n)
    pairs = torch.cat([d @ d.mT * r for (d, _), r in zip(tasks, roots, strict=True)], 1)  # G (m, T m)
    return pairs @ (inverse(tall @ tall.mT, ridge) @ tall)


def inverse(matrix: Tensor, ridge: float = 0.0) -> Tensor:
    """Inverse of a symmetric positive semidefinite matrix (n, n) plus a ridge; the pseudoinverse if that is 0."""
    values, vectors = torch.linalg.eigh(matrix)
    floor = float(values[-1].clamp_min(0)) * matrix.shape[0] * torch.finfo(matrix.dtype).eps
    there = values > floor
    scale = torch.where(there, values + ridge, torch.ones_like(values)).reciprocal().mul_(there)
    return torch.mm(vectors * scale, vectors.mT)


# -- ACE ---------------------------------------------------------------------------------------------------------


def spread(squares: Sequence[float]) -> float:
    """ACE's gate: sample variance of the logarithms of T squared norms over their squared mean; 0 for T < 2."""
    if len(squares) < 2:
        return 0.0
    logs = [log(s + TINY) for s in squares]
    mean = sum(logs) / len(logs)
    return sum((x - mean) ** 2 for x in logs) / (len(logs) - 1) / (mean * mean + TINY)


@dataclass(frozen=True, slots=True)
class Spread:
    """The matrix aI + E^T E (n, n) of ACE and its inverse with 1 c added, without forming them where E is wide.

    Attributes:
        tall: E (k, n).
        ridge: a.
        row: c (1, n), added to every row.
    """

    tall: Tensor
    ridge: float
    row: Tensor

    @property
    def regular(self) -> bool:
        """Whether the ridge is larger than rounding errors."""
        return self.ridge > SAFE * float(self.tall.square().sum())

    @property
    def wide(self) -> bool:
        """Whether the small systems of k equations can be used."""
        k, n = self.tall.shape
        return n > k + 1 and self.regular

    def full(self) -> Tensor:
        """AI + E^T E (n, n)."""
        matrix = self.tall.mT @ self.tall
        matrix.diagonal().add_(self.ridge)
        return matrix

    def times(self, x: Tensor) -> Tensor:
        """X (aI + E^T E): (m, n)."""
        return (x @ self.tall.mT) @ self.tall + x * self.ridge if self.wide else torch.mm(x, self.full())

    def under(self, x: Tensor) -> Tensor:
        """X (aI + E^T E + 1 c)^-1: (m, n); by Woodbury's identity where E is wide."""
        if not self.wide:
            return _divided(x, self.full() + self.row, regular=self.regular)
        left = torch.cat([self.tall.mT, torch.ones_like(self.row).mT], 1)  # (n, k + 1)
        right = torch.cat([self.tall, self.row])  # (k + 1, n)
        small = right @ left
        small.diagonal().add_(self.ridge)
        return (x - _divided(x @ left, small, regular=True) @ right) / self.ridge


def adaptive(matrices: Sequence[Tensor], ridge: float, share: float, gate: float = GATE) -> Tensor:
    """ACE: a ridge regression onto centred task vectors, with a spectral correction if their sizes differ much.

    Args:
        matrices: T matrices (m, n), float64.
        ridge: epsilon; divided by the trace of each covariance if the sizes differ.
        share: Share of the singular values of the correction; at least one.
        gate: Largest `spread` of sizes that count as alike.

    Returns:
        X (m, n), float64.
    """
    squares = [float(d.square().sum()) for d in matrices]
    uneven, whole = spread(squares) > gate, 0.0
    rows, target, own = [], torch.zeros_like(matrices[0]), torch.zeros_like(matrices[0])
    for d in matrices:
        centred = d - d.mean(0, keepdim=True)
        trace = float(centred.square().sum()) + TINY
        loudness, extra = (1 / trace, ridge / trace) if uneven else (1.0, ridge)
        target += _gram(centred, centred) * loudness + centred * extra
        own += _gram(d, centred) * loudness
        rows.append(centred * sqrt(loudness))
        whole += extra
    tall = torch.cat(rows)
    row = tall.mean(1, keepdim=True).mT @ tall  # (1, n): column means of sum_t S_t
    covariance = Spread(tall, whole, row / (sum(squares) / len(squares) + TINY) if uneven else row)
    x = covariance.under(target)
    if not uneven:
        return x
    rest = own - covariance.times(total(matrices)) / len(matrices)
    parts = svd(x + rest)
    parts = parts.top(max(1, int(parts.s.numel() * share)))
    return x + parts.product(parts.s.mean().expand_as(parts.s))


def _gram(d: Tensor, c: Tensor) -> Tensor:
    """D C^T C (m, n), through the smaller of the two products."""
    return (d @ c.mT) @ c if d.shape[0] <= d.shape[1] else d @ (c.mT @ c)


def _divided(target: Tensor, matrix: Tensor, *, regular: bool) -> Tensor:
    """Target (m, n) times the inverse of a matrix (n, n); times the pseudoinverse if it is singular."""
    if regular:
        found: Tensor
        found, failed = torch.linalg.solve_ex(matrix, target, left=False)
        if int(failed) == 0 and bool(torch.isfinite(found).all()):
            return found
    parts = svd(matrix)
    parts = parts.above(float(parts.s[0]) * matrix.shape[0] * torch.finfo(matrix.dtype).eps)
    return torch.mm((target @ parts.vt.mT) / parts.s, parts.u.mT)
