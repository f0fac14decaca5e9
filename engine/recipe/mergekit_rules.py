"""From one coefficient for every tensor to few rules, and back in the words of mergekit's filters."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from engine.files.model import Layout
from engine.recipe.places import cover
from engine.recipe.recipe import Recipe, Rule
from engine.recipe.resolve import resolve, tensor_spots


def rules_for(expert: str, wanted: Mapping[str, float], layout: Layout) -> list[Rule]:
    """The fewest rules found that give one expert exactly these coefficients.

    Args:
        expert: Its id.
        wanted: Coefficient of every tensor of the layout.
        layout: Of the base.

    Returns:
        A rule for the expert, then kinds, layers, groups and single tensors where they differ.
    """
    usual, places = cover(wanted, layout)
    finer = (Rule(expert=expert, value=v, kind=p.kind, layer=p.layer, tensor=p.tensor) for p, v in places)
    return [Rule(expert=expert, value=usual), *finer]


def coefficients(recipe: Recipe, layout: Layout, default: float) -> np.ndarray:
    """(T, N) coefficients of a recipe's rules for every tensor of a layout, before mute, solo and gain."""
    return resolve(recipe, tensor_spots(layout, list(layout.places)), default)
