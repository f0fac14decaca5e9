"""Where everything is in the map of merges of merges, and who is related to whom; no painting here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QPointF, QRectF, QSize
from PySide6.QtGui import QPainterPath

from widgets.panels.runs_state import Family

GAP, MARGIN, BETWEEN = 56.0, 14.0, 12.0
"""Between columns, around everything, between rows; pixels at 100 %."""


Segment = tuple[float, float, float, float]
"""From x, y to x, y."""


@dataclass(frozen=True, slots=True)
class Unit:
    """Width and height of a box at 100 %, in pixels."""

    wide: float
    high: float


class FamilyShape:
    """Geometry at 100 % with (N,) arrays for culling; whoever paints scales it.

    Args:
        state: The map.
        unit: Size of a box.
    """

    def __init__(self, state: Family, unit: Unit) -> None:
        self.state, self.unit = state, unit
        layers = np.array([n.layer for n in state.nodes], np.float64)
        places = np.array([n.place for n in state.nodes], np.float64)
        self.x = MARGIN + layers * (unit.wide + GAP)
        self.y = MARGIN + places * (unit.high + BETWEEN)
        self._up, self._down = defaultdict[int, list[int]](list), defaultdict[int, list[int]](list)
        for a, b in state.edges:
            self._up[b].append(a)
            self._down[a].append(b)
        self.quiet = frozenset(e for e in range(len(state.edges)) if self._is_quiet(e))
        self._numbers: dict[Segment, int] = {}
        self.ways = [self._way(edge) for edge in range(len(state.edges))]
        self.segments = tuple(self._numbers)
        self._ends = np.array(self.segments, np.float64).reshape(-1, 4)
        self._paths: dict[int, QPainterPath] = {}
        loud = {s for e, way in enumerate(self.ways) if e not in self.quiet for s in way}
        self._loud = np.array([s in loud for s in range(len(self.segments))], bool)

    def _is_quiet(self, edge: int) -> bool:
        """Whether an edge passes boxes because the map keeps no lane for it; it is drawn when it is asked for."""
        (a, b), bends = self.state.edges[edge], self.state.bends[edge]
        return not bends and abs(self.state.nodes[b].layer - self.state.nodes[a].layer) > 1

    def _way(self, edge: int) -> tuple[int, ...]:
        """Numbers of the segments from the end of one box over its lanes to the next; edges of one model share some."""
        (a, b), bends = self.state.edges[edge], self.state.bends[edge]
        wide, half = self.unit.wide, self.unit.high / 2
        at, high, found = self.x[a] + wide, self.y[a] + half, list[Segment]()
        for layer, place in bends:
            left, there = MARGIN + layer * (wide + GAP), self._top(place) + half
            found += [(at, high, left, there), (left, there, left + wide, there)]
            at, high = left + wide, there
        found.append((at, high, self.x[b], self.y[b] + half))
        return tuple(self._numbers.setdefault(part, len(self._numbers)) for part in found)

    def _top(self, place: float) -> float:
        return MARGIN + place * (self.unit.high + BETWEEN)

    def box(self, at: int) -> QRectF:
        """A node's box."""
        return QRectF(self.x[at], self.y[at], self.unit.wide, self.unit.high)

    def size(self, scale: float) -> QSize:
        """Of the whole map."""
        if not self.state.nodes:
            return QSize(0, 0)
        wide, high = float(self.x.max()) + self.unit.wide + MARGIN, float(self.y.max()) + self.unit.high + MARGIN
        return QSize(int(wide * scale) + 1, int(high * scale) + 1)

    def nodes_in(self, area: QRectF) -> NDArray[np.intp]:
        """Nodes that touch an area."""
        return np.flatnonzero((self.x <= area.right()) & (self.x + self.unit.wide >= area.left())
                              & (self.y <= area.bottom()) & (self.y + self.unit.high >= area.top()))  # fmt: skip

    def segments_in(self, area: QRectF) -> NDArray[np.intp]:
        """Segments of edges that may touch an area, without those of quiet edges."""
        x, y, to_x, to_y = self._ends.T
        return np.flatnonzero((np.minimum(x, to_x) <= area.right()) & (np.maximum(x, to_x) >= area.left())
                              & (np.minimum(y, to_y) <= area.bottom()) & (np.maximum(y, to_y) >= area.top())
                              & self._loud)  # fmt: skip

    def node_at(self, point: QPointF) -> int:
        """The node under a point, -1 for none."""
        found = self.nodes_in(QRectF(point, point))
        return int(found[0]) if found.size else -1

    def path(self, segment: int) -> QPainterPath:
        """A segment as a curve that starts and ends level; kept for the next time."""
        made = self._paths.get(segment)
        if made is None:
            x, y, to_x, to_y = self.segments[segment]
            made = self._paths[segment] = QPainterPath(QPointF(x, y))
            if y == to_y:
                made.lineTo(to_x, to_y)
            else:
                made.cubicTo((x + to_x) / 2, y, (x + to_x) / 2, to_y, to_x, to_y)
        return made

    def sources(self, at: int) -> list[int]:
        """What a model was made from."""
        return self._up[at]

    def made_of(self, at: int) -> list[int]:
        """What was made of a model."""
        return self._down[at]

    def lineage(self, at: int) -> tuple[frozenset[int], frozenset[int]]:
        """All that led to a node and all that came of it, itself in both."""
        return _reached(self._up, at), _reached(self._down, at)

    def column(self, at: int) -> list[int]:
        """Nodes of a node's layer from top to bottom."""
        layer = self.state.nodes[at].layer
        return [int(i) for i in np.argsort(self.y, kind="stable") if self.state.nodes[i].layer == layer]


def _reached(ways: Mapping[int, Sequence[int]], start: int) -> frozenset[int]:
    found, front = {start}, [start]
    while front:
        front = list({n for at in front for n in ways.get(at, ())} - found)
        found.update(front)
    return frozenset(found)
