"""Models for the cross-checks, and the comparison with our kernels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.engine.memory_view import merge

Array = np.ndarray[Any, Any]
Arrays = dict[str, Array]
SHAPES: dict[str, tuple[int, ...]] = {
    "a.weight": (7, 11), "b.bias": (13,), "c.scalar": (), "d.empty": (0, 3), "e.row": (1, 9), "f.conv": (3, 2, 2, 3),
    "g.column": (6, 1), "h.zero.bias": (5,)}  # fmt: skip
KINDS = ("plain", "ties", "zero", "cancel", "f64", "tiny")


def models(kind: str, experts: int, seed: int = 0, shapes: Mapping[str, tuple[int, ...]] = SHAPES) -> list[Any]:
    """A base and experts as torch states; `kind` says what is odd about them."""
    made = np.random.default_rng(seed + 17 * experts)
    base = {n: made.normal(0, 1, s) for n, s in shapes.items()}
    base = {n: x * 0 if "zero" in n else x for n, x in base.items()}
    step = {"tiny": 1e-4}.get(kind, 0.3)
    deltas = [{n: made.normal(0, step * (1 + t), s) for n, s in shapes.items()} for t in range(experts)]
    if kind == "ties":
        base = {n: np.round(x * 16) / 16 for n, x in base.items()}
        deltas = [{n: np.round(x * 6) / 16 for n, x in d.items()} for d in deltas]
    if kind == "zero":
        deltas[-1] = {n: x * 0 for n, x in deltas[-1].items()}
    if kind == "cancel" and experts > 1:
        base = {n: np.round(x * 256) / 256 for n, x in base.items()}
        deltas = [{n: np.round(x * 256) / 256 for n, x in d.items()} for d in deltas]
        deltas[1] = {n: -x for n, x in deltas[0].items()}
    states = [base, *({n: base[n] + d[n] for n in base} for d in deltas)]
    dtype = torch.float64 if kind == "f64" else torch.float32
    made_of = [{n: torch.tensor(np.asarray(x), dtype=dtype) for n, x in s.items()} for s in states]
    return [{n: x.to(torch.bfloat16).to(dtype) for n, x in s.items()} for s in made_of] if kind == "bf16" else made_of


def plain(state: Mapping[str, Tensor]) -> Arrays:
    """The same numbers in numpy's float64."""
    return {n: x.double().numpy() for n, x in state.items()}


def task_vectors(base: Mapping[str, Tensor], experts: Sequence[Mapping[str, Tensor]]) -> list[Arrays]:
    """Differences in the files' own precision, then in float64."""
    return [plain({n: e[n] - base[n] for n in base}) for e in experts]


def flat(state: Mapping[str, Array]) -> Array:
    """All tensors in one row."""
    return np.concatenate([np.asarray(x).reshape(-1) for x in state.values()])


def unflat(row: Array, like: Mapping[str, Array]) -> Arrays:
    """The row in tensors again."""
    out, at = {}, 0
    for name, x in like.items():
        out[name] = row[at : at + x.size].reshape(x.shape)
        at += x.size
    return out


def error(got: Mapping[str, Tensor], want: Mapping[str, Array]) -> float:
    """Largest difference, relative to the largest magnitude of the tensor (at least 1e-3)."""
    worst = 0.0
    for name, x in got.items():
        assert tuple(x.shape) == np.shape(want[name]), name
        if not x.numel():
            continue
        assert torch.isfinite(x).all(), f"{name} is not finite"
        size = max(float(np.abs(want[name]).max()), 1e-3)
        worst = max(worst, float(np.abs(x.double().numpy() - want[name]).max()) / size)
    return worst


def delta_error(
    brute: Callable[..., Arrays], method: str, kind: str, coefficients: Sequence[float], params: Mapping[str, Any],
    hidden: Mapping[str, Any] | None = None,
) -> float:  # fmt: skip
    """How far our merge is from base + brute(task vectors, coefficients, **params)."""
    base, *experts = models(kind, len(coefficients))
    got = merge(method, base, experts, coefficients, params)
    delta = brute(task_vectors(base, experts), list(coefficients), **params, **(hidden or {}))
    return error(got, {n: x + delta[n] for n, x in plain(base).items()})
