"""TALL masks, Consensus, EMR and PCB (spec, 6 to 8)."""

from __future__ import annotations

import numpy as np

from tests.engine.brute.kit import Array, Arrays, flat, unflat
from tests.engine.brute.sparse import combined, elected, trim_mask


def multi(rows: list[Array], vector: str, density: float, c: list[float]) -> Array:
    """The multi-task vector of scaled task vectors."""
    if vector == "ta":
        return np.sum(rows, 0)
    cut = [r * trim_mask(r, "topk", density, 1.0) for r in rows]
    return combined(cut, c, elected(cut, "mass", "majority"), "sum")


def tall(rows: list[Array], whole: Array, strictness: float) -> list[Array]:
    return [np.abs(r) > strictness * np.abs(whole - r) for r in rows]


def consensus(taus: list[Arrays], c: list[float], k: int = 2, strictness: float = 0.4, vector: str = "ta",
              density: float = 0.2, scale: float = 0.3) -> Arrays:  # fmt: skip
    rows = [w * flat(t) for w, t in zip(c, taus, strict=True)]
    whole = multi(rows, vector, density, c)
    count = np.sum(tall(rows, whole, strictness), 0)
    return unflat(scale * whole * (count >= k), taus[0])


def tall_mask(taus: list[Arrays], c: list[float], task: str = "e0", strictness: float = 0.4, vector: str = "ta",
              density: float = 0.2, scale: float = 1.0) -> Arrays:  # fmt: skip
    rows = [w * flat(t) for w, t in zip(c, taus, strict=True)]
    whole = multi(rows, vector, density, c)
    return unflat(scale * whole * tall(rows, whole, strictness)[int(task[1:])], taus[0])


def emr(taus: list[Arrays], c: list[float], task: str = "e0", rescaler: str = "flat", scale: float = 1.0) -> Arrays:
    rows = [w * flat(t) for w, t in zip(c, taus, strict=True)]
    sign = np.where(np.sum(rows, 0) > 0, 1.0, -1.0)
    masks = [r * sign > 0 for r in rows]
    unified = sign * np.max([np.abs(r) * m for r, m in zip(rows, masks, strict=True)], 0)
    t = int(task[1:])
    mine, held = unflat(rows[t], taus[0]), unflat(masks[t] * unified, taus[0])
    if rescaler == "flat":
        top, below = np.abs(flat(mine)).sum(), np.abs(flat(held)).sum()
    else:
        top = sum(np.abs(x).mean() for x in mine.values() if x.size)
        below = sum(np.abs(x).mean() for x in held.values() if x.size)
    return {n: scale * (top / below if below else 1.0) * x for n, x in held.items()}


def pcb(taus: list[Arrays], c: list[float], variant: str = "vision-es", ratio: float = 0.05,
        scale: float = 1.2) -> Arrays:  # fmt: skip
    rows, t_count = [flat(t) for t in taus], len(taus)
    cut = 1e-4 if variant == "root" else 0.01
    d = rows[0].size

    def clampq(x: Array, a: float, b: float) -> Array:
        ranked = np.sort(x)
        return np.clip(x, ranked[int(d * a)], ranked[int(d * (1 - b) - 1)])

    def mm(x: Array) -> Array:
        low, high = x.min(), x.max()
        return (x - low) / (high - low) if high > low else 0 * x

    sizes = [clampq(np.abs(r), cut, cut) for r in rows]
    clamped = [np.sign(r) * s for r, s in zip(rows, sizes, strict=True)]
    signed = [np.sign(r) * mm(s) for r, s in zip(rows, sizes, strict=True)]
    top, below = np.zeros(d), np.zeros(d)
    for i in range(t_count):
        if variant in ("root", "nlp"):
            inter = np.tanh(rows[i] * np.sum(rows, 0))
        elif variant == "vision":
            inter = np.tanh(rows[i] * np.sum(signed, 0))
        else:
            inter = np.sum([np.tanh(signed[i] * s) for s in signed], 0)
        score = np.exp(t_count * mm(sizes[i]) ** 2) * inter
        share = mm(clampq(score, 1 - ratio, 0))
        top, below = top + c[i] * clamped[i] * share, below + share
    return unflat(scale * top / np.maximum(below, 1e-12), taus[0])
