"""The structure of a mergekit configuration: models or slices, parameters and their scopes, as frozen values.

Follows mergekit 0.1.5 (`config.py`, `plan.py`). Nothing is dropped: what has no place here becomes a finding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from engine.errors import BadRecipe
from engine.files.model import Finding

Settings = Mapping[str, Any]
"""Parameter name -> scalar, gradient (list of scalars), or list of {filter, value}."""

_TOP = {"modules", "slices", "models", "merge_method", "base_model", "dtype", "out_dtype", "tokenizer_source",
        "tokenizer", "chat_template", "parameters"}  # fmt: skip
MAX_MODELS = 1000
MAX_LAYERS = 1024


def finding(severity: Literal["info", "warning", "error"], place: str, message: str, hint: str = "") -> Finding:
    """A finding about one place of a configuration; its code is `mergekit:` and the place."""
    return Finding(severity, f"mergekit:{place}", message, hint)


@dataclass(frozen=True, slots=True)
class Source:
    """One model of a slice with its own parameters; its layers are taken from `first` on."""

    model: str
    settings: Settings = field(default_factory=dict)
    first: int = 0


@dataclass(frozen=True, slots=True)
class Segment:
    """Consecutive layers that are merged from the same models.

    Attributes:
        first: Index of the first layer in the output.
        count: Number of layers; None for all layers that there are.
        sources: The models.
        settings: Parameters of the slice.
        base: The base of these layers.
        around: Parameters of the module that the slice is in, if there are several.
    """

    first: int
    count: int | None
    sources: tuple[Source, ...]
    settings: Settings = field(default_factory=dict)
    base: str | None = None
    around: Settings = field(default_factory=dict)

    @property
    def stays(self) -> bool:
        """Whether every layer keeps its number."""
        return all(source.first == self.first for source in self.sources)

    def has(self, model: str | None) -> bool:
        """Whether a model is one of the sources."""
        return any(source.model == model for source in self.sources)

    def scopes(self, model: str | None) -> Iterator[Settings]:
        """Parameters of the source, then of the slice and of its module."""
        for source in self.sources if model is not None else ():
            if source.model == model:
                yield source.settings
        yield self.settings
        yield self.around


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A mergekit configuration.

    Attributes:
        method: `merge_method`.
        base: `base_model`, or None.
        segments: At least one.
        settings: Parameter scopes around the segments, the inner one first.
        kept: Top-level entries that only other programs use ("tokenizer_source"), as text.
        dtype: Type that mergekit computes in, "" for that of the models.
        out_dtype: Type of the output, "" for `dtype`.
        findings: What of the structure cannot be expressed.
        modules: Name of the module of each segment, if there are several modules; else empty.
    """

    method: str
    base: str | None
    segments: tuple[Segment, ...]
    settings: tuple[Settings, ...]
    kept: tuple[tuple[str, str], ...]
    dtype: str
    out_dtype: str
    findings: tuple[Finding, ...]
    modules: tuple[str, ...] = ()

    @property
    def models(self) -> tuple[str, ...]:
        """All models but the base, in the order in which they occur."""
        found = dict.fromkeys(s.model for segment in self.segments for s in segment.sources)
        return tuple(model for model in found if model != self.base)

    @property
    def lists_base(self) -> bool:
        """Whether the base is also one of the inputs."""
        return any(segment.has(self.base) for segment in self.segments)

    @property
    def is_sliced(self) -> bool:
        """Whether it is written in slices of the whole model."""
        return not self.modules and self.segments[0].count is not None


def read(data: Any) -> Config:
    """Check the structure of a parsed configuration.

    Raises:
        BadRecipe: if it is not a mergekit configuration.
    """
    return _Reader().read(data)


