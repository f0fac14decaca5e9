"""Spectral methods on one matrix (spec, 10 and 8): plain singular value decompositions in float64."""

from __future__ import annotations

import numpy as np

from tests.engine.brute.kit import Array


def svd(x: Array) -> tuple[Array, Array, Array]:
    return np.linalg.svd(x, full_matrices=False)


def polar(x: Array) -> Array:
    u, _, v = svd(x)
    return u @ v


def tsv_m(ds: list[Array], variant: str = "svd", rank: float = 0.0) -> Array:
    r = min(ds[0].shape)
    k = r if variant == "lossless" else int(r * (rank or 1 / len(ds)))
    parts = [svd(d) for d in ds]
    if variant == "sum":
        return np.sum([u[:, :k] * s[:k] @ v[:k] for u, s, v in parts], 0)
    u = polar(np.hstack([u[:, :k] for u, _, _ in parts]))
    v = polar(np.vstack([v[:k] for _, _, v in parts]))
    return u * np.concatenate([s[:k] for _, s, _ in parts]) @ v


def tsv_c(d: Array, count: int, rank: float = 0.0) -> Array:
    u, s, v = svd(d)
    k = int(min(d.shape) * (rank or 1 / count))
    return u[:, :k] * s[:k] @ v[:k]


def iso_c(ds: list[Array]) -> Array:
    u, s, v = svd(np.sum(ds, 0))
    return s.mean() * u @ v


def iso_cts(ds: list[Array], common: float = 0.8) -> Array:
    total, count = np.sum(ds, 0), len(ds)
    r = min(total.shape)
    spec = round((r - int(r * common)) / count) * count
    c, k = r - spec, spec // count
    u, s, v = svd(total)
    us, ss, vs = [], [], []
    for d in ds:
        a, b, w = svd(d - u[:, :c] @ (u[:, :c].T @ d))
        us.append(a[:, :k])
        ss.append(b[:k])
        vs.append(w[:k])
    left, right = polar(np.hstack([*us, u[:, :c]])), polar(np.vstack([*vs, v[:c]]))
    return np.concatenate([*ss, s[:c]]).mean() * left @ right


def star(ds: list[Array], eta: float = 0.4) -> Array:
    out = 0 * ds[0]
    for d in ds:
        u, s, v = svd(d)
        run = np.cumsum(s)
        q = min(int(np.searchsorted(run, eta * run[-1])) + 1, s.size)
        out = out + u[:, :q] * (s[:q] * run[-1] / s[:q].sum()) @ v[:q]
    return out / len(ds)


def cart(ds: list[Array], rank: float = 0.08, scale: float = 1.0) -> Array:
    mean = np.mean(ds, 0)
    q = max(1, int(min(mean.shape) * rank))
    out = mean.copy()
    for d in ds:
        u, s, v = svd(d - mean)
        out = out + scale * u[:, :q] * s[:q] @ v[:q]
    return out


def knots_tv(ds: list[Array]) -> Array:
    """Untrimmed and summed: task arithmetic."""
    return np.sum(ds, 0)


def knots_ties(ds: list[Array], density: float, merge: str = "mean") -> Array:
    """One matrix; all signs free per singular direction, so the election does not depend on them."""
    u, s, v = svd(np.hstack(ds))
    keep = s > 1e-5
    u, s, v = u[:, keep], s[keep], v[keep]
    n = ds[0].shape[1]
    coords = [s[:, None] * v[:, t * n : (t + 1) * n] for t in range(len(ds))]
    cut = []
    for x in coords:
        k = min(int(x.size * density) + 1, x.size)
        cut.append(np.where(np.abs(x) >= np.sort(np.abs(x), axis=None)[x.size - k], x, 0) if density < 1 else x)
    stack = np.stack(cut)
    sign = np.sign(stack.sum(0))
    agree = np.where(sign > 0, stack > 0, stack < 0)
    kept = stack * agree
    if merge == "max":
        return u @ (np.abs(kept).max(0) * sign)
    return u @ (kept.sum(0) / (np.maximum(agree.sum(0), 1) if merge == "mean" else 1))


def wudi_closed(ds: list[Array], ridge: float = 1e-8) -> Array:
    a = sum(d.T @ d / (d**2).sum() for d in ds)
    c = sum(d @ d.T @ d / (d**2).sum() for d in ds)
    return c @ np.linalg.inv(a + ridge * np.eye(len(a)))


def wudi_adam(ds: list[Array], steps: int, rate: float) -> Array:
    x = np.sum(ds, 0)
    m, v = 0 * x, 0 * x
    for i in range(1, steps + 1):
        g = sum(2 * (x - d) @ d.T @ d / (d**2).sum() for d in ds)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        x = x - rate * (m / (1 - 0.9**i)) / (np.sqrt(v / (1 - 0.999**i)) + 1e-8)
    return x


