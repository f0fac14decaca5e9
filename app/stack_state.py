"""What the desk shows of a recipe that restacks layers: pure functions, no Qt objects."""

from __future__ import annotations

import numpy as np

from app.columns import Column, membership
from engine.files.model import Layout
from engine.files.text import counted, printable
from engine.recipe.recipe import Recipe
from engine.recipe.stack import BASE_ID, depth, origin, words

FIXED = "This recipe restacks layers. Its slices and coefficients are edited in the mergekit YAML."
"""Why the faders of such a recipe do not move."""


def taking_part(recipe: Recipe, layout: Layout, cols: tuple[Column, ...]) -> np.ndarray:
    """(T, C) whether an expert takes part in anything that a column of the desk shows."""
    part = np.zeros((len(recipe.experts), len(layout.groups)), dtype=bool)
    for row, ref in enumerate(recipe.experts):
        where = origin(recipe.stack, ref.id)
        for group, found in enumerate(layout.groups):
            label = found.place.layer
            if label.isdecimal():
                part[row, group] = int(label) < len(where.layers) and where.layers[int(label)] is not None
            else:
                part[row, group] = where.before if label == "emb" else where.after
    shown: np.ndarray = (part.astype(np.float64) @ membership(layout, cols).T) > 0
    return shown


def told(recipe: Recipe) -> str:
    """The stack in a sentence: "7 layers: a 0–2, b 2–5"."""
    names = {ref.id: ref.name for ref in recipe.experts}
    if recipe.base is not None:
        names[BASE_ID] = recipe.base.name
    return printable(f"{counted(depth(recipe.stack), 'layer')}: {words(recipe.stack, names)}.", 2_000)