class _Reader:
    """Walks a configuration and collects findings."""

    def __init__(self) -> None:
        self._found: list[Finding] = []

    def read(self, data: Any) -> Config:
        table = _table(data, "the file")
        method = _text(table.get("merge_method"), "merge_method")
        self._unknown(table, _TOP, "")
        settings = [_table(table.get("parameters") or {}, "parameters")]
        if len(_table(table.get("modules") or {}, "modules")) > 1:
            parts = self._modules(table)
            names = tuple(name for name, _ in parts)
            return self._config(table, method, tuple(segment for _, segment in parts), settings, names)
        module, place = self._module(table)
        if module is not table and module.get("parameters"):
            settings.insert(0, _table(module["parameters"], f"{place}parameters"))
        if ("models" in module) == ("slices" in module):
            raise BadRecipe("Exactly one of models, slices and modules must be there.", where=place)
        base = _model(table["base_model"], "base_model", self) if table.get("base_model") else None
        whole = "models" in module
        made = self._whole(module["models"], base, place) if whole else None
        segments = (made,) if made is not None else self._slices(module["slices"], base, place)
        return self._config(table, method, segments, settings)

    def _config(self, table: Settings, method: str, segments: tuple[Segment, ...], settings: list[Settings],
                modules: tuple[str, ...] = ()) -> Config:  # fmt: skip
        """The configuration, once its segments are known, and which module each is of."""
        if sum(len(s.sources) for s in segments) > MAX_MODELS:
            raise BadRecipe(f"The configuration lists more than {MAX_MODELS} models.")
        return Config(
            method=method.lower(),
            base=_model(table["base_model"], "base_model", _Reader()) if table.get("base_model") else None,
            segments=segments,
            settings=tuple(settings),
            kept=self._kept(table),
            dtype=_optional(table, "dtype"),
            out_dtype=_optional(table, "out_dtype"),
            findings=tuple(self._found),
            modules=modules,
        )

    def note(self, severity: Literal["info", "warning", "error"], place: str, message: str) -> None:
        """Add a finding."""
        self._found.append(finding(severity, place, message))

    def _module(self, table: Settings) -> tuple[Settings, str]:
        """The one module of a `modules:` configuration, or the configuration itself."""
        if "modules" not in table:
            return table, ""
        modules = _table(table["modules"], "modules")
        if len(modules) != 1 or "models" in table or "slices" in table:
            raise BadRecipe("Exactly one of models, slices and modules must be there.", where="modules")
        name, module = next(iter(modules.items()))
        self._unknown(_table(module, name), {"models", "slices", "parameters"}, f"modules.{name}.")
        return module, f"modules.{name}."

    def _modules(self, table: Settings) -> list[tuple[str, Segment]]:
        """Several modules: one segment for each, of all its layers, or its slices."""
        if "models" in table or "slices" in table:
            raise BadRecipe("Exactly one of models, slices and modules must be there.", where="modules")
        base = _model(table["base_model"], "base_model", self) if table.get("base_model") else None
        made: list[tuple[str, Segment]] = []
        for name, module in table["modules"].items():
            place = f"modules.{str(name)[:100]}."
            self._unknown(_table(module, place), {"models", "slices", "parameters"}, place)
            if ("models" in module) == ("slices" in module) or not isinstance(name, str):
                raise BadRecipe("Exactly one of models and slices must be there.", where=place)
            around = _table(module.get("parameters") or {}, f"{place}parameters")
            if "models" in module:
                parts: tuple[Segment, ...] = (self._whole(module["models"], base, place),)
            else:
                parts = self._slices(module["slices"], base, place)
            made += [(name, replace(part, around=around)) for part in parts]
        return made

    def _unknown(self, table: Settings, known: set[str], place: str) -> None:
        for key in table:
            if key not in known:
                self.note("warning", f"{place}{key}"[:200], "Neither Mixdown nor mergekit 0.1.5 knows this entry.")

    def _kept(self, table: Settings) -> tuple[tuple[str, str], ...]:
        """Entries about tokenizers, kept for an export; Mixdown always takes the base's tokenizer files."""
        import json

        found = []
        for key in ("tokenizer_source", "tokenizer", "chat_template"):
            value = table.get(key)
            if value is None:
                continue
            found.append((key, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)))
            plain = key == "tokenizer_source" and value == "base"
            self.note("info" if plain else "warning", key,
                      f"{key} is kept in the recipe, but Mixdown leaves vocabularies as they are and copies the "
                      "tokenizer files of the base.")  # fmt: skip
        return tuple(found)

    def _whole(self, models: Any, base: str | None, place: str) -> Segment:
        sources = tuple(self._source(m, f"{place}models[{i}]", {"model", "parameters"})
                        for i, m in enumerate(_list(models, f"{place}models")))  # fmt: skip
        return Segment(0, None, sources, base=base)

    def _source(self, raw: Any, place: str, known: set[str], first: int = 0) -> Source:
        table = _table(raw, place)
        self._unknown(table, known, f"{place}.")
        settings = _table(table.get("parameters") or {}, f"{place}.parameters")
        return Source(_model(table.get("model"), f"{place}.model", self), settings, first)

    def _slices(self, slices: Any, base: str | None, place: str) -> tuple[Segment, ...]:
        """The slices, one behind the other in the output."""
        found, layer = [], 0
        for index, raw in enumerate(_list(slices, f"{place}slices")):
            here = f"{place}slices[{index}]"
            table = _table(raw, here)
            self._unknown(table, {"sources", "parameters", "base_model", "residual_weight"}, f"{here}.")
            if table.get("residual_weight") is not None:
                self.note("warning", f"{here}.residual_weight", "mergekit ignores this entry, and so does Mixdown.")
            own = _model(table["base_model"], f"{here}.base_model", self) if table.get("base_model") else base
            sources = _list(table.get("sources"), f"{here}.sources")
            ranges = [_range(_table(s, f"{here}.sources[{i}]").get("layer_range"), f"{here}.sources[{i}].layer_range")
                      for i, s in enumerate(sources)]  # fmt: skip
            count = ranges[0][1] - ranges[0][0]
            if any(stop - first != count for first, stop in ranges):
                raise BadRecipe("The sources of a slice must all have the same number of layers.", where=here,
                                hint="layer_range leaves out its end: [8, 24] are the 16 layers 8 to 23.")  # fmt: skip
            known = {"model", "layer_range", "parameters"}
            made = tuple(self._source(s, f"{here}.sources[{i}]", known, ranges[i][0]) for i, s in enumerate(sources))
            twice = next((s.model for s in made if sum(s.model == other.model for other in made) > 1), None)
            if twice is not None:
                raise BadRecipe(f"{twice[:200]} is a source of this slice twice.", where=here,
                                hint="mergekit allows each model once in a slice.")  # fmt: skip
            found.append(Segment(layer, count, made, _table(table.get("parameters") or {}, f"{here}.parameters"), own))
            layer += count
            if layer > MAX_LAYERS:
                raise BadRecipe(f"The slices make more than {MAX_LAYERS} layers.", where=here)
        return tuple(found)