def actmat(ds: list[Array]) -> Array:
    return sum(d @ d.T @ d for d in ds) @ np.linalg.pinv(sum(d.T @ d for d in ds))


def ace(ds: list[Array], ridge: float = 0.01, share: float = 0.3, gate: float = 0.3) -> Array:
    traces = np.array([(d**2).sum() for d in ds])
    logs, n, count = np.log(traces + 1e-12), ds[0].shape[1], len(ds)
    het = count > 1 and logs.var(ddof=1) / (logs.mean() ** 2 + 1e-12) > gate
    centred = [d - d.mean(0) for d in ds]
    sigmas = [c.T @ c for c in centred]
    scales = [np.trace(s) for s in sigmas]
    if het:
        sigmas = [s / t for s, t in zip(sigmas, scales, strict=True)]
    eps = [ridge / t if het else ridge for t in scales]
    full = [s + e * np.eye(n) for s, e in zip(sigmas, eps, strict=True)]
    b = sum(c @ f for c, f in zip(centred, full, strict=True))
    a, column = sum(full), sum(sigmas).mean(0)
    if het:
        column = column / traces.mean()
    x = b @ np.linalg.inv(a + np.ones((n, 1)) * column)
    if not het:
        return x
    rest = x + sum(d @ (s - a / count) for d, s in zip(ds, sigmas, strict=True))
    u, s, v = svd(rest)
    k = max(1, int(share * min(rest.shape)))
    return x + s[:k].mean() * u[:, :k] @ v[:k]


def dc_merge(ds: list[Array], keep: float = 0.001, rank: int = 0) -> Array:
    r, count = min(ds[0].shape), len(ds)
    k = min(rank, r // count) if rank else int(r / count)
    parts = [svd(d) for d in ds]
    u = polar(np.hstack([u[:, :k] for u, _, _ in parts]))
    v = polar(np.vstack([v[:k] for _, _, v in parts])).T
    cores = []
    for a, s, b in parts:
        core = u.T @ (a[:, :k] * s[:k] @ b[:k]) @ v
        side = r if not rank else k * count
        number = max(1, int(side * side * keep))
        number = min(number, core.size)
        cores.append(np.where(np.abs(core) >= np.sort(np.abs(core), axis=None)[core.size - number], core, 0))
    stack = np.stack(cores)
    sign = np.sign(stack.sum(0))
    agree = (np.sign(stack) == sign) & (sign != 0)
    merged = (stack * agree).sum(0) / np.maximum(agree.sum(0), 1)
    block = len(merged) // count
    inside = np.zeros(merged.shape, bool)
    for t in range(count):
        inside[t * block : (t + 1) * block, t * block : (t + 1) * block] = True
    return u @ np.where(inside, merged, 0) @ v.T


def svc(merged: Array, ds: list[Array], alpha: float) -> Array:
    u, s, v = svd(merged)
    alpha = alpha or 1 / len(ds)
    for r in range(s.size):
        a = u[:, r] @ merged
        shares = [a @ (u[:, r] @ d) / max(((u[:, r] @ d) ** 2).sum(), 1e-12) for d in ds]
        s[r] /= np.mean([max(x, alpha) for x in shares])
    return u * s @ v


def core(ds: list[Array], ranks: list[int], merger: str, isotropic: bool) -> Array:
    """Core space of thin factors split evenly, as the help says."""
    parts = [tuple(x for x in svd(d)) for d in ds]
    lefts = [u[:, :k] * np.sqrt(s[:k]) for (u, s, _), k in zip(parts, ranks, strict=True)]
    rights = [np.sqrt(s[:k])[:, None] * v[:k] for (_, s, v), k in zip(parts, ranks, strict=True)]
    ub, sb, _ = svd(np.hstack(lefts))
    _, sa, va = svd(np.vstack(rights))
    ub, va = ub[:, sb > 1e-9], va[sa > 1e-9]
    cores = [ub.T @ b @ a @ va.T for b, a in zip(lefts, rights, strict=True)]
    if merger == "tsv":
        out = tsv_m(cores)
    else:
        out = np.mean(cores, 0) if merger == "mean" else np.sum(cores, 0)
    return ub @ (iso_c([out]) if isotropic else out) @ va


def twin(ds: list[Array], c: list[float], shared: float = 0.29, density: float = 0.1, normalise: bool = True) -> Array:
    common = shared * np.sum(ds, 0)
    out = common.copy()
    for d, w in zip(ds, c, strict=True):
        u, s, v = svd(d - common)
        k = int(density * min(d.shape))
        out = out + (w / sum(c) if normalise else w) * u[:, :k] * s[:k] @ v[:k]
    return out
