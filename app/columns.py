"""The desk's columns: how layers, kinds and tensors are grouped under one fader.

Pure functions without Qt. A column knows which rules a fader writes and which layout groups it shows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from engine.files.model import Layout
from engine.recipe import select
from engine.recipe.recipe import Recipe, Rule
from engine.recipe.resolve import Spot, group_spots, resolve, tensor_spots

GROUPINGS = ("model", "region", "layer", "layer x kind", "tensor")
"""Coarse to fine; G and Shift+G walk along it."""

TENSOR_LIMIT = 600
"""Most tensor columns; beyond, the desk would be a list, not a desk."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the desk.

    Attributes:
        label: Header text.
        layer: Layer label the column belongs to, or the name of its region; names it and is used for expanding.
        kind: Kind, or None for all kinds.
        keys: (layer, kind, tensor) of the rules that its fader writes.
        depth: Position in the network, 0 to 1.
        is_expandable: Whether the layer can be split into kinds.
        is_expanded: Whether this column is one kind of a layer that was split.
    """

    label: str
    layer: str
    kind: str | None
    keys: tuple[tuple[str | None, str | None, str | None], ...]
    depth: float
    is_expandable: bool = False
    is_expanded: bool = False


def columns(layout: Layout, grouping: str, expanded: Iterable[str] = ()) -> tuple[Column, ...]:
    """The columns of a layout.

    Args:
        layout: Of the base.
        grouping: One of `GROUPINGS`.
        expanded: Layers that are split into kinds although the grouping is by layer.
    """
    if grouping == "model":
        return (Column("model", "model", None, ((None, None, None),), 0.5),)
    if grouping == "region":
        return _regions(layout)
    if grouping == "tensor":
        return _tensors(layout)
    split = set(layout.layers) if grouping == "layer x kind" else set(expanded)
    made: list[Column] = []
    for layer in layout.layers:
        kinds = [g.place.kind for g in layout.groups if g.place.layer == layer]
        depth = layout.depth(layer)
        if layer in split and len(kinds) > 1:
            made += [Column(k, layer, k, ((layer, k, None),), depth, True, True) for k in kinds]
        else:
            made.append(Column(layer, layer, None, ((layer, None, None),), depth, len(kinds) > 1))
    return tuple(made)


def _regions(layout: Layout) -> tuple[Column, ...]:
    """Emb / early / middle / late / head: thirds of the numbered layers between the ends."""
    ends = {"emb", "head", "other"}
    inner = [layer for layer in layout.layers if layer not in ends]
    thirds = [inner[i * len(inner) // 3 : (i + 1) * len(inner) // 3] for i in range(3)]
    named = [("emb", ["emb"]), *zip(("early", "middle", "late"), thirds, strict=True), ("head", ["head"]),
             ("other", ["other"])]  # fmt: skip
    made: list[Column] = []
    for label, layers in named:
        here = [layer for layer in layers if layer in layout.layers]
        if here:
            depth = sum(layout.depth(layer) for layer in here) / len(here)
            made.append(Column(label, label, None, tuple((layer, None, None) for layer in here), depth))
    return tuple(made)


def _tensors(layout: Layout) -> tuple[Column, ...]:
    made = [
        Column(name, g.place.layer, g.place.kind, ((g.place.layer, g.place.kind, name),), layout.depth(g.place.layer))
        for g in layout.groups
        for name in g.tensors
    ]
    return tuple(made[:TENSOR_LIMIT])


def membership(layout: Layout, cols: tuple[Column, ...]) -> np.ndarray:
    """(C, G) 0/1: which groups a column shows (tensor columns: their whole group). Do not change the array."""
    global _known
    if _known is None or _known[0] is not layout or _known[1] is not cols:  # the same ones at every fader event
        _known = (layout, cols, _members(layout, cols))
    return _known[2]


_known: tuple[Layout, tuple[Column, ...], np.ndarray] | None = None


def _members(layout: Layout, cols: tuple[Column, ...]) -> np.ndarray:
    return np.array(
        [
            [any(la in (None, g.place.layer) and k in (None, g.place.kind) for la, k, _ in col.keys)
             for g in layout.groups]
            for col in cols
        ],
        dtype=np.float64,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cells:
    """What the faders show: (T, C) coefficients, and where finer rules inside a cell differ."""

    values: np.ndarray
    mixed: np.ndarray


def cells(recipe: Recipe, layout: Layout, cols: tuple[Column, ...], default: float) -> Cells:
    """Coefficients of every expert and column.

    A cell whose groups all agree shows their value; otherwise it shows what its own rule says and is mixed.
    """
    global _resolved
    named = dict.fromkeys(r.tensor for r in recipe.rules if r.tensor is not None)
    inside = _inside(layout, cols, tuple(t for t in named if t in layout.places))
    resolved = resolve(recipe, inside.spots, default)
    _resolved = _Resolved(recipe, layout, default, resolved[:, : len(layout.groups)])
    values = resolved[:, len(inside.spots) - len(cols) :].copy()
    mixed = np.zeros((len(recipe.experts), len(cols)), dtype=bool)
    if not len(inside.group):
        return Cells(values, mixed)
    there = resolved[:, inside.group]
    first = there[:, inside.starts]  # the value of some group of each column
    differs = there != np.repeat(first, inside.counts, axis=1)
    mixed[:, inside.columns] = np.logical_or.reduceat(differs, inside.starts, axis=1)
    same = ~mixed[:, inside.columns]
    values[:, inside.columns] = np.where(same, first, values[:, inside.columns])
    return Cells(values, mixed)


@dataclass(frozen=True, slots=True)
class _Inside:
    """What lies inside the columns that show groups: group and tensor indices, column by column.

    Attributes:
        spots: All groups, then the tensors with rules of their own, then what each column's own rule is about.
        columns: The columns.
        group: Indices of groups (and, after them, of tensors with rules of their own).
        starts: Where each column's begin.
        counts: How many each column has.
    """

    spots: tuple[Spot, ...]
    columns: np.ndarray
    group: np.ndarray
    starts: np.ndarray
    counts: np.ndarray


_insides: tuple[Layout, tuple[Column, ...], tuple[str, ...], _Inside] | None = None


def _inside(layout: Layout, cols: tuple[Column, ...], extra: tuple[str, ...]) -> _Inside:
    """The same at every fader event."""
    global _insides
    known = _insides
    if known is None or known[0] is not layout or known[1] is not cols or known[2] != extra:
        member = membership(layout, cols) > 0
        whole = np.array([col.keys[0][2] is None for col in cols], dtype=bool) & member.any(axis=1)
        if extra:
            member = np.concatenate([member, [[_covers(col, layout, t) for t in extra] for col in cols]], axis=1)
        column, group = np.nonzero(member & whole[:, None])
        columns, starts, counts = np.unique(column, return_index=True, return_counts=True)
        spots = (*group_spots(layout), *tensor_spots(layout, extra), *map(_own_spot, cols))
        known = _insides = layout, cols, extra, _Inside(spots, columns, group, starts, counts)
    return known[3]


@dataclass(frozen=True, slots=True)
class _Resolved:
    """The coefficients of a recipe's groups, which desk, live numbers and inspector all want at a fader event."""

    recipe: Recipe
    layout: Layout
    default: float
    values: np.ndarray