def _table(value: Any, place: str) -> Settings:
    if not isinstance(value, dict):
        raise BadRecipe(f"{place} must be a table of names and values.", hint="Is this a mergekit configuration?")
    return value


def _list(value: Any, place: str) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise BadRecipe(f"{place} must be a list that is not empty.", hint="Is this a mergekit configuration?")
    return value


def _text(value: Any, place: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise BadRecipe(f"{place} is missing or not text.", hint="Is this a mergekit configuration?")
    return value.strip()


def _optional(table: Settings, key: str) -> str:
    return "" if table.get(key) is None else _text(table[key], key).removeprefix("torch.")


def _range(value: Any, place: str) -> tuple[int, int]:
    good = isinstance(value, list) and len(value) == 2 and all(type(n) is int for n in value)
    if not good or not 0 <= value[0] < value[1] <= MAX_LAYERS:
        raise BadRecipe(f"{place} must be two whole numbers, the first and the one behind the last layer.")
    return value[0], value[1]


def _model(value: Any, place: str, reader: _Reader) -> str:
    """Path or hub name of a model; what cannot be done with it becomes a finding."""
    if isinstance(value, dict):
        reader._unknown(value, {"model", "path", "revision", "lora", "override_architecture"}, f"{place}.")
        inner = value.get("model", value)
        path = _text(inner.get("path") if isinstance(inner, dict) else inner, place)
        revision = inner.get("revision") if isinstance(inner, dict) else None
        lora = value.get("lora")
    else:
        path, plus, lora = _text(value, place).partition("+")
        path, at, revision = path.partition("@")
        lora, revision = lora if plus else None, revision if at else None
    if lora:
        reader.note("error", place, "A model with a LoRA on top cannot be expressed; merge the LoRA into it first.")
    if revision:
        reader.note("warning", place, f"The revision {revision!r} is not checked; Mixdown takes the files that are "
                    "there.")  # fmt: skip
    if isinstance(value, dict) and value.get("override_architecture"):
        reader.note("info", place, "override_architecture has no effect: Mixdown reads the tensors themselves.")
    return path.strip()
