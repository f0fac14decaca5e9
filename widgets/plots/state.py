"""What the plots show: plain frozen values, each of which can also be read as a table."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Table = tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]
"""Header and rows of text."""


COMBINATIONS = 14
"""Bars of an `UpSet`; its table has all combinations."""


def _nothing() -> np.ndarray:
    return np.zeros((0, 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Heat:
    """A matrix of numbers as colours.

    Attributes:
        title: What it is.
        rows: R row names.
        columns: C column names.
        values: (R, C), NaN where there is nothing to show.
        low: Value at the lower end of the colours.
        high: Value at the upper end.
        diverging: Whether 0 is in the middle and both directions matter.
        unit: "" for plain numbers, "%" for shares of 1.
        meaning: One sentence on what a number says.
        short_rows: Rows for where there is little room; may be empty.
        row_experts: Experts (row index on the desk) that a row is about, for their chips.
        column_experts: Experts that a column is about; empty where the columns are layers.
        empty: What to do when there is nothing to show.
        signed: Whether numbers above 0 are written with a plus.
    """

    title: str
    rows: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    values: np.ndarray = field(default_factory=_nothing)
    low: float = 0.0
    high: float = 1.0
    diverging: bool = False
    unit: str = ""
    meaning: str = ""
    short_rows: tuple[str, ...] = ()
    row_experts: tuple[tuple[int, ...], ...] = ()
    column_experts: tuple[tuple[int, ...], ...] = ()
    empty: str = "Needs a base and two experts. Drop another model or open the demo."
    signed: bool = False

    def text(self, row: int, column: int) -> str:
        """One cell as text."""
        value = float(self.values[row, column])
        return f"{'+' if self.signed and value > 0 else ''}{shown(value, self.unit)}"

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to show."""
        return not self.rows

    def table(self) -> Table:
        """The same as a table."""
        body = tuple((name, *(self.text(r, c) for c in range(len(self.columns)))) for r, name in enumerate(self.rows))
        return ("", *self.columns), body

    def numbers(self) -> Table:
        """The same as a table for other programs."""
        body = tuple((name, *(digits(v, self.unit) for v in self.values[r])) for r, name in enumerate(self.rows))
        return ("", *(with_unit(name, self.unit) for name in self.columns)), body


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """Stacked bars: what each column is made of.

    Attributes:
        title: What it is.
        columns: C column names.
        parts: K part names.
        short: The same for a legend without room ("only A", "B", …); may be empty.
        values: (C, K) shares that add to at most 1.
        colours: K colours (hex).
        dropped: Parts that the method would leave out, drawn grey.
        roles: For each part the role of its weights ("nobody", "only", "shared", "everybody"); may be empty.
        part_experts: For each part the experts that it is about; may be empty.
        levels: For each part in how many masks its weights are; with `cut` parts below are left out.
        cut: The k of Consensus, shown as a line that can be dragged; None for no line.
        meaning: One sentence on what the parts are.
        empty: What to do when there is nothing to show.
    """

    title: str
    columns: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    short: tuple[str, ...] = ()
    values: np.ndarray = field(default_factory=_nothing)
    colours: tuple[str, ...] = ()
    dropped: frozenset[int] = frozenset()
    roles: tuple[str, ...] = ()
    part_experts: tuple[tuple[int, ...], ...] = ()
    levels: tuple[int, ...] = ()
    cut: int | None = None
    meaning: str = ""
    empty: str = "Needs a base and two experts. Drop another model or open the demo."

    def below(self, cut: int) -> np.ndarray:
        """(C,) share of each column whose weights are in fewer than `cut` masks."""
        chosen = [k for k, level in enumerate(self.levels) if level < cut]
        made: np.ndarray = self.values[:, chosen].sum(axis=1)
        return made

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to show."""
        return not self.columns

    def table(self) -> Table:
        """The same as a table."""
        body = tuple((name, *(shown(float(v), "%") for v in self.values[c])) for c, name in enumerate(self.columns))
        return ("", *self.parts), body

    def numbers(self) -> Table:
        """The same as a table for other programs."""
        body = tuple((name, *(digits(v, "%") for v in self.values[c])) for c, name in enumerate(self.columns))
        return ("", *(with_unit(name, "%") for name in self.parts)), body


@dataclass(frozen=True, slots=True, kw_only=True)
class UpSet:
    """How often sets meet, by combination.

    Attributes:
        title: What it is.
        sets: T names.
        counts: (2**T,) number of elements that lie in exactly that combination (bit t: in set t).
        meaning: One sentence on what an element is.
        empty: What to do when there is nothing to show.
    """

    title: str
    sets: tuple[str, ...] = ()
    counts: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    meaning: str = ""
    empty: str = "Needs a base and two experts. Drop another model or open the demo."

    def top(self, most: int = COMBINATIONS) -> tuple[int, ...]:
        """The most frequent combinations, the empty one left out."""
        order = [int(i) for i in np.argsort(-self.counts, kind="stable") if i and self.counts[i]]
        return tuple(order[:most])

    def name(self, combination: int) -> str:
        """ "code + chat"."""
        return " + ".join(s for t, s in enumerate(self.sets) if combination >> t & 1) or "none"

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to show."""
        return not self.counts.any()

    def table(self) -> Table:
        """The same as a table, every combination that occurs."""
        total = max(int(self.counts.sum()), 1)
        order = [int(i) for i in np.argsort(-self.counts, kind="stable") if self.counts[i]]
        body = tuple((self.name(i), f"{int(self.counts[i])}", shown(self.counts[i] / total, "%")) for i in order)
        return ("combination", "weights", "share"), body

    def numbers(self) -> Table:
        """The same as a table for other programs."""
        total = max(int(self.counts.sum()), 1)
        body = tuple((name, weights, digits(int(weights) / total, "%")) for name, weights, _ in self.table()[1])
        return ("combination", "weights", with_unit("share", "%")), body


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """Distributions over the same bins, with one threshold each.

    Attributes:
        title: What it is.
        names: T names.
        edges: (B + 1,) bin edges, logarithmic.
        counts: (T, B) counts.
        zeros: (T,) elements that are exactly 0 and in no bin.
        thresholds: (T,) where the method cuts; NaN for nowhere.
        density: Share that is kept, or None when the method has no such parameter.
        meaning: One sentence.
        empty: What to do when there is nothing to show.
    """

    title: str
    names: tuple[str, ...] = ()
    edges: np.ndarray = field(default_factory=lambda: np.zeros(0))
    counts: np.ndarray = field(default_factory=_nothing)
    zeros: np.ndarray = field(default_factory=lambda: np.zeros(0))
    thresholds: np.ndarray = field(default_factory=lambda: np.zeros(0))
    density: float | None = None
    meaning: str = ""
    empty: str = "Needs a base and an expert. Drop a model or open the demo."

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to show."""
        return len(self.edges) < 2

    def table(self) -> Table:
        """The same as a table."""
        head = ("|τ| from", "to", *self.names)
        bins = range(max(len(self.edges) - 1, 0))
        body = tuple(
            (f"{self.edges[b]:.3g}", f"{self.edges[b + 1]:.3g}", *(f"{int(c)}" for c in self.counts[:, b]))
            for b in bins
        )
        return head, body


def equal(first: DataclassInstance, second: DataclassInstance, *but: str) -> bool:
    """Whether two values of the same kind show the same, apart from the fields named."""
    if type(first) is not type(second):
        return False
    pairs = ((getattr(first, f.name), getattr(second, f.name)) for f in fields(first) if f.name not in but)
    return all(np.array_equal(a, b, equal_nan=True) if isinstance(a, np.ndarray) else a == b for a, b in pairs)


def digits(value: float, unit: str = "") -> str:
    """A number for other programs, in the unit that `shown` writes, without it; "" for nothing."""
    return f"{100 * value if unit == '%' else value:.9g}" if np.isfinite(value) else ""


def with_unit(name: str, unit: str) -> str:
    """A column's name with the unit of its numbers: "emb (%)"."""
    return f"{name} ({unit})" if unit else name


def legible(cell: str) -> str:
    """A number with the sign of a keyboard, nothing for the dash of no number; any other text as it is."""
    if cell == "–":
        return ""
    plain = cell.replace("−", "-")
    try:
        float(plain)
    except ValueError:
        return cell
    return plain


def shown(value: float, unit: str = "") -> str:
    """A number as the plots write it; an en dash for nothing."""
    if not np.isfinite(value):
        return "–"
    if unit == "%":
        return f"{100 * value:.1f} %"
    text = f"{value:.2f}"
    return "0.00" if text == "-0.00" else text.replace("-", "−")
