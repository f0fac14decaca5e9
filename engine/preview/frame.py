"""From a recipe to the point at which a live preview is evaluated, and back to faders. Light: never imports torch.

For methods that are linear in the task vectors a point holds the factor of every task vector, so that scale, gains,
mute, solo and normalisation are moves like any other. For all others it holds the coefficients as the merge uses
them, and everything else about the recipe must stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from engine.errors import EvalProblem
from engine.files.model import Layout
from engine.methods import find
from engine.preview.basis import Floats
from engine.recipe.recipe import Recipe, Rule
from engine.recipe.resolve import effective, group_spots, heard, resolve, tensor_spots

Tier = Literal["linear", "engine"]


@dataclass(frozen=True, slots=True)
class Frame:
    """What a point means.

    Attributes:
        layout: Groups of the models, the columns of a point.
        tier: "linear": factors of the task vectors, kept in memory; "engine": coefficients, for which the engine
            computes the changed tensors anew.
        reason: Why it is not linear; "" if it is.
    """

    layout: Layout
    tier: Tier
    reason: str = ""

    def point(self, recipe: Recipe) -> Floats:
        """(T, G) where a recipe stands; some 0.1 ms."""
        return self._from_coefficients(recipe, effective(recipe, group_spots(self.layout), _default(recipe)))

    def overrides(self, recipe: Recipe) -> dict[str, Floats]:
        """(T,) point of every tensor that a rule names and that differs from its group."""
        named = sorted({r.tensor for r in recipe.rules if r.tensor is not None and r.tensor in self.layout.places})
        if not named:
            return {}
        table = self._from_coefficients(recipe, effective(recipe, tensor_spots(self.layout, named), _default(recipe)))
        return {name: table[:, i] for i, name in enumerate(named)}

    def key(self, recipe: Recipe) -> tuple[object, ...]:
        """Changes when a session must be opened anew; moves of faders do not change it."""
        models = tuple((ref.id, ref.path, ref.sha256) for ref in recipe.experts)
        base = recipe.base and (recipe.base.path, recipe.base.sha256)
        tasks = tuple(task.path for task in recipe.tasks)
        method = () if self.tier == "linear" else (recipe.method, recipe.params, recipe.seed)
        return (tier_of(recipe)[0], base, models, tasks, method)

    def gain(self, recipe: Recipe) -> Floats:
        """(T, G) change of the point per unit of each fader, by differences; 0 for silenced rows.

        Raises:
            EvalProblem: if a fader also moves other rows' factors (a normalised average), so that single
                faders cannot be set from a point.
        """
        spots, default = group_spots(self.layout), _default(recipe)
        shown, loud = resolve(recipe, spots, default), heard(recipe)[:, None]
        here, found = self._from_coefficients(recipe, shown * loud), np.zeros(shown.shape)
        for row in range(len(shown)):
            nudged = shown.copy()
            nudged[row] += 1.0
            change = self._from_coefficients(recipe, nudged * loud) - here
            found[row] = change[row]
            change[row] = 0
            if (np.abs(change) > 1e-9).any():
                raise EvalProblem("Faders of a normalised average depend on each other.",
                                  hint="Choose task arithmetic to tune single coefficients.")  # fmt: skip
        return found

    def faders(self, recipe: Recipe, point: Floats) -> Floats:
        """(T, G) what the faders must show for a point; silenced rows keep what they show.

        Raises:
            EvalProblem: see `gain`.
        """
        shown, gain = resolve(recipe, group_spots(self.layout), _default(recipe)), self.gain(recipe)
        moved = (point - self.point(recipe)) / np.where(gain == 0, 1.0, gain)
        made: Floats = shown + np.where(gain == 0, 0.0, moved)
        return made

    def applied(self, recipe: Recipe, point: Floats, digits: int = 4) -> Recipe:
        """The recipe whose faders give a point, rounded to a number of decimals; rules of single tensors stay.

        Raises:
            EvalProblem: see `gain`.
        """
        return with_faders(recipe, self.layout, np.round(self.faders(recipe, point), digits))

    def _from_coefficients(self, recipe: Recipe, coefficients: Floats) -> Floats:
        if self.tier == "engine":
            return coefficients
        names = [ref.name for ref in recipe.experts]
        made: Floats = np.asarray(find(recipe.method).factors(coefficients, dict(recipe.params), names), np.float64)
        return made


def make_frame(recipe: Recipe, layout: Layout) -> Frame:
    """The frame of a recipe; raises nothing about its models."""
    tier, reason = tier_of(recipe)
    return Frame(layout, tier, reason)


def tier_of(recipe: Recipe) -> tuple[Tier, str]:
    """How weights are made from a recipe, and why it is not the fast way ("" if it is)."""
    method = find(recipe.method)
    params = method.complete(dict(recipe.params))
    if method.live != "linear" or method.effective is None:
        return "engine", f"{method.title} is not linear in its coefficients; changed tensors are merged anew."
    if not method.is_linear(dict(recipe.params)):
        return "engine", "What follows the merge is not linear; changed tensors are merged anew."
    if method.space == "weight" and not params.get("normalise", False):
        return "engine", f"{method.title} without normalisation scales the base, too; changed tensors are merged anew."
    return "linear", ""


def with_faders(recipe: Recipe, layout: Layout, faders: Floats) -> Recipe:
    """The recipe whose faders show (T, G) values: one rule a row, then one for each layer or group that differs."""
    kept = tuple(rule for rule in recipe.rules if rule.tensor is not None)
    rules: list[Rule] = []
    for ref, row in zip(recipe.experts, faders, strict=True):
        common = float(np.median(row))
        rules.append(Rule(expert=ref.id, value=common))
        layers: dict[str, list[tuple[str, float]]] = {}
        for group, value in zip(layout.groups, row, strict=True):
            layers.setdefault(group.place.layer, []).append((group.place.kind, float(value)))
        for layer, kinds in layers.items():
            values = {value for _, value in kinds}
            if values == {common}:
                continue
            if len(values) == 1:
                rules.append(Rule(expert=ref.id, layer=layer, value=values.pop()))
            else:
                rules += [Rule(expert=ref.id, layer=layer, kind=kind, value=value) for kind, value in kinds]
    return recipe.without_rules([r.keys for r in recipe.rules if r not in kept]).with_rules(rules)


def bounds_of(recipe: Recipe, low: float = -1.0, high: float = 2.0) -> tuple[float, float]:
    """Lowest and highest value that a fader is given by a tuner."""
    return (0.0, 1.0) if find(recipe.method).space == "weight" else (low, high)


def _default(recipe: Recipe) -> float:
    return find(recipe.method).coefficient


def by_layer(layout: Layout) -> Mapping[str, tuple[int, ...]]:
    """Indices of the groups of every layer."""
    found: dict[str, list[int]] = {}
    for index, group in enumerate(layout.groups):
        found.setdefault(group.place.layer, []).append(index)
    return {layer: tuple(groups) for layer, groups in found.items()}
