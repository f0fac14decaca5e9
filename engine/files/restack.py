"""Layers of a model under other numbers: names, configuration, and the same bytes on the disk.

Nothing is copied: a restacked checkpoint lists the tensors of the stored one under new names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from engine.errors import Mismatch
from engine.files.layout import describe
from engine.files.model import Layout, TensorInfo
from engine.files.names import skeleton_of

LAYER_COUNTS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_decoder_layers", "decoder_layers")
"""What configurations call the number of layers."""

_PARTS = ("text_config", "llm_config", "language_config", "decoder")
_HINT = "Only models with one stack of numbered layers can be restacked."


@dataclass(frozen=True, slots=True)
class Numbered:
    """The tensors of a model, sorted by layer.

    Attributes:
        layers: For each layer its tensors, and where in the name its number stands (first character, one behind).
        before: Tensors that come before the layers.
        after: All other tensors outside of the layers.
    """

    layers: tuple[tuple[tuple[TensorInfo, int, int], ...], ...]
    before: tuple[TensorInfo, ...]
    after: tuple[TensorInfo, ...]

    @property
    def suffixes(self) -> dict[str, set[tuple[int, ...]]]:
        """Names without the layer number, and the shapes that occur; tensors outside of the layers by their name."""
        found: dict[str, set[tuple[int, ...]]] = {}
        for info, start, stop in (entry for layer in self.layers for entry in layer):
            found.setdefault(f"{info.name[:start]}#{info.name[stop:]}", set()).add(info.shape)
        for info in (*self.before, *self.after):
            found.setdefault(info.name, set()).add(info.shape)
        return found

    def under(self, layers: Sequence[int | None], *, before: bool, after: bool) -> Iterator[tuple[str, TensorInfo]]:
        """New name and stored tensor of everything that takes part.

        Args:
            layers: For each layer of the merged model, the layer here, or None.
            before: Whether what comes before the layers takes part.
            after: Whether what comes after them does.
        """
        for info in (*(self.before if before else ()), *(self.after if after else ())):
            yield info.name, info
        for number, layer in enumerate(layers):
            for info, start, stop in self.layers[layer] if layer is not None else ():
                yield f"{info.name[:start]}{number}{info.name[stop:]}", info


def numbered(tensors: Mapping[str, TensorInfo], layout: Layout | None = None) -> Numbered:
    """Sort the tensors of a model by layer.

    Raises:
        Mismatch: if it does not have exactly one stack of layers with numbers from 0 on.
    """
    layout = layout or describe(tensors)
    labels = [label for label in layout.layers if label not in ("emb", "head", "other")]
    if not labels or any(not label.isdecimal() for label in labels):
        raise Mismatch("The model does not have one plain stack of numbered layers.", hint=_HINT)
    if [int(label) for label in labels] != list(range(len(labels))):
        raise Mismatch(f"The layers of the model are not numbered from 0 to {len(labels) - 1}.", hint=_HINT)
    places = _number_places({name: int(place.layer) for name, place in layout.places.items()
                             if place.layer.isdecimal()})  # fmt: skip
    layers: list[list[tuple[TensorInfo, int, int]]] = [[] for _ in labels]
    for name, (start, stop) in places.items():
        layers[int(layout.places[name].layer)].append((tensors[name], start, stop))
    rest = [tensors[name] for name in layout.places if name not in places]
    before = tuple(info for info in rest if layout.places[info.name].layer == "emb")
    after = tuple(info for info in rest if layout.places[info.name].layer != "emb")
    return Numbered(tuple(map(tuple, layers)), before, after)


def _number_places(layers: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """Where in each name the layer's number stands: the first number that is it in all names of the same form."""
    forms: dict[str, list[str]] = {}
    for name in layers:
        forms.setdefault(skeleton_of(name)[0], []).append(name)
    found: dict[str, tuple[int, int]] = {}
    for names in forms.values():
        spans = {name: [m.span() for m in re.finditer(r"(?<![^.])[0-9]+(?![^.])", name)] for name in names}
        fewest = min(map(len, spans.values()))
        good = [i for i in range(fewest) if all(int(n[slice(*spans[n][i])]) == layers[n] for n in names)]
        if not good:
            raise Mismatch("The number of the layer cannot be found in its tensors' names.", where=names[0], hint=_HINT)
        found |= {name: spans[name][good[0]] for name in names}
    return found


def restacked_config(
    config: Mapping[str, Any], stored: int, layers: Sequence[tuple[Mapping[str, Any] | None, int] | None]
) -> tuple[dict[str, Any], bool]:
    """A configuration with the number of layers of a restacked model, and its lists that have an entry for each layer.

    Args:
        config: Of the model whose configuration is taken.
        stored: Number of layers of that model.
        layers: For each new layer the configuration of the model that it comes from, and its number there.

    Returns:
        The new configuration, and whether it says the number of layers.
    """
    made, found = dict(config), False
    for name in _PARTS:
        part = config.get(name)
        if isinstance(part, dict) and any(key in part for key in LAYER_COUNTS):
            inner = [_inside(pick, name) for pick in layers]
            made[name], inside = _counted(part, stored, inner)
            found = found or inside
    made, here = _counted(made, stored, layers)
    return made, found or here


def _inside(
    pick: tuple[Mapping[str, Any] | None, int] | None, name: str
) -> tuple[Mapping[str, Any] | None, int] | None:
    if pick is None or pick[0] is None:
        return pick
    part = pick[0].get(name)
    return (part if isinstance(part, dict) else None), pick[1]


def _counted(
    table: Mapping[str, Any], stored: int, layers: Sequence[tuple[Mapping[str, Any] | None, int] | None]
) -> tuple[dict[str, Any], bool]:
    """One table with new numbers of layers and new lists of one entry for each layer."""
    made, found = dict(table), False
    for key in LAYER_COUNTS:
        if table.get(key) == stored and type(table[key]) is int:
            made[key], found = len(layers), True
    for key, value in table.items():
        if found and isinstance(value, list) and len(value) == stored and stored != 1 and "layer" in key:
            made[key] = [_entry(pick, key, value) for pick in layers]
    return made, found


def _entry(pick: tuple[Mapping[str, Any] | None, int] | None, key: str, own: list[Any]) -> Any:
    """The entry of one layer in the list of the model that it comes from, else in the own one."""
    config, number = pick if pick is not None else (None, 0)
    theirs = (config or {}).get(key)
    entries = theirs if isinstance(theirs, list) and number < len(theirs) else own
    return entries[min(number, len(entries) - 1)]


def as_named(name: str, info: TensorInfo) -> TensorInfo:
    """A stored tensor under another name."""
    return info if info.name == name else replace(info, name=name)
