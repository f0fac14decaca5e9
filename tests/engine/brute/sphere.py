"""Spherical methods (spec, 2.3 to 2.7)."""

from __future__ import annotations

import numpy as np

from tests.engine.brute.kit import Array, Arrays


def slerp(a: Array, b: Array, t: float) -> Array:
    na, nb = np.linalg.norm(a), np.linalg.norm(b)
    ua, ub = a / na if na > 1e-8 else a, b / nb if nb > 1e-8 else b
    c = float((ua * ub).sum())
    if abs(c) > 0.9995:
        return (1 - t) * a + t * b
    w = np.arccos(c)
    return (np.sin((1 - t) * w) * a + np.sin(t * w) * b) / np.sin(w)


def nuslerp_vectors(a: Array, b: Array, t: float) -> Array:
    """Along the last dimension of (r, c)."""
    ua, ub = (x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-7) for x in (a, b))
    c = np.clip((ua * ub).sum(-1, keepdims=True), -1, 1)
    near = 1 - c**2 <= 1e-14  # the spec's 1e-16 is below rounding
    w = np.arccos(c)
    s = np.where(near, 1, np.sin(w))
    return np.where(near, (1 - t) * a + t * b, (np.sin((1 - t) * w) * a + np.sin(t * w) * b) / s)


def nuslerp(a: Array, b: Array, t: float, vectors: str) -> Array:
    if not a.size:
        return a
    if vectors == "tensor" or a.ndim == 0:
        return nuslerp_vectors(a.reshape(1, -1), b.reshape(1, -1), t).reshape(a.shape)
    if vectors == "rows" or a.ndim == 1:
        return nuslerp_vectors(a, b, t)
    return np.moveaxis(nuslerp_vectors(np.moveaxis(a, 0, -1), np.moveaxis(b, 0, -1), t), -1, 0)


def multislerp(xs: list[Array], c: list[float], normalise: bool = True) -> Array:
    w = np.array(c) / (sum(c) if normalise else 1)
    flat = [x.reshape(-1) for x in xs]
    units = [x / (np.linalg.norm(x) + 1e-8) for x in flat]
    m = sum(v * u for v, u in zip(w, units, strict=True))
    if np.linalg.norm(m) < 1e-7 * np.abs(w).sum():  # 1e-8 in the spec, where float32 rounds smaller ones to 0
        return sum(v * x for v, x in zip(w, xs, strict=True))
    m = m / np.linalg.norm(m)
    v = sum(k * (u - (u @ m) * m) for k, u in zip(w, units, strict=True))
    nu = np.linalg.norm(v) + 1e-8
    y = m * np.cos(nu) + v * np.sin(nu) / nu
    return (y * sum(k * np.linalg.norm(x) for k, x in zip(w, flat, strict=True))).reshape(xs[0].shape)


def karcher(xs: list[Array], c: list[float], rounds: int = 10, tolerance: float = 1e-5) -> Array:
    w = np.array(c) / sum(c)
    flat = [x.reshape(-1) for x in xs]
    norms = [float(np.linalg.norm(x)) for x in flat]
    valid = [(k, x / n) for k, x, n in zip(w, flat, norms, strict=True) if n > tolerance]
    if not valid:
        return 0 * xs[0]
    share = sum(k for k, _ in valid)
    valid = [(k / share, u) for k, u in valid]
    m = sum(k * u for k, u in valid)
    m = valid[0][1] if np.linalg.norm(m) < tolerance else m / np.linalg.norm(m)
    for _ in range(rounds):
        v = 0 * m
        for k, u in valid:
            c0 = np.clip(m @ u, -1, 1)
            angle = np.arccos(c0)
            if angle >= 1e-5 and np.sin(angle) > 0:
                v = v + k * angle / np.sin(angle) * (u - c0 * m)
        size = np.linalg.norm(v)
        if size < tolerance:
            break
        m = np.cos(size) * m + np.sin(size) * v / size
        m = m / np.linalg.norm(m)
    return (m * sum(k * n for k, n in zip(w, norms, strict=True))).reshape(xs[0].shape)


def stock_ratio(rows: list[Array], variant: str) -> float:
    n = len(rows)
    cosines = []
    for i in range(n):
        for j in range(i):
            size = np.linalg.norm(rows[i]) * np.linalg.norm(rows[j])
            dot = rows[i] @ rows[j]
            if variant == "exact":
                cosines.append(dot / size if size else 0.0)
            elif variant == "mergekit":
                cosines.append(np.clip(dot / max(size, 1e-6), -1, 1))
            else:
                cosines.append(np.clip(dot / (size + 1e-8), -1, 1))
    cos = float(np.cos(np.mean(np.arccos(cosines)))) if variant == "fusion_bench" else float(np.mean(cosines))
    cos = min(max(cos, -1), 1)
    below = 1 + (n - 1) * cos
    return 0.0 if abs(below) < 1e-6 else n * cos / below


def model_stock(taus: list[Arrays], c: list[float], filter_wise: bool = False, variant: str = "exact",
                clamp: bool = True) -> Arrays:  # fmt: skip
    out = {}
    for name, first in taus[0].items():
        acc = np.zeros(first.size)
        width = (first.shape[-1] if first.ndim > 1 and filter_wise else first.size) or 1
        for start in range(0, first.size, width):
            part = slice(start, start + width)
            rows = [t[name].reshape(-1)[part] for t in taus]
            t = stock_ratio(rows, variant)
            t = min(max(t, 0), 1) if clamp else t
            acc[part] = t * sum(w * r for w, r in zip(c, rows, strict=True)) / len(rows)
        out[name] = acc.reshape(first.shape)
    return out
