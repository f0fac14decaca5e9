"""What a mergekit parameter is for one tensor: filters, gradients over the layers, nested scopes.

Follows `evaluate_setting` and `resolve_parameter` of mergekit 0.1.5 to the last bit: a gradient is interpolated
at t = layer / (layers - 1) of its slice; tensors outside the layers take its first value (t = 0).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.errors import BadRecipe
from engine.files.model import Layout
from engine.recipe.mergekit_config import Config, Segment, Settings

Scalar = float | bool
Read = Callable[[Any], Scalar]


@dataclass(frozen=True, slots=True)
class Spot:
    """Where one tensor sits as mergekit sees it.

    Attributes:
        name: Of the tensor.
        segment: Index of the slice that it belongs to.
        t: Depth within that slice, for gradients.
        inputs: In a stack, its name in each model that takes part; empty where layers stay, so that names do, too.
    """

    name: str
    segment: int
    t: float
    inputs: Mapping[str, str] = field(default_factory=dict)

    def name_in(self, model: str | None) -> str:
        """Its name in a model, which filters of that model's parameters look at."""
        return self.inputs.get(model, self.name) if model is not None else self.name

    def has(self, model: str, config: Config) -> bool:
        """Whether a model takes part."""
        return model in self.inputs if self.inputs else config.segments[self.segment].has(model)


def number(value: Any) -> float:
    """A number; YAML 1.1 reads 1e-5 as text, so text that is a number counts.

    Raises:
        BadRecipe: if it is none.
    """
    try:
        if isinstance(value, bool):
            raise ValueError(value)
        made = float(value)
    except (TypeError, ValueError) as error:
        raise BadRecipe(f"{str(value)[:100]!r} is not a number.") from error
    if made != made or abs(made) > 1e6:
        raise BadRecipe(f"{made:g} is not a usable number.", hint="Use a number from -1e6 to 1e6.")
    return made


def switch(value: Any) -> bool:
    """Yes or no.

    Raises:
        BadRecipe: if it is neither.
    """
    known = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
    found = known.get(str(value).strip().lower())
    if found is None:
        raise BadRecipe(f"{str(value)[:100]!r} is not yes or no.")
    return found


def evaluate(setting: Any, name: str, t: float, read: Read) -> Scalar | None:
    """The value of one setting for one tensor; None where no filter matches.

    Args:
        setting: A scalar, a gradient, {filter, value}, or a list of these.
        name: Of the tensor.
        t: Depth for gradients, from 0 to 1.
        read: Turns a scalar into a number or a switch.

    Raises:
        BadRecipe: if the setting has another shape.
    """
    if isinstance(setting, dict):
        setting = [setting]
    if not isinstance(setting, list):
        return read(setting)
    if not setting:
        return None
    if not any(isinstance(item, (dict, list)) for item in setting):
        return _interpolated([read(item) for item in setting], t)
    for condition in setting:
        if not isinstance(condition, dict) or "value" not in condition or not condition.keys() <= {"value", "filter"}:
            raise BadRecipe("A list of conditions needs entries with value and, if wanted, filter.")
        wanted = condition.get("filter")
        if wanted is None or wanted == "*" or str(wanted) in name:
            return evaluate(condition["value"], name, t, read)
    return None


def _interpolated(values: Sequence[Scalar], t: float) -> Scalar:
    if any(isinstance(value, bool) for value in values):
        return values[int(t * (len(values) - 1))]
    scaled = t * (len(values) - 1)
    left = int(scaled)
    right = min(len(values) - 1, left + 1)
    part = scaled - left
    return (1 - part) * values[left] + part * values[right]


def resolve(name: str, scopes: Iterable[Settings], spot: Spot, read: Read, default: Scalar | None,
            model: str | None = None) -> Scalar | None:  # fmt: skip
    """The value of a parameter for one tensor, from the innermost scope that says something.

    Raises:
        BadRecipe: naming the parameter whose value cannot be used.
    """
    for scope in scopes:
        if name in scope:
            try:
                found = evaluate(scope[name], spot.name_in(model), spot.t, read)
            except BadRecipe as error:
                raise BadRecipe(error.message, where=f"parameters.{name}", hint=error.hint) from error
            if found is not None:
                return found
    return default


def column(config: Config, name: str, spots: Sequence[Spot], model: str | None, read: Read,
           default: Scalar | None) -> list[Scalar | None]:  # fmt: skip
    """A parameter of one model (None: shared) for every tensor."""
    return [resolve(name, [*config.segments[s.segment].scopes(model), *config.settings], s, read, default, model)
            for s in spots]  # fmt: skip


def is_gradient(setting: Any) -> bool:
    """Whether a setting depends on the layer anywhere."""
    if isinstance(setting, dict):
        return is_gradient(setting.get("value"))
    if not isinstance(setting, list):
        return False
    if any(isinstance(item, dict) for item in setting):
        return any(is_gradient(item) for item in setting)
    return len(setting) > 1


def stacks(layout: Layout) -> dict[str, list[str]]:
    """Labels of the numbered layers of each stack, in order, by prefix ("" for the only one, "enc", ...)."""
    found: dict[str, list[str]] = {}
    for label in layout.layers:
        prefix, _, last = label.rpartition(".")
        if last.isdigit():
            found.setdefault("" if prefix.replace(".", "").isdigit() else prefix, []).append(label)
    return found


def spots_of(layout: Layout, segments: Sequence[Segment]) -> list[Spot]:
    """Every tensor of the layout with its slice and depth."""
    depth: dict[str, tuple[int, float]] = {}
    for labels in stacks(layout).values():
        for index, label in enumerate(labels):
            depth[label] = _depth(index, len(labels), segments)
    outer = len(segments) - 1
    return [Spot(name, *depth.get(place.layer, (0 if place.layer == "emb" else outer, 0.0)))
            for name, place in layout.places.items()]  # fmt: skip


def _depth(index: int, layers: int, segments: Sequence[Segment]) -> tuple[int, float]:
    """Slice of a layer and its depth within; a slice of one layer has depth 1, as in mergekit."""
    for number_, segment in enumerate(segments):
        count = layers if segment.count is None else segment.count
        if segment.first <= index < segment.first + count:
            return number_, (index - segment.first) / (count - 1) if count > 1 else 1.0
    return len(segments) - 1, 0.0
