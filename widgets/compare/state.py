"""What the compare layout shows, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass, field

from widgets.desk.state import DeskState
from widgets.plots.state import Heat, Table

EMPTY = "Pin a recipe (Ctrl+P), change the mix, then compare the pin with it; or choose two runs (Ctrl+R)."


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreLine:
    """One row of the table of scores.

    Attributes:
        task: Name of the task.
        first: Score of A with its interval, as text.
        second: Score of B with its interval.
        difference: A − B, as text; "" while it is not known.
        interval: Its 95 % interval, as text.
        verdict: What it tells, in words.
        how: How the interval was made.
        ends: (low, value, high) as it is drawn, positive where A is better, or None.
        unit: Lines of one unit share a scale.
        better: "A", "B" or "" when the interval does not tell.
        is_mean: Whether the line is the mean over tasks.
    """

    task: str
    first: str = "–"
    second: str = "–"
    difference: str = ""
    interval: str = ""
    verdict: str = ""
    how: str = ""
    ends: tuple[float, float, float] | None = None
    unit: str = "%"
    better: str = ""
    is_mean: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Text in columns.

    Attributes:
        title: What it is.
        head: Names of the columns.
        body: Rows.
        meaning: One sentence on what it says.
        empty: What to do when there is nothing to show.
    """

    title: str
    head: tuple[str, ...] = ()
    body: tuple[tuple[str, ...], ...] = ()
    meaning: str = ""
    empty: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to show."""
        return not self.body

    def table(self) -> Table:
        """The same as a table."""
        return self.head, self.body


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreList:
    """The table of scores.

    Attributes:
        title: What it is.
        lines: One for each task, then the mean.
        meaning: One sentence on the intervals.
        empty: What to do when there is nothing to show.
    """

    title: str = "Scores"
    lines: tuple[ScoreLine, ...] = ()
    meaning: str = ""
    empty: str = "No scores yet. Add a quick-eval task (Ctrl+T), then score both."

    HEAD = ("Task", "A", "B", "A − B", "95 % interval", "B better │ A better", "Verdict")

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to show."""
        return not self.lines

    def table(self) -> Table:
        """The same as a table, with how the intervals were made."""
        body = tuple((x.task, x.first, x.second, x.difference, x.interval, x.verdict, x.how) for x in self.lines)
        return ("Task", "A", "B", "A − B", "95 % interval", "Verdict", "How"), body

    def reach(self, unit: str) -> float:
        """The largest end of the lines of a unit: half the width of their scale."""
        ends = [max(abs(x.ends[0]), abs(x.ends[2])) for x in self.lines if x.ends is not None and x.unit == unit]
        return max(ends, default=0.0) or 1.0


def _no_heat() -> Heat:
    return Heat(title="A − B", empty=EMPTY)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CompareState:
    """Everything the layout shows.

    Attributes:
        names: What can be compared: the mix as it is now, pins, runs.
        first: Index of A.
        second: Index of B.
        left: The desk of A.
        right: The desk of B; same rows, columns and scales as `left`.
        left_words: Method and parameters of A.
        right_words: Method and parameters of B.
        heat: A − B.
        scores: The table of scores.
        changes: What the recipes say differently.
        problem: Why there are no desks to see, or "".
        can_score: Whether both can be scored.
        is_scoring: Whether they are being scored.
        score_hint: Why they cannot be scored, or what scoring does.
        can_adopt: Whether B is another recipe than the one on the desk.
    """

    names: tuple[str, ...] = ()
    first: int = 0
    second: int = 0
    left: DeskState = field(default_factory=DeskState)
    right: DeskState = field(default_factory=DeskState)
    left_words: str = ""
    right_words: str = ""
    heat: Heat = field(default_factory=_no_heat)
    scores: ScoreList = field(default_factory=ScoreList)
    changes: Listing = field(default_factory=lambda: Listing(title="Differences"))
    problem: str = ""
    can_score: bool = False
    is_scoring: bool = False
    score_hint: str = ""
    can_adopt: bool = False

    @property
    def is_pair(self) -> bool:
        """Whether two different recipes were chosen."""
        return self.first != self.second
