"""Coefficients of every tensor in mergekit's words: a number, a gradient, or filters with either."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from engine.files.model import Layout
from engine.recipe.mergekit_config import Segment
from engine.recipe.mergekit_settings import evaluate, number, spots_of, stacks

WHOLE = (Segment(0, None, ()),)
_POINTS = 12
"""Longest gradient that is tried before one point for each layer is written."""


def words(values: Mapping[str, float], layout: Layout) -> Any:
    """A setting that mergekit resolves to these values for every tensor.

    Args:
        values: Number or switch of every tensor of the layout.
        layout: Of the models.

    Returns:
        One value, a list of numbers (gradient), or a list of {filter, value}; the shortest form found that is right.
    """
    if len(set(values.values())) == 1:
        return next(iter(values.values()))
    if any(isinstance(value, bool) for value in values.values()):
        return _switches(values)
    for setting in (_gradient(values, layout), _by_part(values, layout), _by_name(values)):
        if setting is not None and says(setting, values, layout):
            return setting
    return [{"filter": name, "value": values[name]} for name in sorted(values, key=len, reverse=True)]


def _switches(values: Mapping[str, float]) -> Any:
    """Switches by parts of names ("mlp", "up_proj.weight") where these are enough, else by whole names."""
    found: dict[str, set[float]] = {}
    for name, value in values.items():
        for part in re.findall(r"[^.]+", name):
            found.setdefault(part, set()).add(value)
    usual = Counter(values.values()).most_common(1)[0][0]
    rare = [name for name, value in values.items() if value != usual]
    for part, held in found.items():
        if held == {not usual} and all((part in name) == (values[name] != usual) for name in values):
            return [{"filter": part, "value": not usual}, {"value": usual}]
    exact = [name for name in values if any(name in other for other in values if other != name)]
    listed = sorted({*rare, *exact}, key=len, reverse=True)
    return [*({"filter": name, "value": values[name]} for name in listed), {"value": usual}]


def says(setting: Any, values: Mapping[str, float], layout: Layout) -> bool:
    """Whether mergekit would read exactly these values (to 1e-12) from a setting."""
    for spot in spots_of(layout, WHOLE):
        found = evaluate(setting, spot.name, spot.t, number)
        if found is None or abs(found - values[spot.name]) > 1e-12 * max(1.0, abs(values[spot.name])):
            return False
    return True


def _gradient(values: Mapping[str, float], layout: Layout) -> Any:
    """One curve over the layers, if every layer is uniform; tensors outside the layers by name."""
    labels = _only_stack(layout)
    if not labels:
        return None
    curve = []
    for label in labels:
        found = {values[name] for name, place in layout.places.items() if place.layer == label}
        if len(found) != 1:
            return None
        curve.append(found.pop())
    return _with_outer(values, layout, labels, [{"value": shortened(curve)}])


def _by_part(values: Mapping[str, float], layout: Layout) -> Any:
    """Curves for parts of a layer ("self_attn", "mlp.up_proj.weight"), the most usual one without filter."""
    labels = _only_stack(layout)
    if not labels:
        return None
    curves = _merged(_curves(values, layout, labels))
    usual = Counter(map(str, curves.values())).most_common(1)[0][0]
    rest = next(curve for curve in curves.values() if str(curve) == usual)
    made = [{"filter": part, "value": shortened(c)} for part, c in curves.items() if str(c) != usual]
    return _with_outer(values, layout, labels, [*made, {"value": shortened(rest)}])


def _with_outer(values: Mapping[str, float], layout: Layout, labels: Sequence[str],
                conditions: list[dict[str, Any]]) -> Any:  # fmt: skip
    """Add filters for tensors outside the layers whose value the conditions would not give."""
    inner = set(labels)
    outer = [n for n, place in layout.places.items() if place.layer not in inner]
    wrong = [n for n in outer if evaluate(conditions, n, 0.0, number) != values[n]]
    full = [{"filter": n, "value": values[n]} for n in sorted(wrong, key=len, reverse=True)] + conditions
    return full[0]["value"] if len(full) == 1 else full


def _by_name(values: Mapping[str, float]) -> Any:
    """The most usual value, and every other tensor by name."""
    usual = Counter(values.values()).most_common(1)[0][0]
    other = sorted((n for n, v in values.items() if v != usual), key=len, reverse=True)
    return [*({"filter": n, "value": values[n]} for n in other), {"value": usual}]


def _only_stack(layout: Layout) -> list[str]:
    found = list(stacks(layout).values())
    return found[0] if len(found) == 1 else []


def _curves(values: Mapping[str, float], layout: Layout, labels: Sequence[str]) -> dict[str, list[float | None]]:
    """Values over the layers for each name below the layer number."""
    order = {label: index for index, label in enumerate(labels)}
    curves: dict[str, list[float | None]] = {}
    for name, place in layout.places.items():
        if place.layer in order:
            suffix = re.split(rf"\.{re.escape(place.layer.rpartition('.')[2])}\.", name, maxsplit=1)[-1]
            curves.setdefault(suffix, [None] * len(labels))[order[place.layer]] = values[name]
    return curves


def _merged(curves: Mapping[str, Sequence[float | None]]) -> dict[str, list[float]]:
    """Curves by the first word of their names where all of these agree; gaps are filled from the neighbours."""
    filled = {suffix: _filled(curve) for suffix, curve in curves.items()}
    by_word: dict[str, list[str]] = {}
    for suffix in filled:
        by_word.setdefault(suffix.split(".")[0], []).append(suffix)
    found: dict[str, list[float]] = {}
    for word, suffixes in by_word.items():
        if all(filled[s] == filled[suffixes[0]] for s in suffixes):
            found[word] = filled[suffixes[0]]
        else:
            found |= {s: filled[s] for s in sorted(suffixes, key=len, reverse=True)}
    return found


def _filled(curve: Iterable[float | None]) -> list[float]:
    known = list(curve)
    last = next(v for v in known if v is not None)
    made = []
    for value in known:
        last = last if value is None else value
        made.append(last)
    return made


def shortened(curve: Sequence[float]) -> Any:
    """The shortest gradient that passes through a value for each layer; a number if they are all the same."""
    if len(set(curve)) == 1:
        return curve[0]
    wanted, layers = np.array(curve), len(curve)
    t = np.arange(layers) / (layers - 1)
    for points in range(2, min(_POINTS, layers - 1) + 1):
        basis = np.stack([np.interp(t, np.linspace(0, 1, points), np.eye(points)[j]) for j in range(points)], axis=1)
        found = np.linalg.lstsq(basis, wanted, rcond=None)[0]
        setting = [round(float(value), 9) + 0.0 for value in found]  # + 0.0 makes -0 plain
        read = [evaluate(setting, "", float(x), number) or 0.0 for x in t]
        if all(abs(r - w) <= 1e-12 * max(1.0, abs(w)) for r, w in zip(read, curve, strict=True)):
            return setting
    return list(curve)