_resolved: _Resolved | None = None


def group_values(recipe: Recipe, layout: Layout, default: float) -> np.ndarray:
    """(T, G) coefficients by layer x kind group, before mute, solo and gain. Do not change the array.

    Args:
        recipe: Whose rules are resolved; asked again for the same recipe, nothing is computed.
        layout: Of the base.
        default: Value where no rule matches.
    """
    global _resolved
    known = _resolved
    if known is None or known.recipe is not recipe or known.layout is not layout or known.default != default:
        known = _resolved = _Resolved(recipe, layout, default, resolve(recipe, group_spots(layout), default))
    return known.values


def _own_spot(col: Column) -> Spot:
    layer, kind, tensor = col.keys[0]
    return (layer or "", kind or "", tensor)


def _covers(col: Column, layout: Layout, tensor: str) -> bool:
    place = layout.places[tensor]
    return any(la in (None, place.layer) and k in (None, place.kind) for la, k, _ in col.keys)


def rules_for(col: Column, expert_id: str, value: float) -> list[Rule]:
    """The rules that say "this fader stands at `value`"."""
    return [Rule(expert=expert_id, layer=la, kind=k, tensor=t, value=value) if t is None else
            Rule(expert=expert_id, tensor=t, value=value) for la, k, t in col.keys]  # fmt: skip


def rule_keys(col: Column, expert_id: str) -> list[tuple[str | None, str | None, str | None, str | None]]:
    """Keys of those rules, to remove them."""
    return [(expert_id, k, la, None) if t is None else (expert_id, None, None, t) for la, k, t in col.keys]


def meant(
    cells: Sequence[tuple[str, int]], cols: Sequence[Column], layout: Layout, experts: Sequence[str]
) -> select.Selection:
    """What selected cells (expert id, column) mean: experts, kinds, layers and tensors.

    Args:
        cells: At least one.
        cols: The columns that are shown.
        layout: Of the base.
        experts: Ids of all rows, in order.
    """
    keys = [key for c in sorted({c for _, c in cells}) if c < len(cols) for key in cols[c].keys]
    layers = {la for la, _, _ in keys if la is not None} or set(layout.layers)
    kinds = {k for _, k, _ in keys} if all(k for _, k, _ in keys) else {None}
    whole, chosen = None in kinds or kinds >= set(layout.kinds), {e for e, _ in cells}
    return select.Selection(
        experts=tuple(e for e in experts if e in chosen),
        kinds=layout.kinds if whole else tuple(k for k in layout.kinds if k in kinds),
        layers=tuple(la for la in layout.layers if la in layers),
        tensors=tuple(t for _, _, t in keys if t is not None),
        every_expert=len(chosen) == len(experts),
        every_kind=whole,
        every_layer=layers >= set(layout.layers),
    )


def finer(layout: Layout, grouping: str) -> str:
    """The next finer grouping (the finest stays)."""
    index = min(GROUPINGS.index(grouping) + 1, len(GROUPINGS) - 1)
    too_many = sum(len(g.tensors) for g in layout.groups) > TENSOR_LIMIT
    return "layer x kind" if GROUPINGS[index] == "tensor" and too_many else GROUPINGS[index]


def coarser(grouping: str) -> str:
    """The next coarser grouping (the coarsest stays)."""
    return GROUPINGS[max(GROUPINGS.index(grouping) - 1, 0)]
