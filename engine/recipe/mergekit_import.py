"""From a mergekit configuration to a recipe, with a finding for everything that the recipe cannot say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from engine.errors import OutOfRange, UnknownMethod
from engine.files.model import Finding
from engine.methods import find
from engine.recipe import mergekit_settings as settings
from engine.recipe.mergekit_config import Config, finding
from engine.recipe.mergekit_models import assumed_layout, is_hub_name, layout_of, locate, references
from engine.recipe.mergekit_modules import check_modules, module_spots
from engine.recipe.mergekit_rules import rules_for
from engine.recipe.mergekit_stack import IN_PLACE, filled, is_needed, stacking
from engine.recipe.mergekit_table import METHODS, RESTACKED, Entry
from engine.recipe.per_expert import key as own_key
from engine.recipe.per_expert import parts, split
from engine.recipe.places import Where, cover
from engine.recipe.recipe import ModelRef, Recipe, Rule, Value

Covered = tuple[Value, list[tuple[Where, Value]]]
"""The usual value of a parameter, and where it has another."""

DTYPES = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"}


def to_recipe(config: Config, folder: Path) -> tuple[Recipe, tuple[Finding, ...]]:
    """Express a configuration as a recipe.

    Args:
        config: What the file says.
        folder: Where the file lies; relative model paths start here, then in the working folder.

    Raises:
        UnknownMethod: if Mixdown has no counterpart of the method.
        BadRecipe: if a value cannot be used at all.
    """
    entry = METHODS.get(config.method)
    if entry is None or entry.id not in _ids():
        known = ", ".join(name for name, e in METHODS.items() if e.id in _ids())
        raise UnknownMethod(f"Mixdown has no counterpart of mergekit's method {config.method[:100]!r}.",
                            where="merge_method", hint=f"It reads: {known}.")  # fmt: skip
    return _Import(config, entry, folder).run()


def _ids() -> set[str]:
    from engine.methods import registered

    return set(registered())


class _Import:
    """One translation; collects findings on the way."""

    def __init__(self, config: Config, entry: Entry, folder: Path) -> None:
        self._entry, self._folder = entry, folder
        names = dict.fromkeys([*([config.base] if config.base else []), *config.models,
                               *(s.base for s in config.segments if s.base)])  # fmt: skip
        self._found = {name: locate(name, (folder, Path.cwd())) for name in names}
        self._findings = list(config.findings)
        stacked = stacking(config, entry, self._found) if is_needed(config, self._found) else None
        layout = layout_of(path for path in self._found.values() if path is not None)
        self._config = config if layout is not None else self._without_files(config)
        self._layers_known = layout is not None or config.is_sliced
        self._layout = layout or assumed_layout(sum(s.count or 1 for s in config.segments))
        self._stacked = stacked
        if stacked is not None:
            self._layout, self._spots = stacked.layout, stacked.spots
            self._findings += stacked.findings
        else:
            self._findings += check_modules(config, layout)
            if config.modules:
                self._spots = module_spots(self._config, self._layout)
            else:
                self._spots = settings.spots_of(self._layout, self._config.segments)
            if config.method == "passthrough" and len(config.models) + config.lists_base > 1:
                self._entry = RESTACKED

    def run(self) -> tuple[Recipe, tuple[Finding, ...]]:
        """The recipe and all findings."""
        config, entry, stacked = self._config, self._entry, self._stacked
        self._check_parameters()
        if stacked is not None:
            experts, base_model = stacked.experts, stacked.base
            self._check_there(experts, base_model)
        else:
            self._check_layers()
            experts, base_model = self._experts(), None if entry.everyone else config.base
            self._check_there(experts, config.base)
            self._check_count(len(experts))
        base, refs = references(experts, base_model, self._found, self._folder)
        method = find(entry.id)
        recipe = Recipe(base=base, experts=refs, method=method.id, dtype=self._dtype(),
                        extras=self._extras(experts, base_model), stack=stacked.stack if stacked else ())  # fmt: skip
        params = {**entry.fixed, **self._shared(), **self._each(experts, refs), **self._switches(), **self._choice()}
        defaults = method.complete({})
        checked = {n: method.param(n).parse(v) for n, v in params.items() if split(n)[0] in defaults}
        kept = ((n, v) for n, v in checked.items() if n not in defaults or v != defaults[n])
        recipe = replace(recipe, params=tuple(sorted(kept)))
        if entry.fader:
            recipe = recipe.with_rules(self._rules(experts))
        return recipe, tuple(self._findings)

    def _note(self, severity: Literal["info", "warning", "error"], place: str, message: str) -> None:
        self._findings.append(finding(severity, place, message))

    # -- what is said about the whole --------------------------------------------------------------------

    def _without_files(self, config: Config) -> Config:
        """The configuration as far as it can be read without any model; gradients need the number of layers."""
        scopes = [*config.settings, *(scope for s in config.segments for scope in (s.settings, s.around)),
                  *(source.settings for s in config.segments for source in s.sources)]  # fmt: skip
        values = [value for scope in scopes for value in scope.values()]
        if all(not isinstance(value, (list, dict)) for value in values):
            return config
        self._note("warning", "models", "None of the models is on this machine, so tensor names are taken to be those "
                   "of a Llama-like model. Import again once the models are there.")  # fmt: skip
        if any(s.count is None for s in config.segments) and any(map(settings.is_gradient, values)):
            self._note("warning", "parameters", "Gradients need the number of layers, which only the models tell: "
                       "their mean is taken for all layers.")  # fmt: skip
            return flattened(config)
        return config

    def _check_layers(self) -> None:
        counts = [s.count for s in self._config.segments]
        stacks = settings.stacks(self._layout)
        if None in counts or self._config.modules:
            return
        total, layers = sum(c or 0 for c in counts), max(map(len, stacks.values()), default=0)
        if len(stacks) > 1:
            self._note("error", "slices", "The model has several stacks of layers; slices of it are not clear.")
        elif total != layers and not any(f.severity == "error" for f in self._findings):
            self._note("error", "slices", f"The slices make {total} layers, the models have {layers}.")

    def _check_parameters(self) -> None:
        """Say which parameters mergekit itself would ignore, and where our variant falls short."""
        missing = self._entry.missing()
        if missing:
            self._note("warning", "merge_method", f"The mergekit-compatible variant is not there: {missing}.")
        for place, scope in self._scopes():
            for name in sorted(scope.keys() - self._entry.known):
                self._note("info", f"{place}.{name[:100]}", f"mergekit's {self._config.method} has no parameter "
                           f"{name[:100]!r} and ignores it, and so does Mixdown.")  # fmt: skip
            for name in sorted(scope.keys() & self._entry.ignored):
                self._note("info", f"{place}.{name}", "Without effect here: it changes how mergekit calculates, not "
                           "what.")  # fmt: skip
        if self._entry.random:
            self._note("info", "merge_method", "Masks are drawn at random; both programs drop other elements.")
        based = not self._entry.everyone and not self._entry.from_base
        if based and self._config.base is None and self._stacked is None:
            self._note("error", "base_model", f"mergekit's {self._config.method} needs a base_model.")

    def _check_count(self, count: int) -> None:
        least, most = self._entry.models
        if count < least or (most is not None and count > most):
            wanted = str(least) if most == least else f"at least {least}"
            self._note("error", "models", f"mergekit's {self._config.method} takes {wanted} beside the base; here are "
                       f"{count}.")  # fmt: skip
        parts_of = {frozenset(s.model for s in segment.sources if s.model != self._config.base)
                    for segment in self._config.segments}  # fmt: skip
        if self._config.modules and len(parts_of) > 1 and self._config.method not in IN_PLACE:
            self._note("error", "modules", f"mergekit's {self._config.method} of other models in each module cannot be "
                       "expressed.")  # fmt: skip
        if self._entry is RESTACKED and any(len(s.sources) > 1 for s in self._config.segments):
            self._note("error", "models", "mergekit's passthrough takes one model for each slice.")

    def _scopes(self) -> list[tuple[str, Mapping[str, Any]]]:
        config = self._config
        found = [("parameters", scope) for scope in config.settings]
        for i, segment in enumerate(config.segments):
            place = f"slices[{i}]." if segment.count is not None else ""
            name = "sources" if segment.count is not None else "models"
            found += [(f"{place}parameters", segment.settings), ("modules.parameters", segment.around)]
            found += [(f"{place}{name}[{j}].parameters", s.settings) for j, s in enumerate(segment.sources)]
        return found

    def _dtype(self) -> str:
        config = self._config
        wanted = config.out_dtype or config.dtype
        for place, name in (("dtype", config.dtype), ("out_dtype", config.out_dtype)):
            if name and name not in DTYPES:
                raise OutOfRange(f"mergekit has no dtype {name[:40]!r}.", where=place, hint=f"Use {', '.join(DTYPES)}.")
        if config.dtype in ("float16", "bfloat16"):
            self._note("info", "dtype", f"mergekit calculates in {config.dtype}; Mixdown in float32, and rounds once.")
        return DTYPES.get(wanted, "")

    def _extras(self, experts: Sequence[str], base: str | None) -> tuple[tuple[str, str], ...]:
        """What only mergekit uses, kept for an export: model names, tokenizer, the types it calculates in."""
        config = self._config
        kept = {f"mergekit.{key}": value for key, value in config.kept}
        kept |= {f"mergekit.{k}": v for k, v in (("dtype", config.dtype), ("out_dtype", config.out_dtype)) if v}
        named = {f"e{i + 1}": model for i, model in enumerate(experts)}
        if base is not None:
            named["base"] = base
        kept |= {f"mergekit.model.{id_}": model for id_, model in named.items() if is_hub_name(model, self._folder)}
        if config.method not in (self._entry.id, ""):
            kept["mergekit.merge_method"] = config.method
        return tuple(sorted(kept.items()))

    # -- models and coefficients -------------------------------------------------------------------------

    def _experts(self) -> tuple[str, ...]:
        """The models that are merged; where the base is an input like any other, it comes first."""
        config = self._config
        experts = config.models
        if self._entry.everyone and config.base is not None:
            if config.lists_base:
                experts = (config.base, *experts)
            else:
                self._note("warning", "base_model", f"mergekit's {config.method} counts base_model as one more model; "
                           "it is not listed with a weight and stays out here.")  # fmt: skip
        return experts

    def _check_there(self, experts: Sequence[str], base: str | None) -> None:
        """Say which models are not on this machine or listed twice."""
        for model in dict.fromkeys([*experts, *([base] if base else [])]):
            if self._found.get(model) is None:
                self._note("warning", "models", f"{model[:200]} is not on this machine. Locate it in the window, or "
                           "put its folder beside the file.")  # fmt: skip
            listed = max(sum(s.model == model for s in segment.sources) for segment in self._config.segments)
            if listed > 1:
                self._note("warning", "models", f"{model[:200]} is listed twice; mergekit takes the first weight.")

    def _rules(self, experts: Sequence[str]) -> list[Rule]:
        """Coefficients of all experts as rules."""
        columns = [self._faders(model) for model in experts]
        if self._entry.divides:
            self._divide(columns)
        rules: list[Rule] = []
        for number, values in enumerate(columns):
            if self._stacked is not None:
                part = [spot.has(experts[number], self._config) for spot in self._spots]
                values = filled(values, part, self._layout)
            wanted = dict(zip((s.name for s in self._spots), values, strict=True))
            rules += rules_for(f"e{number + 1}", wanted, self._layout)
        if self._layers_known:
            return rules
        kept = [r for r in rules if r.tensor is None and (r.layer is None or not r.layer.isdigit())]
        if len(kept) < len(rules):
            self._note("warning", "parameters", "Filters for single tensors need the models; they were left out.")
        return kept

    def _faders(self, model: str) -> list[float]:
        """Coefficient of one model for every tensor: 0 in slices that do not use it."""
        config, entry = self._config, self._entry
        shared = entry.fader == "t"
        default = entry.defaults.get(entry.fader)
        found = settings.column(config, entry.fader, self._spots, None if shared else model, settings.number,
                                None if default is None else float(default))  # fmt: skip
        if any(value is None and spot.has(model, config) for value, spot in zip(found, self._spots, strict=True)):
            self._note("warning", f"parameters.{entry.fader}", f"{model[:200]} has no {entry.fader}, without which "
                       "mergekit refuses to merge; the default coefficient is taken.")  # fmt: skip
        fallback = find(entry.id).coefficient
        return [(fallback if value is None else float(value)) if spot.has(model, config) else 0.0
                for value, spot in zip(found, self._spots, strict=True)]  # fmt: skip

    def _divide(self, columns: list[list[float]]) -> None:
        """`normalize`: divide the faders of each tensor by their sum, as mergekit divides the merged delta."""
        default = bool(self._entry.defaults.get("normalize", False))
        wanted = settings.column(self._config, "normalize", self._spots, None, settings.switch, default)
        for i, divide in enumerate(wanted):
            total = sum(column[i] for column in columns)
            if divide and abs(total) >= 1e-8:
                for column in columns:
                    column[i] /= total

    # -- parameters --------------------------------------------------------------------------------------

    def _shared(self) -> dict[str, Value]:
        """Parameters of the whole merge, with their values of single places."""
        found: dict[str, Value] = {}
        for theirs, ours in self._entry.shared.items():
            default = self._entry.defaults.get(theirs)
            values = settings.column(self._config, theirs, self._spots, None, settings.number,
                                     None if default is None else float(default))  # fmt: skip
            if None in values:
                self._note("error", f"parameters.{theirs}", f"{theirs} is not set for all tensors, which mergekit "
                           "refuses to merge; the default is taken.")  # fmt: skip
            fallback = find(self._entry.id).param(ours).default
            self._say(found, ours, "", self._covered([fallback if v is None else v for v in values]))
        return found

    def _each(self, experts: Sequence[str], refs: Sequence[ModelRef]) -> dict[str, Value]:
        """Parameters of each model: the most usual value for all, and their own for those that have another."""
        found: dict[str, Value] = {}
        for theirs, ours in self._entry.each.items():
            default = float(self._entry.defaults[theirs])
            said: dict[str, Covered] = {}
            for model, ref in zip(experts, refs, strict=True):
                part = [spot.has(model, self._config) for spot in self._spots]
                if any(part):
                    values = settings.column(self._config, theirs, self._spots, model, settings.number, default)
                    said[ref.name] = self._covered(filled([float(v or 0.0) for v in values], part, self._layout))
            if not said:
                continue
            first = next(iter(said.values()))
            if all(cover == first for cover in said.values()):
                self._say(found, ours, "", first)
                continue
            common = Counter(usual for usual, _ in said.values()).most_common(1)[0][0]
            for name, (usual, places) in said.items():
                self._say(found, ours, name, (usual, places))
                if usual == common:
                    del found[own_key(ours, name)]
            found[ours] = common
        return found

    def _covered(self, values: Sequence[Value]) -> Covered:
        """The usual value and where it differs."""
        return cover(dict(zip((spot.name for spot in self._spots), values, strict=True)), self._layout)

    def _say(self, found: dict[str, Value], ours: str, expert: str, said: Covered) -> None:
        """Put a parameter's usual value and those of places among the recipe's parameters."""
        found[own_key(ours, expert)] = said[0]
        for place, value in said[1]:
            name = own_key(ours, expert, place.text)
            if parts(name) != (ours, expert, place.text):
                self._note("error", f"parameters.{ours}", f"{ours} differs for {place.text[:200]}, whose name a recipe "
                           "cannot hold.")  # fmt: skip
                continue
            found[name] = value

    def _switches(self) -> dict[str, Value]:
        """Parameters from switches."""
        found: dict[str, Value] = {}
        for theirs, (ours, on, off) in self._entry.switches.items():
            self._say(found, ours, "", self._covered([on if value else off for value in self._switch(theirs)]))
        return found

    def _choice(self) -> dict[str, Value]:
        choice, found = self._entry.choice, dict[str, Value]()
        if choice is not None:
            flags = zip(*(self._switch(theirs) for theirs in choice.theirs), strict=True)
            self._say(found, choice.ours, "", self._covered([choice.values[pair] for pair in flags]))
        return found

    def _switch(self, theirs: str) -> list[bool]:
        """A switch for every tensor."""
        default = bool(self._entry.defaults.get(theirs, False))
        values = settings.column(self._config, theirs, self._spots, None, settings.switch, default)
        return [bool(value) for value in values]


def flattened(config: Config) -> Config:
    """The configuration with every gradient replaced by its mean."""

    def flat(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: flat(item) if key == "value" else item for key, item in value.items()}
        if isinstance(value, list):
            if any(isinstance(item, (dict, bool)) for item in value) or not value:
                return [flat(item) if isinstance(item, dict) else item for item in value]
            return sum(map(settings.number, value)) / len(value)
        return value

    def scope(table: Mapping[str, Any]) -> dict[str, Any]:
        return {name: flat(value) for name, value in table.items()}

    segments = tuple(
        replace(s, settings=scope(s.settings),
                sources=tuple(replace(source, settings=scope(source.settings)) for source in s.sources))
        for s in config.segments
    )  # fmt: skip
    return replace(config, segments=segments, settings=tuple(map(scope, config.settings)))
