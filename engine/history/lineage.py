"""Merges of merges as a layered graph: which output went into which run, told by content hashes. Pure functions."""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from engine.history.values import Input, Kin, Mean

MOST_RUNS = 5000
MOST_MODELS = 500
BUSY_ABOVE = 60
"""Larger maps keep no lanes for models from elsewhere that are used layers later."""
_SWEEPS = 4
_WIDTH = 0.8
"""Most runs in a layer of a large map, in square roots of their number."""
_LANES = (0.25, 0.125)
"""Height of a place that edges pass in small and in large maps, in rows; powers of two make sums exact."""


@dataclass(frozen=True, slots=True)
class Node:
    """A model.

    Attributes:
        run: Number of the run that wrote it, 0 for a model from elsewhere.
        name: What it is called.
        detail: How it was made, or what it was.
        layer: Longest way from a model from elsewhere.
        place: Position in its layer.
        mean: Mean score of the run, None without scores.
        star: Whether the run is starred.
    """

    run: int
    name: str
    detail: str
    layer: int = 0
    place: float = 0.0
    mean: Mean | None = None
    star: bool = False


@dataclass(frozen=True, slots=True)
class Graph:
    """Models and what was made of them.

    Attributes:
        nodes: The models.
        edges: (from, to) by index.
        bends: For each edge the places (layer, place) that it passes between its ends; edges from one model share them.
        left_out: How many models are missing.
    """

    nodes: tuple[Node, ...] = ()
    edges: tuple[tuple[int, int], ...] = ()
    bends: tuple[tuple[tuple[int, float], ...], ...] = ()
    left_out: int = 0


def relatives(links: Iterable[tuple[int, int]], focus: int) -> tuple[int, ...]:
    """A run with everything that led to it and everything that came of it, nearest first."""
    up, down = defaultdict[int, list[int]](list), defaultdict[int, list[int]](list)
    for parent, child in links:
        up[child].append(parent)
        down[parent].append(child)
    found = {focus: 0}
    for ways in (up, down):
        front = [focus]
        while front:
            following = [n for run in front for n in ways[run] if n not in found]
            for number in following:
                found[number] = len(found)
            front = list(dict.fromkeys(following))
    return tuple(found)


def linked(links: Iterable[tuple[int, int]]) -> tuple[int, ...]:
    """All runs that were made from runs or were used in runs, newest first."""
    return tuple(sorted({n for pair in links for n in pair}, reverse=True))


def graph(runs: Sequence[Kin]) -> Graph:
    """The map of some runs and the models that went into them.

    Args:
        runs: At most `MOST_RUNS` are drawn, the first ones, with at most `MOST_MODELS` models from elsewhere.
    """
    kept, missing = runs[:MOST_RUNS], {f"run {run.id}" for run in runs[MOST_RUNS:]}
    makers = defaultdict[str, list[int]](list)
    for run in kept:
        if run.output_sha256:
            makers[run.output_sha256].append(run.id)
    nodes = {f"run {run.id}": _node(run) for run in kept}
    edges, models = set[tuple[str, str]](), set[str]()
    for run in kept:
        for source in run.inputs:
            made_by = _maker(run.id, makers.get(source.sha256, ()))
            key = f"run {made_by}" if made_by else f"model {source.sha256 or source.path}"
            if key not in nodes and len(models) >= MOST_MODELS:
                missing.add(key)
                continue
            if not made_by:
                models.add(key)
                nodes.setdefault(key, _from_elsewhere(source))
            edges.add((key, f"run {run.id}"))
    return _placed(nodes, edges, len(missing))


def _node(run: Kin) -> Node:
    name = run.output_path.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    return Node(run.id, name or f"Run {run.id}", run.title, mean=run.mean, star=run.star)


def _from_elsewhere(source: Input) -> Node:
    return Node(0, source.name, source.role)


def _maker(child: int, makers: Sequence[int]) -> int:
    """The run that wrote an input: the last one before the child, 0 for none."""
    others = [n for n in makers if n != child]
    return max([n for n in others if n < child] or others, default=0)


