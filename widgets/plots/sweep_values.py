"""What sweeps and tuning show: a grid of scores, points in a plane or a triangle, and lines over steps."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from widgets.plots.state import Heat, Table

NO_TABLE: Table = ((), ())


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid(Heat):
    """A heatmap of scores over two numbers.

    Attributes:
        x_label: What the columns are.
        y_label: What the rows are.
        words: A sentence for each cell, R of C.
        best: (row, column) of the best cell, or None.
        here: (row, column) of the cell that the desk shows, or None.
        wrong: Cells that could not be measured.
        twin: The same as a table with intervals.
    """

    x_label: str = ""
    y_label: str = ""
    words: tuple[tuple[str, ...], ...] = ()
    best: tuple[int, int] | None = None
    here: tuple[int, int] | None = None
    wrong: frozenset[tuple[int, int]] = frozenset()
    twin: Table = NO_TABLE
    empty: str = "Choose one or two numbers and press Run."

    def text(self, row: int, column: int) -> str:
        """One cell: "81.3", a star before the best, "!" for one that failed, nothing while it is not measured."""
        if (row, column) in self.wrong:
            return "!"
        value = float(self.values[row, column])
        if not np.isfinite(value):
            return "" if self.unit else "·"
        shown = f"{100 * value:.1f}" if self.unit == "%" else f"{value:.3g}"
        return f"★ {shown}" if (row, column) == self.best else shown

    def table(self) -> Table:
        """The table twin."""
        return self.twin

    def numbers(self) -> Table:
        """The same for other programs."""
        return self.twin


@dataclass(frozen=True, slots=True, kw_only=True)
class Points:
    """Points that can be chosen, in a plane of two scores or in a triangle of three shares.

    Attributes:
        title: What it is.
        xy: (N, 2) places; a triangle's are inside the one with corners (0, 0), (1, 0) and (0.5, 0.866).
        values: (N,) what colours them; NaN for not measured yet.
        texts: N short texts drawn beside the points ("" for none).
        words: N sentences.
        ids: N numbers that tell the points apart when others come; may be empty where none come.
        front: Indices along the Pareto front, in order; drawn joined.
        best: Index of the best point, or -1.
        here: Index of the point that the desk shows, or -1.
        corners: Names of the triangle's corners: left, right, top; empty for a plane.
        x_label: What goes to the right.
        y_label: What goes up.
        low: Value at the lower end of the colours.
        high: Value at the upper end.
        unit: Of the values: "%" for shares of 1.
        meaning: One sentence.
        empty: What to do when there is nothing to show.
        twin: The same as a table.
    """

    title: str
    xy: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))
    values: np.ndarray = field(default_factory=lambda: np.zeros(0))
    texts: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    ids: tuple[int, ...] = ()
    front: tuple[int, ...] = ()
    best: int = -1
    here: int = -1
    corners: tuple[str, ...] = ()
    x_label: str = ""
    y_label: str = ""
    low: float = 0.0
    high: float = 1.0
    unit: str = ""
    meaning: str = ""
    empty: str = "Choose what to sweep and press Run."
    twin: Table = NO_TABLE

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to show."""
        return not len(self.xy)

    def table(self) -> Table:
        """The table twin."""
        return self.twin


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line.

    Attributes:
        name: For the legend.
        x: (N,) places.
        y: (N,) values; NaN leaves a gap.
        low: (N,) lower ends of intervals, or none.
        high: (N,) upper ends, or none.
        tone: Index of its colour; -1 for the text colour.
        dashed: Whether it is an estimate.
        thick: Whether it is the line that counts.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    low: np.ndarray = field(default_factory=lambda: np.zeros(0))
    high: np.ndarray = field(default_factory=lambda: np.zeros(0))
    tone: int = -1
    dashed: bool = False
    thick: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """Lines over one number.

    Attributes:
        title: What it is.
        lines: The lines.
        stops: Places that the cursor visits, ascending.
        words: A sentence for each stop.
        x_label: What goes to the right.
        y_label: What goes up.
        here: Place that the desk shows, or NaN.
        meaning: One sentence.
        empty: What to do when there is nothing to show.
        twin: The same as a table.
    """

    title: str
    lines: tuple[Line, ...] = ()
    stops: tuple[float, ...] = ()
    words: tuple[str, ...] = ()
    x_label: str = ""
    y_label: str = ""
    here: float = float("nan")
    meaning: str = ""
    empty: str = "Choose a number and press Run."
    twin: Table = NO_TABLE

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to show."""
        return not any(len(line.x) for line in self.lines)

    def table(self) -> Table:
        """The table twin."""
        return self.twin
