"""The models that a merge reads, in the one order that its result depends on.

float32 addition is not associative, so the order of the experts must not come from the order of the rows:
experts are sorted by their content. Experts whose coefficients are all 0 are left out and never read.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.errors import BadRecipe, NotEnoughExperts, OutOfRange
from engine.files.hashing import as_it_is, fingerprint
from engine.files.model import Checkpoint, FileStamp, Layout, TensorInfo
from engine.merge.inputs import Inputs
from engine.methods.spec import Method, Value
from engine.recipe.per_expert import owners, parts, split
from engine.recipe.places import has_places, placed
from engine.recipe.recipe import Recipe
from engine.recipe.resolve import effective, tensor_spots

BASE = -1
"""Index that stands for the base where 0, 1, ... stand for experts in canonical order."""


@dataclass(frozen=True)
class Models:
    """The base and the experts that are heard, in canonical order.

    Attributes:
        base: The common ancestor, or None.
        experts: T checkpoints.
        names: Their names in the recipe.
        keys: Their content keys; seed random masks and decide the order.
    """

    base: Checkpoint | None
    experts: tuple[Checkpoint, ...]
    names: tuple[str, ...]
    keys: tuple[str, ...]

    def info(self, index: int, tensor: str) -> TensorInfo | None:
        """A tensor of an expert or, with `BASE`, of the base; None if the model does not have it."""
        model = self.base if index == BASE else self.experts[index]
        return None if model is None else model.tensors.get(tensor)

    def only(self, indices: Sequence[int]) -> Models:
        """The same base with some of the experts, in this order."""
        chosen = [(self.experts[t], self.names[t], self.keys[t]) for t in indices]
        experts, names, keys = zip(*chosen, strict=True) if chosen else ((), (), ())
        return Models(self.base, experts, names, keys)

    def name(self, index: int) -> str:
        """What to call a model in a message."""
        return "the base" if index == BASE else self.names[index]


def complete_params(recipe: Recipe, method: Method, names: Sequence[str]) -> dict[str, Value]:
    """All parameters of the method; an empty expert parameter becomes the first row's name.

    Raises:
        OutOfRange: if a value is not allowed.
        BadRecipe: if a parameter is unknown, or names or is for an expert that the recipe does not have.
    """
    params = method.complete(dict(recipe.params))
    known = {*names, *(expert.name for expert in recipe.experts)}
    for stranger in sorted(owners(params) - known):
        raise BadRecipe(
            f"A parameter is set for {stranger!r}, which is no expert of the recipe.",
            where=", ".join(name for name in params if split(name)[1] == stranger),
            hint=f"Take it out, or choose one of: {', '.join(names)}.",
        )
    for param in method.params:
        if param.role != "expert":
            continue
        params[param.name] = params[param.name] or (names[0] if names else "")
        if params[param.name] not in names:
            raise BadRecipe(
                f"{param.label} is {params[param.name]!r}, which is no expert of the recipe.",
                hint=f"Choose one of: {', '.join(names)}.",
            )
    return params


def placed_params(params: Mapping[str, Value], method: Method, layout: Layout) -> dict[str, Any]:
    """Complete parameters with those of places gathered into `engine.recipe.places.Placed` values.

    Raises:
        BadRecipe: for a place that is nowhere, or where the method measures the whole model with the parameter.
    """
    made = placed(params, layout)
    one = method.one_for_all(made) if has_places(params) else frozenset()
    for name in params:
        own, _, place = parts(name)
        if place and own in one:
            raise BadRecipe(
                f"{method.title} has one {method.param(own).label} for the whole model here.",
                where=name,
                hint="Take it out, or choose a variant that looks at each tensor for itself.",
            )
    return made


def tensor_coefficients(recipe: Recipe, inputs: Inputs, method: Method, names: Sequence[str]) -> np.ndarray:
    """(T, N) coefficient of every expert of the recipe for every named tensor, with gain, mute and solo.

    Raises:
        OutOfRange: if one is NaN or infinite.
    """
    values = effective(recipe, tensor_spots(inputs.layout, names), method.coefficient)
    if not np.isfinite(values).all():
        row, column = np.argwhere(~np.isfinite(values))[0]
        raise OutOfRange(
            f"The coefficient of {inputs.names[row]} is {values[row, column]}.",
            where=names[column],
            hint="Set it to an ordinary number.",
        )
    return values


def hear(
    inputs: Inputs, method: Method, params: Mapping[str, Value], coefficients: np.ndarray
) -> tuple[Models, np.ndarray]:
    """Leave out silent experts and sort the others by content; those of a stack are counted slice by slice later.

    Args:
        inputs: All models.
        method: Says how many experts it needs.
        params: Complete parameters; an expert that one names is kept even if silent.
        coefficients: (T, N) in the recipe's order.

    Returns:
        The models and their (T', N) coefficients, both in canonical order.

    Raises:
        NotEnoughExperts: if the recipe has too few or too many experts for the method.
    """
    wanted = {str(params[p.name]) for p in method.params if p.role == "expert"}
    everyone = range(len(inputs.experts))
    heard = [t for t in everyone if coefficients[t].any() or inputs.names[t] in wanted]
    if method.hears_silent or (len(heard) < method.min_experts and inputs.stacked is None):
        heard = list(everyone)
    if inputs.stacked is None:
        check_count(method, len(heard), based=inputs.base is not None)
    keys = {t: content_key(inputs.experts[t]) for t in heard}
    order = sorted(heard, key=lambda t: (keys[t], tuple(coefficients[t]), inputs.names[t]))
    models = Models(
        inputs.base,
        tuple(inputs.experts[t] for t in order),
        tuple(inputs.names[t] for t in order),
        tuple(keys[t] for t in order),
    )
    return models, coefficients[order]


def check_count(method: Method, total: int, *, based: bool, where: str = "") -> None:
    """Make sure that a method gets as many experts as it needs.

    Args:
        method: Which one.
        total: Number of experts.
        based: Whether there is a base.
        where: What to name in the error.

    Raises:
        NotEnoughExperts: if there are too few or too many.
    """
    if total < method.min_experts:
        raise NotEnoughExperts(
            f"{method.title} needs at least {method.min_experts} expert{'s' * (method.min_experts != 1)}, not {total}.",
            where=where,
            hint="Drop more fine-tuned models or choose another method.",
        )
    if total + based < method.min_models:
        raise NotEnoughExperts(
            f"{method.title} needs {method.min_models} models.",
            where=where,
            hint="Drop another fine-tuned model, or the base.",
        )
    if method.max_experts is not None and total > method.max_experts:
        raise NotEnoughExperts(
            f"{method.title} merges at most {method.max_experts} experts, not {total}.",
            where=where,
            hint="Remove experts or choose another method.",
        )


_keys: dict[tuple[tuple[FileStamp, ...], tuple[int, ...], str], str] = {}
_keys_lock = threading.Lock()


def content_key(checkpoint: Checkpoint) -> str:
    """The checkpoint's fingerprint; computed once for as long as its files do not change."""
    state = (checkpoint.stamps, tuple(stamp.ctime_ns for stamp in checkpoint.stamps), checkpoint.view)
    with _keys_lock:
        known = _keys.get(state)
    if known is None:
        known = fingerprint(checkpoint)
        with _keys_lock:
            if len(_keys) >= 1024:
                _keys.clear()
            _keys[state] = known
    return known


def content_state(checkpoint: Checkpoint) -> str:
    """Content key, size and times of the files as they are now, to find what was computed from exactly this.

    The key alone samples only some KiB of each tensor, and a file that is written into may get its old time again: then
    the time of the last change of its status, which nobody can set, is another one. So it is, too, after a file was
    moved or copied; what was remembered is then computed once more.

    Raises:
        FileProblem: if the files cannot be read or have changed.
    """
    now = [as_it_is(stamp) for stamp in checkpoint.stamps]
    return f"{content_key(checkpoint)} {sorted((s.size, s.mtime_ns, s.ctime_ns) for s in now)}"
