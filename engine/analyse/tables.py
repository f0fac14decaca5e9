"""The overlap as JSON and as rows for CSV: plain numbers with the names they belong to (numpy, no torch)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.analyse.magnitude_values import Magnitudes
from engine.analyse.spectral_values import Spectra
from engine.analyse.values import Masks, Overlap, arrays_of

Row = tuple[str, str, str, str, str, float]
"""Part, where, lambda, experts (joined by " & "), measure, value."""


def to_json(
    found: Overlap,
    spectra: Spectra | None = None,
    magnitudes: Magnitudes | None = None,
    densities: Sequence[float] | None = None,
) -> dict[str, Any]:
    """Everything that was counted, group by group, with the derived shares of the whole model.

    Args:
        found: The overlap.
        spectra: Adds singular values and subspaces by matrix.
        magnitudes: Adds histograms of the task vectors' elements.
        densities: (T,) adds the magnitudes at which these densities cut.
    """
    groups = [{"layer": g.place.layer, "kind": g.place.kind, "numel": g.numel} for g in found.groups]
    report: dict[str, Any] = {
        "experts": list(found.names),
        "groups": groups,
        "sizes": found.sizes.tolist(),
        "zeros": found.zeros.tolist(),
        "zero_share": found.zero_share()[0].tolist(),
    }
    for name in ("products", "signs", "masks"):
        part = getattr(found, name)
        if part is not None:
            report[name] = {key: array.tolist() for key, array in arrays_of(part).items()}
    if found.products is not None:
        report["cosine"], report["norms"] = found.products.cosine()[0].tolist(), found.products.norms()[0].tolist()
    if found.signs is not None:
        report["conflict"] = found.signs.conflict()[0].tolist()
        report["conflict_by_magnitude"] = found.signs.conflict(weighted=True)[0].tolist()
        report["interference"] = float(found.signs.interference()[0])
    if found.masks is not None:
        report["roles"] = [_roles(found.masks, level) for level in range(len(found.masks.strictness))]
    if spectra is not None:
        report["spectra"] = [_spectrum(spectra, k) for k in range(len(spectra.matrices))]
    if magnitudes is not None:
        report["magnitudes"] = _magnitudes(magnitudes, densities)
    return report


def _magnitudes(found: Magnitudes, densities: Sequence[float] | None) -> dict[str, Any]:
    drawn = found.drawn()
    made: dict[str, Any] = {
        "edges": [] if drawn is None else drawn.edges.tolist(),
        "counts": [[] for _ in found.names] if drawn is None else drawn.counts.tolist(),
        "zeros": (found.fine.sum(axis=1) if drawn is None else drawn.zeros).tolist(),
    }
    if densities is not None:
        cuts = found.threshold(densities)
        made |= {"density": list(densities), "threshold": cuts.tolist(), "kept": found.kept(cuts).tolist()}
    return made


def _roles(masks: Masks, level: int) -> dict[str, Any]:
    made: dict[str, Any] = {"lambda": float(masks.strictness[level]), "jaccard": masks.jaccard(level)[0].tolist()}
    for key, frozen in (("all", True), ("without_frozen", False)):
        roles = masks.roles(level, frozen=frozen)
        made[key] = {name: array[0].tolist() for name, array in arrays_of(roles).items()}
    made["intersections"] = [[s.bits, s.count] for s in masks.intersections(level)[0]]
    return made


def _spectrum(spectra: Spectra, index: int) -> dict[str, Any]:
    matrix = spectra.matrices[index]
    return {
        "tensor": matrix.tensor,
        "shape": list(matrix.shape),
        "values": matrix.values.tolist(),
        "effective_rank": matrix.effective_rank().tolist(),
        "stable_rank": matrix.stable_rank().tolist(),
        "overlap": matrix.overlap().tolist(),
        "left_cosines": matrix.left.tolist(),
        "right_cosines": matrix.right.tolist(),
    }


def rows(
    found: Overlap,
    *,
    by: str = "model",
    spectra: Spectra | None = None,
    magnitudes: Magnitudes | None = None,
    densities: Sequence[float] | None = None,
) -> Iterator[Row]:
    """The derived numbers, one a row.

    Args:
        found: The overlap.
        by: "model", "layer" or "group": what a row's numbers are taken over.
        spectra: Adds effective ranks and overlaps of subspaces by matrix.
        magnitudes: Adds histograms of the whole model.
        densities: (T,) adds the magnitudes at which these densities cut.
    """
    places, columns = _places(found, by)
    for index, place in enumerate(places):
        only = columns[[index]]
        yield from _shares(found, place, only)
        if found.masks is not None:
            for level in range(len(found.masks.strictness)):
                yield from _mask_rows(found, found.masks, level, place, only)
    for matrix in spectra.matrices if spectra else ():
        for t, value in enumerate(matrix.effective_rank()):
            yield "spectrum", matrix.tensor, "", found.names[t], "effective rank", float(value)
        yield from _pairs("spectrum", matrix.tensor, "", found.names, "subspace overlap", matrix.overlap())
    if magnitudes is not None:
        yield from _magnitude_rows(_magnitudes(magnitudes, densities), magnitudes.names)


def _magnitude_rows(made: Mapping[str, Any], names: Sequence[str]) -> Iterator[Row]:
    """Thresholds and histograms, of the whole model."""
    for measure in ("density", "threshold", "kept"):
        if measure in made:
            yield from _each("magnitudes", "model", "", names, measure, np.array(made[measure]))
    for t, name in enumerate(names):
        yield "magnitudes", "model", "", name, "elements at 0", float(made["zeros"][t])
        for edge, count in zip(made["edges"], made["counts"][t], strict=False):  # the last edge ends a bin
            yield "magnitudes", "model", "", name, f"elements from {edge:.6g}", float(count)


def tensor_rows(found: Mapping[str, Any], names: Sequence[str]) -> Iterator[Row]:
    """One matrix and its weights, as `engine.analyse.tensor_report` has them, one number a row."""
    where = found["name"]
    for measure in ("owned", "kept", "mean"):
        yield from _each("tensor", where, "", names, measure, np.array(found[measure][: len(names)]))
    yield "tensor", where, "", "", "owned by nobody", float(found["owned"][-1])
    yield "tensor", where, "", "", "conflict", float(found["conflict"])
    for weight in found["weights"]:
        place = f"{where} {weight['row']},{weight['column']}"
        yield "weight", place, "", "", "base", float(weight["base"])
        for measure in ("experts", "tau", "kept"):
            label = "value" if measure == "experts" else measure
            yield from _each("weight", place, "", names, label, np.array(weight[measure]))
        yield "weight", place, "", "", "sign", float(weight["sign"])
        yield "weight", place, "", "", "owner", float(weight["owner"])
        if weight["merged"] is not None:
            yield "weight", place, "", "", "merged", float(weight["merged"])


def _places(found: Overlap, by: str) -> tuple[list[str], NDArray[np.float64]]:
    """Names and (C, G) columns."""
    groups = len(found.groups)
    if by == "group":
        return [f"{g.place.layer}.{g.place.kind}" for g in found.groups], np.eye(groups)
    if by == "layer":
        layers = list(dict.fromkeys(g.place.layer for g in found.groups))
        return layers, found.by_layer(layers)
    return ["model"], np.ones((1, groups))


def _shares(found: Overlap, place: str, only: NDArray[np.float64]) -> Iterator[Row]:
    """What does not depend on lambda."""
    yield from _each("delta", place, "", found.names, "exactly zero", found.zero_share(only)[0])
    if found.products is not None:
        yield from _each("delta", place, "", found.names, "norm", found.products.norms(only)[0])
        yield from _pairs("delta", place, "", found.names, "cosine", found.products.cosine(only)[0])
    if found.signs is not None:
        signs = found.signs
        yield from _each("signs", place, "", found.names, "conflict", signs.conflict(only)[0])
        heavy = signs.conflict(only, weighted=True)[0]
        yield from _each("signs", place, "", found.names, "conflict by magnitude", heavy)
        yield from _pairs("signs", place, "", found.names, "conflict", signs.pair_conflict(only)[0])
        yield "signs", place, "", "", "interference", float(signs.interference(only)[0])
        yield "signs", place, "", "", "disputed", float(signs.disputed_share(only)[0])


def _mask_rows(found: Overlap, masks: Masks, level: int, place: str, only: NDArray[np.float64]) -> Iterator[Row]:
    """Masks of one lambda."""
    strictness = f"{masks.strictness[level]:g}"
    yield from _each("masks", place, strictness, found.names, "density", masks.density(level, only)[0])
    yield from _pairs("masks", place, strictness, found.names, "jaccard", masks.jaccard(level, only)[0])
    for suffix, frozen in (("", True), (" without frozen", False)):
        roles = masks.roles(level, only, frozen=frozen)
        yield from _each("roles", place, strictness, found.names, f"selfish{suffix}", roles.selfish[0])
        for name in ("catastrophic", "shared", "universal"):
            yield "roles", place, strictness, "", f"{name}{suffix}", float(getattr(roles, name)[0])
    for entry in masks.intersections(level, only)[0]:
        who = " & ".join(found.names[t] for t in entry.experts)
        yield "sets", place, strictness, who, "weights", float(entry.count)


def _each(
    part: str, place: str, strictness: str, names: Sequence[str], measure: str, values: NDArray[np.float64]
) -> Iterator[Row]:
    for name, value in zip(names, values, strict=True):
        yield part, place, strictness, name, measure, float(value)


def _pairs(
    part: str, place: str, strictness: str, names: Sequence[str], measure: str, values: NDArray[np.float64]
) -> Iterator[Row]:
    for a in range(len(names)):
        for b in range(a + 1, len(names)):
            yield part, place, strictness, f"{names[a]} & {names[b]}", measure, float(values[a, b])
