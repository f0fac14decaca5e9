"""mergekit's slices that move layers: the stack of a recipe, and what each tensor of the merged model is made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.errors import Mismatch, MixdownError
from engine.files.checkpoint import open_checkpoint
from engine.files.layout import describe
from engine.files.model import Finding, Layout, TensorInfo
from engine.files.restack import Numbered, as_named, numbered
from engine.recipe.mergekit_config import Config, Segment, finding
from engine.recipe.mergekit_models import assumed_layout
from engine.recipe.mergekit_settings import Spot
from engine.recipe.mergekit_table import Entry
from engine.recipe.stack import BASE_ID, Slice, Source, Stack

IN_PLACE = frozenset({"linear", "task_arithmetic", "ties", "dare_linear", "dare_ties", "della", "della_linear",
                       "breadcrumbs", "breadcrumbs_ties", "passthrough"})  # fmt: skip
"""Methods where a fader at 0 is the same as taking no part, so that slices in place are plain coefficients."""


@dataclass(frozen=True)
class Stacking:
    """A configuration in slices as a stack.

    Attributes:
        experts: mergekit's names of the experts, in order.
        base: mergekit's name of the base, or None.
        stack: The recipe's stack.
        layout: Of the merged model.
        spots: Every tensor of the merged model, with the models that take part in it.
        findings: What is wrong or worth knowing.
    """

    experts: tuple[str, ...]
    base: str | None
    stack: Stack
    layout: Layout
    spots: list[Spot]
    findings: tuple[Finding, ...]


def is_needed(config: Config, found: Mapping[str, Path | None]) -> bool:
    """Whether slices move, repeat or drop layers, or cannot be said as coefficients.

    Args:
        config: What the file says.
        found: Where its models are.
    """
    if not config.is_sliced:
        return False
    segments = config.segments
    if any(not s.stays for s in segments) or any(s.base != config.base for s in segments):
        return True
    if len(segments[-1].sources) > len(segments[0].sources):
        return True  # what comes after the layers is then made of some sources only
    if any({x.model for x in s.sources} != {x.model for x in segments[0].sources} for s in segments) and (
        config.method not in IN_PLACE
    ):
        return True
    total = sum(s.count or 0 for s in segments)
    counts = {len(n.layers) for n in _numbered(config, found).values()}
    return bool(counts - {total})


def stacking(config: Config, entry: Entry, found: Mapping[str, Path | None]) -> Stacking:
    """Express slices as a stack.

    Args:
        config: What the file says, in slices.
        entry: Its method.
        found: Where its models are.
    """
    return _Stacking(config, entry, found).run()


def filled(values: Sequence[float], part: Sequence[bool], layout: Layout) -> list[float]:
    """Coefficients of one expert with the usual ones of its kind where it takes no part, so that few rules say them."""
    usual: dict[str, list[float]] = {}
    kinds = [place.kind for place in layout.places.values()]
    for value, is_part, kind in zip(values, part, kinds, strict=True):
        if is_part:
            usual.setdefault(kind, []).append(value)
    every = [value for found in usual.values() for value in found] or [1.0]
    common = {kind: max(set(found), key=found.count) for kind, found in usual.items()}
    rest = max(set(every), key=every.count)
    return [v if is_part else common.get(kind, rest) for v, is_part, kind in zip(values, part, kinds, strict=True)]


def _numbered(config: Config, found: Mapping[str, Path | None]) -> dict[str, Numbered]:
    """The layers of all sources that are on this machine and have plain ones."""
    made: dict[str, Numbered] = {}
    for model in dict.fromkeys(s.model for segment in config.segments for s in segment.sources):
        path = found.get(model)
        if path is not None:
            try:
                checkpoint = open_checkpoint(path)
                made[model] = numbered(checkpoint.tensors, describe(checkpoint.tensors, checkpoint.config))
            except MixdownError:
                continue
    return made


class _Stacking:
    """One translation of slices."""

    def __init__(self, config: Config, entry: Entry, found: Mapping[str, Path | None]) -> None:
        self._config, self._entry = config, entry
        self._segments = config.segments
        self._findings: list[Finding] = []
        self._known = _numbered(config, found)
        self._complain(found)
        most = max(s.first + (part.count or 0) for part in self._segments for s in part.sources)
        layout = assumed_layout(most)
        dummy = {name: TensorInfo(name, "F32", (1,), Path(), 0) for name in layout.places}
        self._reference = next(iter(self._known.values()), None) or numbered(dummy, layout)

    def run(self) -> Stacking:
        """The stack and all findings."""
        base, experts = self._models()
        ids = {model: f"e{i + 1}" for i, model in enumerate(experts)}
        self._check_bases()
        self._check_counts()
        self._check_ends()
        stack = tuple(self._slice(part, base, ids) for part in self._segments)
        named = self._tensors()
        layout = describe({name: as_named(name, info) for name, (info, *_) in named.items()})
        spots = [Spot(name, *named[name][1:]) for name in layout.places]
        return Stacking(experts, base, stack, layout, spots, tuple(self._findings))

    def _note(self, severity: str, place: str, message: str, hint: str = "") -> None:
        self._findings.append(finding("error" if severity == "error" else "warning", place, message, hint))

    # -- models --------------------------------------------------------------------------------------------

    def _models(self) -> tuple[str | None, tuple[str, ...]]:
        """The recipe's base and its experts."""
        config = self._config
        sources = dict.fromkeys(s.model for part in self._segments for s in part.sources)
        if self._entry.everyone:
            first = [config.base] if config.base in sources and config.base is not None else []
            return (None if first else config.base), tuple(dict.fromkeys([*first, *sources]))
        base = config.base or next((part.base for part in self._segments if part.base), None)
        experts = [s.model for part in self._segments for s in part.sources if s.model != part.base]
        roots = [part.base for part in self._segments if part.base is not None and part.base != base]
        return base, tuple(dict.fromkeys([*experts, *roots]))

    def _root(self, part: Segment) -> str | None:
        """The base of a slice's layers, where the method has one."""
        return None if self._entry.everyone else part.base

    def _slice(self, part: Segment, base: str | None, ids: Mapping[str, str]) -> Slice:
        root = self._root(part)
        own = "" if root is None or root == base else ids[root]

        def id_of(model: str) -> str:
            return BASE_ID if model == root and not own else ids[model]

        return Slice(tuple(Source(id_of(s.model), s.first) for s in part.sources), part.count or 0, own)

    # -- checks --------------------------------------------------------------------------------------------

    def _complain(self, found: Mapping[str, Path | None]) -> None:
        """Models that have other layers than the slices want."""
        wanted: dict[str, tuple[int, str]] = {}
        for i, part in enumerate(self._segments):
            for j, source in enumerate(part.sources):
                place = f"slices[{i}].sources[{j}].layer_range"
                wanted[source.model] = max(wanted.get(source.model, (0, "")), (source.first + (part.count or 0), place))
        for model, (stop, place) in wanted.items():
            if model in self._known:
                there = len(self._known[model].layers)
                if stop > there:
                    self._note("error", place, f"Layer {stop - 1} is wanted, but {model[:200]} has the layers 0 to "
                               f"{there - 1}.", "layer_range counts from 0 and leaves out its end.")  # fmt: skip
            elif found.get(model) is not None:
                self._note("error", place, self._why_not(found[model], model))

    @staticmethod
    def _why_not(path: Path | None, model: str) -> str:
        """Why the layers of a model that is there cannot be restacked."""
        try:
            checkpoint = open_checkpoint(path or Path())
            numbered(checkpoint.tensors, describe(checkpoint.tensors, checkpoint.config))
        except Mismatch as error:
            return f"{model[:200]}: {error.message} Slices of it are not clear."
        except MixdownError as error:
            return f"{model[:200]} cannot be read: {error.message}"
        return ""

    def _check_bases(self) -> None:
        """Mergekit wants the base among the sources of every slice."""
        optional = bool(self._entry.from_base)
        for i, part in enumerate(self._segments):
            root = self._root(part)
            if self._entry.everyone or (root is None and optional):
                continue
            if root is None or not part.has(root):
                what = (
                    f"{root[:200]} is the base of this slice but not one of its sources" if root else "There is no base"
                )
                self._note("error", f"slices[{i}]", f"{what}; mergekit's {self._config.method} wants it among them.",
                           "Add the base with its layer_range to the sources.")  # fmt: skip

    def _check_counts(self) -> None:
        """Mergekit's numbers of models hold for each slice."""
        least, most = self._entry.models
        for i, part in enumerate(self._segments):
            count = sum(s.model != self._root(part) for s in part.sources)
            if (count < least and not (count == 0 and least == 1)) or (most is not None and count > most):
                wanted = str(least) if most == least else f"at least {least}"
                beside = "" if self._entry.everyone else " beside the base"
                self._note("error", f"slices[{i}].sources", f"mergekit's {self._config.method} takes {wanted} "
                           f"model{'s' * (wanted != '1')}{beside} in each slice; here are {count}.")  # fmt: skip

    def _check_ends(self) -> None:
        """What mergekit 0.1.5 makes the last norm and the head of, where that is a surprise."""
        first, last = self._segments[0], self._segments[-1]
        left = [s.model[:200] for s in last.sources[len(first.sources) :]]
        place = f"slices[{len(self._segments) - 1}].sources"
        if left and len(self._ends(last)) < len(last.sources):
            self._note("warning", place, "mergekit 0.1.5 makes the last norm and the head of as many sources as the "
                       f"first slice has, without {', '.join(left)}; so does Mixdown.")  # fmt: skip
        elif left:
            self._note("warning", place, "mergekit 0.1.5 stops at the last norm, because the first slice has fewer "
                       "sources; Mixdown merges it of all of them.")  # fmt: skip

    def _ends(self, last: Segment) -> tuple[str, ...]:
        """Models that make what comes after the layers; see `engine.recipe.stack.outer`."""
        every = tuple(s.model for s in last.sources)
        cut = every[: len(self._segments[0].sources)]
        root = self._root(last)
        return every if root in every and root not in cut else cut

    # -- tensors -------------------------------------------------------------------------------------------

    def _tensors(self) -> dict[str, tuple[TensorInfo, int, float, Mapping[str, str]]]:
        """Tensors of the merged model: one like it, its slice, its depth there, and its name in each model."""
        made: dict[str, tuple[TensorInfo, int, float, Mapping[str, str]]] = {}
        last = len(self._segments) - 1
        start, end = self._lead(self._segments[0]), self._lead(self._segments[-1])
        before = [s.model for s in self._segments[0].sources]
        after = list(self._ends(self._segments[-1]))
        for number, infos, models in ((0, start.before, before), (last, end.after, after)):
            taking = self._merged(number, models)
            made |= {info.name: (info, number, 0.0, dict.fromkeys(taking, info.name)) for info in infos}
        for name, info, number, t, names in self._layers():
            made[name] = (info, number, t, names)
        return made

    def _layers(self) -> Iterator[tuple[str, TensorInfo, int, float, Mapping[str, str]]]:
        out = 0
        for number, part in enumerate(self._segments):
            lead, count = self._lead(part), part.count or 0
            taking = set(self._merged(number, [s.model for s in part.sources]))
            for i in range(count):
                t = i / (count - 1) if count > 1 else 1.0
                for info, first, stop in lead.layers[min(part.sources[0].first + i, len(lead.layers) - 1)]:
                    before, behind = info.name[:first], info.name[stop:]
                    names = {s.model: f"{before}{s.first + i}{behind}" for s in part.sources if s.model in taking}
                    yield f"{before}{out}{behind}", info, number, t, names
                out += 1

    def _lead(self, part: Segment) -> Numbered:
        return self._known.get(part.sources[0].model, self._reference)

    def _merged(self, number: int, models: Sequence[str]) -> list[str]:
        """Those that are not the base of a slice's layers."""
        return [model for model in models if model != self._root(self._segments[number])]
