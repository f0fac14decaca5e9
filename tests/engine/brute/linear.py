"""Linear methods and element-wise baselines (spec, 2.1, 2.2, 2.8, 8)."""

from __future__ import annotations

import numpy as np

from tests.engine.brute.kit import Array, Arrays, flat


def total(taus: list[Arrays], c: list[float]) -> Arrays:
    return {n: sum((w * t[n] for w, t in zip(c, taus, strict=True)), 0 * taus[0][n]) for n in taus[0]}


def task_arithmetic(taus: list[Arrays], c: list[float], scale: float = 0.3) -> Arrays:
    return {n: scale * x for n, x in total(taus, c).items()}


def negation(taus: list[Arrays], c: list[float], scale: float = 0.3) -> Arrays:
    return {n: -scale * x for n, x in total(taus, c).items()}


def analogy(taus: list[Arrays], c: list[float], subtract: str = "e0", scale: float = 0.3) -> Arrays:
    signs = [-w if f"e{t}" == subtract else w for t, w in enumerate(c)]
    return {n: scale * x for n, x in total(taus, signs).items()}


def metagpt(taus: list[Arrays], c: list[float], norm_scope: str = "model") -> Arrays:
    out = {}
    for n in taus[0]:
        parts = [flat(t) if norm_scope == "model" else t[n] for t in taus]
        squares = np.array([(p**2).sum() for p in parts])
        shares = squares / squares.sum() if squares.sum() else squares
        out[n] = sum((w * s * t[n] for w, s, t in zip(c, shares, taus, strict=True)), 0 * taus[0][n])
    return out


def nearswap(taus: list[Arrays], c: list[float], reach: float = 1e-4) -> Arrays:
    tau = taus[0]
    return {n: c[0] * np.clip(reach / np.maximum(np.abs(x), 1e-6), 0, 1) * x for n, x in tau.items()}


def magmax(taus: list[Arrays], c: list[float], scale: float = 0.5) -> Arrays:
    out = {}
    for n in taus[0]:
        best = c[0] * taus[0][n]
        for w, t in list(zip(c, taus, strict=True))[1:]:
            best = np.where(np.abs(w * t[n]) >= np.abs(best), w * t[n], best)
        out[n] = scale * best
    return out


def linear(base: Arrays, experts: list[Arrays], c: list[float], normalise: bool = True) -> Arrays:
    if not any(c):
        return base
    return {n: x / sum(c) if normalise else x for n, x in total(experts, c).items()}


def median(base: Arrays, experts: list[Arrays], c: list[float]) -> Arrays:
    """The lower median; with weights the smallest value that reaches half of them."""
    out = {}
    for n in base:
        stack = np.stack([e[n] for e in experts]).reshape(len(c), -1)
        row = base[n].reshape(-1).copy()
        for j in range(row.size):
            heard = sorted((v, w) for v, w in zip(stack[:, j], c, strict=True) if w > 0)
            reached = 0.0
            for v, w in heard:
                reached += w
                if reached >= sum(w for _, w in heard) / 2:
                    row[j] = v
                    break
        out[n] = row.reshape(base[n].shape)
    return out


def magnitude(base: Arrays, experts: list[Arrays], c: list[float]) -> Arrays:
    """The whole weight of largest magnitude; positive where signs differ at equal magnitudes."""
    out = {}
    for n in base:
        best, held = np.full(base[n].shape, -1.0), base[n].copy()
        for w, e in zip(c, experts, strict=True):
            if w == 0:
                continue
            size = np.abs(w * e[n])
            wins = (size > best) | ((size == best) & (e[n] > held))
            held, best = np.where(wins, e[n], held), np.maximum(best, size)
        out[n] = held
    return out


def ram(taus: list[Arrays], c: list[float], epsilon: float = 1e-5, scale: float = 1.0, plus: bool = False,
        r: float = 0.1, alpha: float = 0.2, counts: str = "tensor") -> Arrays:  # fmt: skip
    taus, c = [t for t, w in zip(taus, c, strict=True) if w] or taus[:1], [w for w in c if w] or [0.0]
    touched = [{n: np.abs(x) > epsilon for n, x in t.items()} for t in taus]
    n_touch = {n: sum(m[n].astype(int) for m in touched) for n in taus[0]}
    out = {}
    for n in taus[0]:
        acc = 0 * taus[0][n]
        for w, t, m in zip(c, taus, touched, strict=True):
            names = list(taus[0]) if counts == "model" else [n]
            unique = sum(int((m[k] & (n_touch[k] == 1)).sum()) for k in names)
            shared = sum(int((m[k] & (n_touch[k] > 1)).sum()) for k in names)
            grow = 1 + r * np.clip(shared / unique, 0, alpha) if plus and unique else 1.0
            acc = acc + np.where(m[n], np.where(n_touch[n] == 1, grow, 1 / np.maximum(n_touch[n], 1)) * w * t[n], 0)
        out[n] = scale * acc
    return out


def tatr(taus: list[Arrays], c: list[float], trust: float = 0.99, scale: float = 0.3) -> Arrays:
    sizes = [{n: np.abs(x) for n, x in t.items()} for t in taus]
    omega = {n: sum((s[n] * u[n] for i, s in enumerate(sizes) for j, u in enumerate(sizes) if i != j), 0 * taus[0][n])
             for n in taus[0]}  # fmt: skip
    every = np.sort(flat(omega))
    limit = every[int(every.size * trust)] if trust < 1 else np.inf
    return {n: scale * np.where((omega[n] < limit) | (omega[n] == 0), x, 0) for n, x in total(taus, c).items()}


def arcee(base: Array, tau: Array, deviation: float = 1.5) -> Array:
    """Which elements of one tensor are taken over (1-D: one row)."""
    a, b = (x.reshape(-1, x.shape[-1]) if x.ndim else x.reshape(1, 1) for x in (base, base + tau))
    p, q = (np.exp(x - x.max(1, keepdims=True)) for x in (a, b))
    p, q = p / p.sum(1, keepdims=True), q / q.sum(1, keepdims=True)
    kl = (q * (np.log(q + 1e-8) - np.log(p + 1e-8))).sum(1, keepdims=True)
    importance = (np.abs(b - a) * kl).reshape(-1)
    ranks = np.sort(importance)
    low, mid, high = (ranks[int(f * (ranks.size - 1))] for f in (0.25, 0.5, 0.75))
    return importance.reshape(np.shape(base)) >= mid + deviation * (high - low)
