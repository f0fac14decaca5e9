"""From sparse rules to the coefficient of every expert and tensor: one pure function."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from engine.files.model import Layout, Place
from engine.recipe.recipe import Recipe, Rule

Spot = tuple[str, str, str | None]
"""(layer, kind, tensor name or None for the whole group)."""


_known: tuple[Layout, list[Spot]] | None = None


def group_spots(layout: Layout) -> list[Spot]:
    """One spot for each layer x kind group of the layout, in its order."""
    global _known
    if _known is None or _known[0] is not layout:  # the same one at every fader event
        _known = layout, [(g.place.layer, g.place.kind, None) for g in layout.groups]
    return list(_known[1])


def tensor_spots(layout: Layout, names: Sequence[str]) -> list[Spot]:
    """One spot for each named tensor."""
    unknown = Place("other", "other")
    return [(p.layer, p.kind, n) for n in names for p in (layout.places.get(n, unknown),)]


def resolve(recipe: Recipe, spots: Sequence[Spot], default: float) -> np.ndarray:
    """The coefficients that the faders show, before mute, solo and gain.

    Args:
        recipe: Whose rules are resolved.
        spots: N places to resolve for.
        default: Value where no rule matches (the method's default coefficient).

    Returns:
        (T, N) float64, rows in the recipe's expert order.
    """
    values = np.full((len(recipe.experts), len(spots)), float(default))
    if not spots:
        return values
    masks = _masks_of(tuple(spots))
    rows = {ref.id: index for index, ref in enumerate(recipe.experts)}
    for rule in sorted(recipe.rules, key=lambda r: r.specificity):  # stable: later wins among equals
        if rule.expert is None:
            values[:, masks.match(rule)] = rule.value
        elif rule.expert in rows:
            values[rows[rule.expert], masks.match(rule)] = rule.value
    return values


def heard(recipe: Recipe) -> np.ndarray:
    """(T,) factor of every row: its gain, or 0 when mute or solo silence it."""
    gains = [recipe.gain(e.id) if recipe.is_heard(e.id) else 0.0 for e in recipe.experts]
    return np.array(gains, dtype=np.float64)


def effective(recipe: Recipe, spots: Sequence[Spot], default: float) -> np.ndarray:
    """(T, N) coefficients as the merge uses them: faders x gain, 0 for silenced rows."""
    made: np.ndarray = resolve(recipe, spots, default) * heard(recipe)[:, None]
    return made


@lru_cache(maxsize=8)
def _masks_of(spots: tuple[Spot, ...]) -> _Masks:
    """The masks of these spots; a fader event asks for the same ones as the one before."""
    return _Masks(spots)


class _Masks:
    """Which spots a rule matches; layers and kinds are looked up once."""

    def __init__(self, spots: Sequence[Spot]) -> None:
        self._everything = slice(None)
        self._by_layer: dict[str, list[int]] = {}
        self._by_kind: dict[str, set[int]] = {}
        self._by_tensor: dict[str, int] = {}
        for index, (layer, kind, tensor) in enumerate(spots):
            self._by_layer.setdefault(layer, []).append(index)
            self._by_kind.setdefault(kind, set()).add(index)
            if tensor is not None:
                self._by_tensor[tensor] = index

    def match(self, rule: Rule) -> slice | list[int]:
        """Indices of the spots that the rule matches."""
        if rule.tensor is not None:
            index = self._by_tensor.get(rule.tensor)
            return [] if index is None else [index]
        if rule.layer is None and rule.kind is None:
            return self._everything
        if rule.layer is None:
            return sorted(self._by_kind.get(rule.kind or "", ()))
        indices = self._by_layer.get(rule.layer, [])
        if rule.kind is None:
            return indices
        wanted = self._by_kind.get(rule.kind, set())
        return [i for i in indices if i in wanted]
