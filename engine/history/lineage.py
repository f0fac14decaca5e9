"""Merges of merges as a layered graph: which output went into which run, told by content hashes. Pure functions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from engine.history.values import Run

MOST_NODES = 200
_SWEEPS = 4


@dataclass(frozen=True, slots=True)
class Node:
    """A model.

    Attributes:
        run: Number of the run that wrote it, 0 for a model from elsewhere.
        name: What it is called.
        detail: How it was made, or what it was.
        layer: Longest way from a model from elsewhere.
        place: Position in its layer.
    """

    run: int
    name: str
    detail: str
    layer: int = 0
    place: float = 0.0


@dataclass(frozen=True, slots=True)
class Graph:
    """Models and what was made of them.

    Attributes:
        nodes: The models.
        edges: (from, to) by index.
        bends: For each edge the places (layer, place) that it passes between its ends.
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


def graph(runs: Sequence[Run]) -> Graph:
    """The map of some runs and the models that went into them.

    Args:
        runs: At most `MOST_NODES` are drawn, the first ones.
    """
    kept = runs[:MOST_NODES]
    nodes: dict[str, Node] = {}
    for run in kept:
        name = run.facts.output_path.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
        nodes[f"run {run.id}"] = Node(run.id, name or f"Run {run.id}", run.facts.title)
    edges = set[tuple[str, str]]()
    left_out = len(runs) - len(kept)
    for run in kept:
        for source in run.facts.inputs:
            made_by = _maker(run, source.sha256, kept)
            key = f"run {made_by}" if made_by else f"model {source.sha256 or source.path}"
            if key not in nodes and len(nodes) >= 2 * MOST_NODES:
                left_out += 1
                continue
            nodes.setdefault(key, Node(0, source.name, source.role))
            edges.add((key, f"run {run.id}"))
    return _placed(nodes, edges, left_out)


def _maker(child: Run, sha256: str, runs: Iterable[Run]) -> int:
    """The run that wrote an input: the last one before the child, 0 for none."""
    ids = [r.id for r in runs if sha256 and r.facts.output_sha256 == sha256 and r.id != child.id]
    before = [number for number in ids if number < child.id]
    return max(before or ids, default=0)


def _placed(nodes: Mapping[str, Node], edges: set[tuple[str, str]], left_out: int) -> Graph:
    """Layers by the longest way, order in a layer by the middle of the neighbours.

    An edge over several layers goes through a place of its own in each of them, which edges to the same node share.
    """
    layers = _layers(nodes, edges)
    ways = {(a, b): [a, *(f"to {b} in {n}" for n in range(layers[a] + 1, layers[b])), b] for a, b in edges}
    for way in ways.values():
        layers |= {key: layers[way[0]] + step for step, key in enumerate(way)}
    near = defaultdict[str, set[str]](set)
    for way in ways.values():
        for a, b in pairwise(way):
            near[a].add(b)
            near[b].add(a)
    place = _ordered(layers, near)
    index = {key: at for at, key in enumerate(nodes)}
    made = tuple(replace(node, layer=layers[key], place=place[key]) for key, node in nodes.items())
    pairs = sorted(edges, key=lambda e: (index[e[0]], index[e[1]]))
    bends = tuple(tuple((layers[k], place[k]) for k in ways[pair][1:-1]) for pair in pairs)
    return Graph(made, tuple((index[a], index[b]) for a, b in pairs), bends, left_out)


def _ordered(layers: Mapping[str, int], near: Mapping[str, set[str]]) -> dict[str, float]:
    """Where everything is in its layer; shorter layers are centred."""
    columns = defaultdict[int, list[str]](list)
    for key, layer in layers.items():
        columns[layer].append(key)
    place = {key: float(at) for column in columns.values() for at, key in enumerate(column)}
    for _ in range(_SWEEPS):
        for number in sorted(columns):
            middle = {k: sum(place[n] for n in near[k]) / len(near[k]) if near.get(k) else place[k]
                      for k in columns[number]}  # fmt: skip
            columns[number].sort(key=lambda key: (middle[key], place[key]))
            place |= {key: float(at) for at, key in enumerate(columns[number])}
    tallest = max(map(len, columns.values()), default=0)
    return {key: at + (tallest - len(columns[layers[key]])) / 2 for key, at in place.items()}


def _layers(nodes: Iterable[str], edges: set[tuple[str, str]]) -> dict[str, int]:
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
