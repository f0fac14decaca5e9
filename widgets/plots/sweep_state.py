"""What the sweep panel shows and what the user asks for: plain frozen values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from widgets.plots.sweep_values import Grid, Lines, Points

Form = Literal["grid", "triangle"]
Phase = Literal["idle", "running", "paused"]
Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """A number that can be swept, and the range offered for it.

    Attributes:
        id: "param:NAME", "gain:EXPERT", "fader:EXPERT" or "fader:" for all experts.
        label: What the user reads.
        low: First value offered.
        high: Last value offered.
        count: How many values are offered.
        least: Smallest value allowed.
        most: Largest value allowed.
        whole: Whether only whole numbers make sense.
    """

    id: str
    label: str
    low: float
    high: float
    count: int = 6
    least: float = -10.0
    most: float = 10.0
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Span:
    """A quantity and the values that it takes.

    Attributes:
        id: The quantity's.
        low: First value.
        high: Last value.
        count: How many, evenly spaced.
    """

    id: str
    low: float
    high: float
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepWish:
    """What to sweep.

    Attributes:
        form: A grid over one or two numbers, or a triangle of three experts.
        x: The columns.
        y: The rows; None for a line.
        experts: Ids of the triangle's experts.
        steps: Steps along a side of the triangle.
        total: Sum of the three gains.
        tasks: Names of the tasks.
        rows: Rows of each task.
    """

    form: Form = "grid"
    x: Span = field(default_factory=lambda: Span("", 0, 1, 6))
    y: Span | None = None
    experts: tuple[str, ...] = ()
    steps: int = 4
    total: float = 1.0
    tasks: tuple[str, ...] = ()
    rows: int = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepState:
    """What the panel shows.

    Attributes:
        quantities: What can be swept.
        experts: (id, name) of the rows.
        tasks: (name, title).
        wish: What the form shows; None leaves it to the user.
        rows: Rows offered at first.
        phase: Whether it runs.
        status: One sentence on how far it is.
        is_wrong: Whether the status is about something that went wrong.
        reason: Why it cannot run; "" if it can.
        shown: "grid", "lines" or "triangle".
        measures: (id, title) of what the colours can show.
        measure: Which one they show.
        pair: Names of the two tasks of the Pareto plot.
        grid: Two numbers.
        lines: One number.
        triangle: Three experts.
        front: Two tasks against each other.
    """

    quantities: tuple[Quantity, ...] = ()
    experts: Pairs = ()
    tasks: Pairs = ()
    wish: SweepWish | None = None
    rows: int = 64
    phase: Phase = "idle"
    status: str = ""
    is_wrong: bool = False
    reason: str = ""
    shown: str = "grid"
    measures: Pairs = ()
    measure: str = ""
    pair: tuple[str, str] = ("", "")
    grid: Grid = field(default_factory=lambda: Grid(title="Sweep"))
    lines: Lines = field(default_factory=lambda: Lines(title="Sweep"))
    triangle: Points = field(default_factory=lambda: Points(title="Three experts"))
    front: Points = field(default_factory=lambda: Points(title="Two tasks"))
