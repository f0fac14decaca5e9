"""A recipe's stack in mergekit's words: slices with sources, each with the parameters of its own layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import BadRecipe
from engine.files.layout import describe
from engine.files.model import Layout, TensorInfo
from engine.files.restack import numbered
from engine.recipe.mergekit_table import Entry
from engine.recipe.mergekit_words import words
from engine.recipe.recipe import ModelRef, Recipe
from engine.recipe.stack import BASE_ID, Slice, Source, outer


def slices_of(
    recipe: Recipe,
    layout: Layout,
    values: np.ndarray,
    entry: Entry,
    path: Callable[[ModelRef], str],
    own: Callable[[ModelRef], Mapping[str, Any]],
    shared: Mapping[str, Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """The slices of a recipe with a stack.

    Args:
        recipe: With a stack.
        layout: Of the merged model.
        values: (T, N) coefficients of its experts for all tensors of the layout.
        entry: mergekit's method.
        path: What mergekit calls a model.
        own: Parameters that an expert has for itself; a table says one for every tensor.
        shared: Parameters of all models that differ between tensors, for every tensor.

    Raises:
        BadRecipe: if the stack names a model that the recipe does not have, or a slice has none left.
        Mismatch: if the layout does not have one plain stack of layers.
    """
    return _Slices(recipe, layout, values, entry, path, own, shared).run()


class _Slices:
    """One translation of a stack."""

    def __init__(self, recipe: Recipe, layout: Layout, values: np.ndarray, entry: Entry,
                 path: Callable[[ModelRef], str], own: Callable[[ModelRef], Mapping[str, Any]],
                 shared: Mapping[str, Mapping[str, Any]]) -> None:  # fmt: skip
        self._recipe, self._entry, self._path, self._own, self._shared = recipe, entry, path, own, shared
        dummy = {name: TensorInfo(name, "F32", (1,), Path(), 0) for name in layout.places}
        self._numbered = numbered(dummy, layout)
        self._rows = {ref.id: dict(zip(layout.places, row.tolist(), strict=True))
                      for ref, row in zip(recipe.experts, values, strict=True)}  # fmt: skip
        self._refs = {ref.id: ref for ref in recipe.experts} | ({BASE_ID: recipe.base} if recipe.base else {})

    def run(self) -> list[dict[str, Any]]:
        """All slices."""
        made, first = [], 0
        for number, part in enumerate(self._recipe.stack):
            made.append(self._slice(number, part, first))
            first += part.count
        return made

    def _slice(self, number: int, part: Slice, first: int) -> dict[str, Any]:
        if not part.sources:
            raise BadRecipe("No model is left for these layers.", where=f"slice {number + 1}")
        made: dict[str, Any] = {"sources": [self._source(number, part, s, first) for s in part.sources]}
        if part.base:
            made["base_model"] = self._path(self._ref(part.base, number))
        said = {name: self._said(row, number, part, part.sources[0], first, first)
                for name, row in self._shared.items()}  # fmt: skip
        if self._entry.fader == "t":
            for source in part.merged:
                said["t"] = self._said(self._rows[source.model], number, part, source, first, first)
        return {**made, "parameters": said} if said else made

    def _source(self, number: int, part: Slice, source: Source, first: int) -> dict[str, Any]:
        ref = self._ref(source.model, number)
        made = {"model": self._path(ref), "layer_range": [source.first, source.first + part.count]}
        if source.model == part.root:
            return made
        said = {name: self._said(value, number, part, source, first, source.first) if isinstance(value, dict) else value
                for name, value in self._own(ref).items()}  # fmt: skip
        if self._entry.fader not in ("", "t"):
            value = self._said(self._rows[source.model], number, part, source, first, source.first)
            if value != self._entry.defaults.get(self._entry.fader):
                said = {self._entry.fader: value, **said}
        return {**made, "parameters": said} if said else made

    def _ref(self, model: str, number: int) -> ModelRef:
        ref = self._refs.get(model)
        if ref is None:
            what = "The base" if model == BASE_ID else f"Expert {model!r}"
            raise BadRecipe(
                f"{what} is not in the recipe, but these layers are made of it.", where=f"slice {number + 1}"
            )
        return ref

    def _said(self, row: Mapping[str, float], number: int, part: Slice, source: Source, first: int, start: int) -> Any:
        """One expert's coefficients or parameters in a slice, as mergekit sees its tensors.

        Args:
            row: Value of every tensor of the merged model.
            number: Of the slice.
            part: The slice.
            source: The expert's layers.
            first: Number of the slice's first layer in the merged model.
            start: Number of its first layer in the names that filters look at.
        """
        values: dict[str, float] = {}
        ends = ((False, 0, self._numbered.before), (True, len(self._recipe.stack) - 1, self._numbered.after))
        for after, where, infos in ends:
            if number == where and source in outer(self._recipe.stack, after=after).sources:
                values |= {info.name: row[info.name] for info in infos}
        for i in range(part.count):
            for info, begin, stop in self._numbered.layers[first + i]:
                values[f"{info.name[:begin]}{start + i}{info.name[stop:]}"] = row[info.name]
        dummy = {name: TensorInfo(name, "F32", (1,), Path(), 0) for name in values}
        layout = describe(dummy)
        return words({name: values[name] for name in layout.places}, layout)
