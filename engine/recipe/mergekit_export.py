"""From a recipe to a mergekit configuration, with a finding for everything that mergekit cannot say."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import partial
from operator import eq
from pathlib import Path
from typing import Any, Literal

import numpy as np

from engine.errors import NotEnoughExperts, UnknownMethod
from engine.files.model import Finding, Layout
from engine.methods import find
from engine.methods.spec import Method
from engine.recipe.mergekit_config import finding
from engine.recipe.mergekit_import import DTYPES
from engine.recipe.mergekit_models import assumed_layout, short_name
from engine.recipe.mergekit_rules import coefficients
from engine.recipe.mergekit_slices import slices_of
from engine.recipe.mergekit_table import METHODS, Entry, names_of
from engine.recipe.mergekit_words import words
from engine.recipe.per_expert import key as own_key
from engine.recipe.per_expert import parts
from engine.recipe.places import Placed, has_places, placed
from engine.recipe.recipe import ModelRef, Recipe, Value
from engine.recipe.resolve import heard
from engine.recipe.stack import depth

_NAMES = {ours: theirs for theirs, ours in DTYPES.items()}


def to_config(recipe: Recipe, layout: Layout | None, stored: str = "") -> tuple[dict[str, Any], tuple[Finding, ...]]:
    """Express a recipe as mergekit's plain data.

    Args:
        recipe: To express.
        layout: Of the base; None when no model is here, then only coarse rules can be said.
        stored: Main dtype of the models ("BF16"), for the type of the output.

    Raises:
        UnknownMethod: if mergekit has no counterpart of the method.
        NotEnoughExperts: if there is no expert.
    """
    if not recipe.experts:
        raise NotEnoughExperts("The recipe has no experts.", hint="Add at least one fine-tune.")
    if not names_of(recipe.method):
        raise UnknownMethod(f"mergekit has no counterpart of {find(recipe.method).title}.",
                            hint=f"It has: {', '.join(METHODS)}.")  # fmt: skip
    return _Export(recipe, layout, stored).run()


class _Export:
    """One translation; collects findings on the way."""

    def __init__(self, recipe: Recipe, layout: Layout | None, stored: str) -> None:
        self._recipe, self._stored = recipe, stored
        self._findings: list[Finding] = []
        self._extras = {k.removeprefix("mergekit."): v for k, v in recipe.extras if k.startswith("mergekit.")}
        self._method: Method = find(recipe.method)
        self._params = self._method.complete(dict(recipe.params))
        self._name = self._best_name()
        self._entry: Entry = METHODS[self._name]
        if layout is None and any(r.layer is not None for r in recipe.rules):
            self._note("warning", "parameters", "No model is here to tell the layers; rules for single layers were "
                       "left out.")  # fmt: skip
        self._layout = layout or assumed_layout(depth(recipe.stack) or 1)
        self._placed = self._in_places(layout)
        self._values = coefficients(recipe, self._layout, self._method.coefficient) * heard(recipe)[:, None]

    def run(self) -> tuple[dict[str, Any], tuple[Finding, ...]]:
        """The configuration, its entries in the usual order, and all findings."""
        shared = self._parameters()
        missing = self._entry.missing()
        if missing:
            self._note("warning", "merge_method", f"mergekit's variant is another one: {missing}.")
        data: dict[str, Any] = {}
        base: ModelRef | None
        if self._recipe.stack:
            places = {name: value for name, value in shared.items() if isinstance(value, dict)}
            data["slices"], base = self._slices(places), self._recipe.base
            shared = {name: value for name, value in shared.items() if name not in places}
        elif self._entry.fader == "t":
            data["models"], base, shared["t"] = self._walk()
        else:
            data["models"], base = self._models(), self._recipe.base
        data["merge_method"] = self._name
        if base is not None and (self._takes_base() or self._recipe.stack):
            data["base_model"] = self._path(base)
        if shared:
            data["parameters"] = {name: self._said(value) for name, value in shared.items()}
        data |= self._dtypes()
        data |= self._tokenizer()
        return data, tuple(self._findings)

    def _note(self, severity: Literal["info", "warning", "error"], place: str, message: str) -> None:
        self._findings.append(finding(severity, place, message))

    def _in_places(self, layout: Layout | None) -> dict[str, Any]:
        """All parameters, with the values of places gathered; those that need a model to be known are left out."""
        if layout is None and has_places(self._params):
            self._note("warning", "parameters", "No model is here to tell the layers; parameters of single places were "
                       "left out.")  # fmt: skip
            self._params = {n: v for n, v in self._params.items() if not parts(n)[2]}
        return placed(self._params, self._layout)

    def _said(self, value: Any) -> Any:
        """A parameter in mergekit's words; a table says one for every tensor."""
        return words(value, self._layout) if isinstance(value, dict) else value

    def _each_tensor(self, value: Any, change: Callable[[Any], Any] = lambda v: v) -> Any:
        """A parameter as mergekit's value, or as a table of values for every tensor."""
        if not isinstance(value, Placed):
            return change(value)
        return {name: change(value.of(name)) for name in self._layout.places}

    def _best_name(self) -> str:
        """The name that mergekit has for the method: the one it came with, else the variant that differs least."""
        names = names_of(self._recipe.method)
        came = self._extras.get("merge_method", "")

        def distance(name: str) -> tuple[int, bool]:
            fixed = METHODS[name].fixed
            return sum(self._params.get(p) != v for p, v in fixed.items()), name != came

        return min(names, key=distance)

    def _takes_base(self) -> bool:
        """Whether mergekit must be told the base."""
        if self._entry.from_base:
            return bool(self._params[self._entry.from_base])
        return not self._entry.everyone

    # -- models ------------------------------------------------------------------------------------------

    def _models(self) -> list[dict[str, Any]]:
        """Every heard expert with its weight."""
        found = []
        for ref, row in zip(self._recipe.experts, self._values * self._factor(), strict=True):
            if not row.any():
                self._note("info", "models", f"{ref.name} is silent and was left out.")
                continue
            model: dict[str, Any] = {"model": self._path(ref)}
            said = {self._entry.fader: self._setting(row)} if self._entry.fader else {}
            said |= {name: self._said(value) for name, value in self._own(ref).items()}
            found.append({**model, "parameters": said} if said else model)
        if not found:
            raise NotEnoughExperts("Every expert is silent.", hint="Raise a fader first.")
        self._check_count(len(found))
        self._check_silence()
        if self._entry.everyone and (abs(self._values.sum(axis=0)) < 1e-12).any():
            self._note("warning", "models", "For some tensors all faders are 0; Mixdown keeps the base there, mergekit "
                       "has no value.")  # fmt: skip
        return found

    def _check_silence(self) -> None:
        """Faders that a method without weights cannot say."""
        heard_rows = self._values[self._values.any(axis=1)]
        if not self._entry.fader and (heard_rows != self._method.coefficient).any():
            self._note("warning", "models", f"mergekit's {self._name} takes all models as they are; the faders cannot "
                       "be said.")  # fmt: skip

    def _factor(self) -> Any:
        """What mergekit says with the faders: a number, or one for every tensor."""
        found = self._each_tensor(self._placed[self._entry.factor], float) if self._entry.factor else 1.0
        return np.array(list(found.values())) if isinstance(found, dict) else found

    def _slices(self, shared: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The stack, with every expert's weight where it takes part, and shared parameters of places."""
        silent = [ref.name for ref, row in zip(self._recipe.experts, self._values, strict=True) if not row.any()]
        if silent and not self._entry.fader:
            self._note("error", "slices", f"mergekit's {self._name} has no weights, so that {', '.join(silent)} cannot "
                       "be silent in a stack.")  # fmt: skip
        used = {s.model for part in self._recipe.stack for s in part.sources}
        for ref in self._recipe.experts:
            if ref.id not in used:
                self._note("warning", "slices", f"{ref.name} is in no slice and was left out.")
        self._check_silence()
        values = self._values * self._factor()
        return slices_of(self._recipe, self._layout, values, self._entry, self._path, self._own, shared)

    def _own(self, ref: ModelRef) -> dict[str, Any]:
        """Parameters that an expert has for itself; a table says one for every tensor."""
        own = {theirs: own_key(ours, ref.name) for theirs, ours in self._entry.each.items()}
        return {theirs: self._each_tensor(self._placed[name]) for theirs, name in own.items() if name in self._placed}

    def _check_count(self, count: int) -> None:
        least, most = self._entry.models
        if count < least or (most is not None and count > most):
            wanted = str(least) if most == least else f"at least {least}"
            self._note("error", "models", f"mergekit's {self._name} takes {wanted} beside the base; here are {count}.")

    def _walk(self) -> tuple[list[dict[str, Any]], ModelRef, Any]:
        """Both ends of a walk, the one it starts from, and the position on it."""
        recipe = self._recipe
        refs, rows = recipe.experts, self._values
        if len(refs) == 1 and recipe.base is not None:
            ends, t = (recipe.base, refs[0]), rows[0]
        elif len(refs) == 2:
            total = rows.sum(axis=0)
            if (total == 0).any():
                self._note("warning", "parameters.t", "Two faders cancel out somewhere; the middle is written.")
            ends = (refs[0], refs[1])
            t = np.where(total == 0, 0.5, rows[1] / np.where(total == 0, 1.0, total))
        else:
            raise NotEnoughExperts("mergekit's slerp needs two models: base and expert, or two experts.")
        return [{"model": self._path(ref)} for ref in ends], ends[0], self._setting(t)

    def _path(self, ref: ModelRef) -> str:
        """The name it had in the imported file if that was a hub name, else the absolute path."""
        kept = self._extras.get(f"model.{ref.id}")
        if kept is not None and short_name(kept) != re.sub(r" \d+$", "", ref.name):
            kept = None  # another model took this place
        if kept is None and Path(ref.path).suffix == ".safetensors":
            self._note("warning", "models", f"{ref.name} is a single file; mergekit opens model folders only.")
        return kept or ref.path

    def _setting(self, row: np.ndarray) -> Any:
        """A row of coefficients in mergekit's words."""
        return words(dict(zip(self._layout.places, row.tolist(), strict=True)), self._layout)

    # -- parameters --------------------------------------------------------------------------------------

    def _parameters(self) -> dict[str, Any]:
        """Parameters of the whole merge that differ from mergekit's defaults; a table says one for every tensor."""
        entry, params = self._entry, self._placed
        shared: dict[str, Any] = {}
        for theirs, ours in {**entry.shared, **entry.each}.items():
            if ours in params and params[ours] != entry.defaults.get(theirs):
                shared[theirs] = self._each_tensor(params[ours])
        for theirs, (ours, on, off) in entry.switches.items():
            values = {params[ours].of(n) for n in self._layout.places} if isinstance(params.get(ours), Placed) else ()
            if not {*values} <= {on, off} or (not values and params.get(ours) not in (on, off)):
                self._lost(ours, params.get(ours), f"{theirs} true or false")
            elif values or (params[ours] == on) is not entry.defaults.get(theirs, False):
                shared[theirs] = self._each_tensor(params[ours], partial(eq, on))
        for ours, value in entry.fixed.items():
            if params.get(ours) != value and ours != entry.from_base:
                self._lost(ours, params.get(ours), str(value))
        for param in self._method.params:
            if param.name not in entry.said and params[param.name] != param.default:
                self._lost(param.name, params[param.name], "no such parameter")
        if entry.random:
            self._note("info", "parameters", "Masks are drawn at random; both programs drop other elements.")
        return shared | self._choices()

    def _choices(self) -> dict[str, Any]:
        """Switches of mergekit that are one parameter of ours, where they are not at their defaults."""
        choice = self._entry.choice
        if choice is None:
            return {}
        value, shared = self._placed[choice.ours], dict[str, Any]()
        for i, theirs in enumerate(choice.theirs):
            flags = {said: found[i] for found, said in reversed(list(choice.values.items()))}
            said = self._each_tensor(value, flags.__getitem__)
            if said != self._entry.defaults[theirs]:
                shared[theirs] = said
        return shared

    def _lost(self, name: str, value: Value | None, instead: str) -> None:
        self._note("warning", f"parameters.{name}", f"{name} = {value} cannot be said; mergekit's {self._name} has "
                   f"{instead}.")  # fmt: skip

    # -- the rest ----------------------------------------------------------------------------------------

    def _dtypes(self) -> Mapping[str, Any]:
        """The types it came with, else float32 for calculating and the recipe's or models' type for the output."""
        came: dict[str, str] = {k: self._extras[k] for k in ("dtype", "out_dtype") if k in self._extras}
        if came and DTYPES.get(came.get("out_dtype") or came.get("dtype", ""), "") == self._recipe.dtype:
            return came
        if self._name == "passthrough" and not self._recipe.dtype:
            return {}  # every tensor keeps its type, and is scaled in float32 there, too
        out = _NAMES.get(self._recipe.dtype or self._stored)
        if out is None:
            self._note("info", "dtype", "No model is here to tell the type; mergekit will calculate in theirs.")
            return {}
        return {"dtype": "float32"} if out == "float32" else {"dtype": "float32", "out_dtype": out}

    def _tokenizer(self) -> Mapping[str, Any]:
        """Entries about tokenizers as they came."""
        found: dict[str, Any] = {}
        for key in ("tokenizer_source", "tokenizer", "chat_template"):
            if key in self._extras:
                found[key] = _unpacked(self._extras[key]) if key != "chat_template" else self._extras[key]
        return found


def _unpacked(text: str) -> Any:
    """A value that was kept as text: a table as JSON, or plain text."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, dict) else text