def _placed(nodes: Mapping[str, Node], edges: set[tuple[str, str]], left_out: int) -> Graph:
    """Layers by the longest way, order in a layer by the middle of the neighbours.

    An edge over several layers goes through a place of its own in each of them, which edges of the same model share.
    """
    is_busy = len(nodes) > BUSY_ABOVE
    layers = _layers(nodes, edges)
    if is_busy:
        layers = _widened(nodes, layers, edges)
    index = {key: at for at, key in enumerate(nodes)}
    pairs = sorted(edges, key=lambda e: (index[e[0]], index[e[1]]))
    ways = {(a, b): [a, b] if is_busy and not nodes[a].run else
            [a, *(f"from {a} in {n}" for n in range(layers[a] + 1, layers[b])), b] for a, b in pairs}  # fmt: skip
    spots = dict(layers)
    for way in ways.values():
        spots |= {key: layers[way[0]] + step for step, key in enumerate(way[:-1])}
    near = defaultdict[str, set[str]](set)
    for way in ways.values():
        for a, b in pairwise(way):
            near[a].add(b)
            near[b].add(a)
    high = dict.fromkeys(spots, _LANES[is_busy]) | dict.fromkeys(nodes, 1.0)
    place = _ordered(spots, near, high)
    made = tuple(replace(node, layer=layers[key], place=place[key]) for key, node in nodes.items())
    bends = tuple(tuple((spots[k], place[k]) for k in ways[pair][1:-1]) for pair in pairs)
    return Graph(made, tuple((index[a], index[b]) for a, b in pairs), bends, left_out)


def _ordered(layers: Mapping[str, int], near: Mapping[str, set[str]], high: Mapping[str, float]) -> dict[str, float]:
    """Where everything is in its layer, in rows; shorter layers are centred."""
    columns = defaultdict[int, list[str]](list)
    for key, layer in layers.items():
        columns[layer].append(key)
    place, ends = dict[str, float](), dict[int, float]()
    for number, column in columns.items():
        ends[number] = _stacked(column, high, place)
    for _ in range(_SWEEPS):
        for number in sorted(columns):
            middle = {k: sum(place[n] for n in near[k]) / len(near[k]) if near.get(k) else place[k]
                      for k in columns[number]}  # fmt: skip
            columns[number].sort(key=lambda key: (middle[key], place[key]))
            _stacked(columns[number], high, place)
    tallest = max(ends.values(), default=0.0)
    return {key: at + (tallest - ends[layers[key]]) / 2 for key, at in place.items()}


def _stacked(column: Iterable[str], high: Mapping[str, float], place: dict[str, float]) -> float:
    """Put a column's keys below each other; returns its height in rows."""
    top = 0.0
    for key in column:
        place[key] = top + (high[key] - 1) / 2
        top += high[key]
    return top


def _layers(nodes: Iterable[str], edges: Iterable[tuple[str, str]]) -> dict[str, int]:
    """Longest way to every node; a circle, which hashes do not allow but a database might, is cut."""
    layers = dict.fromkeys(nodes, 0)
    for _ in range(len(layers)):
        moved = False
        for a, b in edges:
            if layers[b] <= layers[a] < len(layers):
                layers[b], moved = layers[a] + 1, True
        if not moved:
            break
    return layers


def _widened(nodes: Mapping[str, Node], layers: Mapping[str, int], edges: Iterable[tuple[str, str]]) -> dict[str, int]:
    """Layers that hold no more than so many runs, so that a large map is wide rather than tall.

    Runs take their layers in the order of their numbers, as far as what they were made from has one; a run that finds
    its layer full moves to the next, and what was made of it with it (Coffman and Graham, 1972).
    """
    most = round(math.sqrt(len(nodes)) * _WIDTH) + 1
    sources, users = defaultdict[str, list[str]](list), defaultdict[str, list[str]](list)
    for a, b in edges:
        sources[b].append(a)
        users[a].append(b)
    missing = {key: len(sources[key]) for key in nodes}
    ready = [(nodes[key].run, key) for key in nodes if not missing[key]]
    heapq.heapify(ready)
    made, held = dict[str, int](), defaultdict[int, int](int)
    while ready:
        run, key = heapq.heappop(ready)
        at = max((made[a] + 1 for a in sources[key]), default=0)
        while run and held[at] >= most:
            at += 1
        held[at] += run > 0
        made[key] = at
        for user in users[key]:
            missing[user] -= 1
            if not missing[user]:
                heapq.heappush(ready, (nodes[user].run, user))
    return {key: made.get(key, layer) for key, layer in layers.items()}
