"""Trimming, dropping and electing (spec, 3 to 5 and 8)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests.engine.brute.kit import Array, Arrays, flat, unflat

Mask = Callable[[str, int, Array], Array]
"""(tensor, expert, chances) -> 1 kept, 0 dropped."""


def largest(x: Array, count: int) -> Array:
    """Mask of the `count` largest magnitudes and of those that tie with the smallest of them."""
    size = np.abs(x)
    if count <= 0:
        return np.zeros(x.shape, bool)
    if count >= x.size:
        return np.ones(x.shape, bool)
    return size >= np.sort(size, axis=None)[x.size - count]


def trim_mask(row: Array, trim: str, density: float, deviations: float) -> Array:
    """Mask of what one ranking keeps."""
    if trim == "std":
        return np.abs(row - row.mean()) > deviations * row.std(ddof=1) if row.size > 1 else np.zeros(row.shape, bool)
    if density >= 1:
        return np.ones(row.shape, bool)
    if density <= 0:
        return np.zeros(row.shape, bool)
    if trim == "topk":
        return largest(row, int(row.size * density) + 1)
    if trim == "count":
        return largest(row, max(1, int(row.size * density)))
    squares = np.sort(row**2, axis=None)[::-1]
    run = np.cumsum(squares)
    enough = np.flatnonzero(run >= density * run[-1])
    return row**2 >= squares[enough[0]] if run.size and run[-1] > 0 else np.ones(row.shape, bool)


def trimmed(tau: Arrays, trim: str, scope: str, density: float, deviations: float) -> Arrays:
    if scope == "global":
        row = flat(tau)
        return unflat(row * trim_mask(row, trim, density, deviations), tau)
    return {n: x * trim_mask(x, trim, density, deviations) if x.size else x for n, x in tau.items()}


def elected(rows: list[Array], elect: str, zero_sum: str) -> Array | None:
    if elect == "none":
        return None
    stack = np.stack(rows)
    norms = [max((r**2).sum(), 1e-300) for r in rows]
    parts = np.stack([r**2 / n for r, n in zip(rows, norms, strict=True)])
    if elect == "mass":
        sign = np.sign(stack.sum(0))
    elif elect == "normmass":
        sign = np.sign((np.sign(stack) * parts).sum(0))
    else:
        sign = np.sign(np.take_along_axis(stack, parts.argmax(0)[None], 0)[0])
    majority = 1.0 if zero_sum == "positive" else np.sign(sign.sum())
    return np.where(sign == 0, majority, sign)


def combined(rows: list[Array], c: list[float], sign: Array | None, merge: str) -> Array:
    stack = np.stack(rows)
    if merge.startswith("all-"):
        how = merge[4:]
        if how == "mean":
            found = stack.mean(0)
        elif how == "sum":
            found = stack.sum(0)
        elif how == "median":
            found = np.sort(stack, 0)[(len(rows) - 1) // 2]
        else:
            found = np.take_along_axis(stack, np.abs(stack).argmax(0)[None], 0)[0]
        return found if sign is None else np.abs(found) * sign
    agree = stack != 0 if sign is None else np.where(sign > 0, stack > 0, stack < 0)
    kept = stack * agree
    if merge == "max":
        if sign is None:
            return np.take_along_axis(kept, np.abs(kept).argmax(0)[None], 0)[0]
        return np.abs(kept).max(0) * sign
    if merge == "sum":
        return kept.sum(0)
    if merge == "mean":
        return kept.sum(0) / np.maximum(agree.sum(0), 1)
    below = (agree * np.reshape(c, (-1, *[1] * (stack.ndim - 1)))).sum(0)
    return kept.sum(0) / np.where(np.abs(below) < 1e-8, 1, below)


def ties(taus: list[Arrays], c: list[float], density: float = 0.2, scale: float = 1.0, trim: str = "topk",
         trim_scope: str = "global", elect: str = "mass", merge: str = "mean", deviations: float = 1.0,
         zero_sum: str = "majority", rescale: bool = False) -> Arrays:  # fmt: skip
    cut = [trimmed(t, trim, trim_scope, density, deviations) for t in taus]
    if rescale:
        cut = [{n: x * (np.abs(t[n]).sum() / np.abs(x).sum() if np.abs(x).sum() else 1) for n, x in k.items()}
               for t, k in zip(taus, cut, strict=True)]  # fmt: skip
    groups = [list(taus[0])] if trim_scope == "global" else [[n] for n in taus[0]]
    out: Arrays = {}
    for names in groups:
        rows = [w * flat({n: k[n] for n in names}) for w, k in zip(c, cut, strict=True)]
        found = combined(rows, c, elected(rows, elect, zero_sum), merge) if rows[0].size else rows[0]
        out |= unflat(scale * found, {n: taus[0][n] for n in names})
    return out


def regrown(tau: Arrays, thin: Arrays) -> Arrays:
    """Former L1 norms."""
    return {n: x * (np.abs(tau[n]).sum() / np.abs(x).sum() if np.abs(x).sum() else 1) for n, x in thin.items()}


def dare(taus: list[Arrays], c: list[float], mask: Mask, density: float = 0.5, rescale: bool = True,
         rescale_by: str = "density", scale: float = 0.3,
         ties_with: dict[str, object] | None = None) -> Arrays:  # fmt: skip
    thin = [{n: x * mask(n, t, np.full(x.shape, density)) for n, x in tau.items()} for t, tau in enumerate(taus)]
    if rescale and rescale_by == "density":
        thin = [{n: x / density if density else x for n, x in k.items()} for k in thin]
    if rescale and rescale_by == "l1":
        thin = [regrown(tau, k) for tau, k in zip(taus, thin, strict=True)]
    if ties_with is not None:
        return ties(thin, c, scale=scale, **ties_with)
    return {n: scale * sum(w * k[n] for w, k in zip(c, thin, strict=True)) for n in taus[0]}


def chances(x: Array, density: float, epsilon: float, ranks: str) -> Array:
    """Keep probabilities of one tensor; a row is one output."""
    rows = x.reshape(1, -1) if ranks == "layer" or x.ndim < 2 else x.reshape(x.shape[0], -1)
    size, n = np.abs(rows), rows.shape[1]
    if ranks == "norank":
        low, high = size.min(1, keepdims=True), size.max(1, keepdims=True)
        place = (size - low) / (high - low + 1e-7)
    else:
        order = np.argsort(size, 1, kind="stable")
        place = np.empty(rows.shape)
        np.put_along_axis(
            place, order, np.broadcast_to(np.arange(n) / (n - 1) if n > 1 else [0.5], rows.shape).copy(), 1
        )
    return (density - epsilon + 2 * epsilon * place).reshape(x.shape)


def della(taus: list[Arrays], c: list[float], mask: Mask, density: float = 0.7, epsilon: float = 0.07,
          ranks: str = "row", rescale: str = "chance", scale: float = 1.0, merge: str = "weighted",
          linear: bool = False) -> Arrays:  # fmt: skip
    thin: list[Arrays] = []
    for t, tau in enumerate(taus):
        part = {}
        for n, x in tau.items():
            if not x.size or density in (0, 1):
                part[n] = x * density
                continue
            p = chances(x, density, epsilon, ranks)
            part[n] = x * mask(n, t, p) / (p if rescale == "chance" else 1)
        thin.append(regrown(tau, part) if rescale == "l1" else part)
    if linear:
        return {n: scale * sum(w * k[n] for w, k in zip(c, thin, strict=True)) for n in taus[0]}
    rows = [w * flat(k) for w, k in zip(c, thin, strict=True)]
    return unflat(scale * combined(rows, c, elected(rows, "mass", "positive"), merge), taus[0])


def middle(x: Array, density: float, gamma: float, ranks: str, remove_first: bool) -> Array:
    """Mask of Breadcrumbs; ties with the smallest or the largest kept are kept (ours, not the authors')."""
    if ranks == "row":
        if x.ndim == 0:
            return np.ones(x.shape, bool)
        rows = np.abs(x).reshape(-1, x.shape[-1])
        n = x.shape[-1]
        if remove_first:
            low, high = int(n * gamma), int(n * gamma) + int(n * density)
        else:
            low, high = int(n * gamma), int(n * density)
        return np.stack([between(r, low, min(high, n)) for r in rows]).reshape(x.shape) if rows.size else x != x
    n = x.size
    target, top = int(density * n), int(gamma * n)
    bottom = max(0, n - target - top)
    return between(np.abs(x).reshape(-1), n - min(bottom + target, n), n - bottom).reshape(x.shape)


def between(size: Array, low: int, high: int) -> Array:
    """Mask of the ranks low <= r < high, counted from the largest, with everything that ties with an end."""
    if high <= low:
        return np.zeros(size.shape, bool)
    ranked = np.sort(size)[::-1]
    return (size <= ranked[low]) & (size >= ranked[high - 1])


def breadcrumbs(taus: list[Arrays], c: list[float], density: float = 0.15, gamma: float = 0.007, ranks: str = "row",
                remove_first: bool = True, rescale: bool = False, scale: float = 0.3,
                merge: str = "") -> Arrays:  # fmt: skip
    kept = [{n: x * middle(x, density, gamma, ranks, remove_first) if x.size else x for n, x in t.items()}
            for t in taus]  # fmt: skip
    if rescale:
        kept = [regrown(t, k) for t, k in zip(taus, kept, strict=True)]
    if not merge:
        return {n: scale * sum(w * k[n] for w, k in zip(c, kept, strict=True)) for n in taus[0]}
    rows = [w * flat(k) for w, k in zip(c, kept, strict=True)]
    return unflat(scale * combined(rows, c, elected(rows, "mass", "positive"), merge), taus[0])


def magnitude_prune(taus: list[Arrays], c: list[float], density: float = 0.2, trim_scope: str = "model",
                    rescale: str = "none", scale: float = 0.3) -> Arrays:  # fmt: skip
    how = ("topk", "global") if trim_scope == "model" else ("count", "tensor")
    out = {n: 0 * x for n, x in taus[0].items()}
    for w, tau in zip(c, taus, strict=True):
        for n, k in trimmed(tau, *how, density, 1.0).items():
            norm: dict[str, Callable[[Array], float]] = {
                "l1": lambda x: float(np.abs(x).sum()), "l2": lambda x: float(np.linalg.norm(x)),
                "linf": lambda x: float(np.abs(x).max(initial=0)), "none": lambda _: 1.0}  # fmt: skip
            grow = 1 / density if rescale == "density" and density else 1.0
            if rescale in norm and norm[rescale](k):
                grow = norm[rescale](tau[n]) / norm[rescale](k)
            out[n] = out[n] + scale * w * grow * k
    return out


def magnitude_mask(taus: list[Arrays], c: list[float], task: str = "e0", density: float = 0.1,
                   scale: float = 1.0) -> Arrays:  # fmt: skip
    total = sum(w * flat(t) for w, t in zip(c, taus, strict=True))
    return unflat(scale * total * trim_mask(flat(taus[int(task[1:])]), "topk", density, 1.0), taus[0])


def localize(taus: list[Arrays], c: list[float], density: float = 0.05, scale: float = 1.0) -> Arrays:
    rows = [flat(t) for t in taus]
    masks = []
    for row in rows:
        k = int(density * row.size)
        if density >= 1:
            masks.append(row != 0)
        else:
            masks.append(np.abs(row) > np.sort(np.abs(row))[row.size - k] if k else np.zeros(row.shape, bool))
    n = np.maximum(sum(m.astype(int) for m in masks), 1)
    return unflat(scale * sum(w * m * r for w, m, r in zip(c, masks, rows, strict=True)) / n, taus[0])


def sce(taus: list[Arrays], c: list[float], density: float = 1.0, uniform_floor: bool = True,
        scale: float = 1.0) -> Arrays:  # fmt: skip
    out = {}
    for n, first in taus[0].items():
        x = np.stack([w * t[n] for w, t in zip(c, taus, strict=True)])
        if density < 1 and first.size:
            var = np.round(x.var(0), 12)
            x = x * (largest(var, int((var != 0).sum() * density)) & (var > 0))
        energy = (x**2).reshape(len(c), -1).mean(1) if first.size else np.zeros(len(c))
        total = energy.sum()
        w = np.full(len(c), 1 / len(c)) if (uniform_floor and total < 1e-6) or not total else energy / total
        sign = np.where(x.sum(0) >= 0, 1, -1)
        agree = np.sign(x) == sign
        wide = w.reshape(-1, *[1] * first.ndim)
        below = (wide * agree).sum(0)
        out[n] = scale * (wide * agree * x).sum(0) / np.maximum(below, 1e-6)
    return out
