"""The quick-eval table as a Qt model: rows are tasks, the last one is their average."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from functools import partial
from statistics import fmean
from typing import TYPE_CHECKING

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QObject, QPersistentModelIndex, Qt

from widgets.common.colours import expert_letter
from widgets.common.format import number_text, percent_text, score_text
from widgets.common.text import plain, tip
from widgets.panels.score_words import delta_text as score_delta
from widgets.panels.score_words import margin_text, reach, state_words, value_text, way_text
from widgets.panels.state import Reading, TaskScore, verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

TASK, BASE, EXPERT, MIX, DELTA, VERDICT = range(6)
HEADERS = ("Task", "Base, %", "Expert, %", "Mix, %", "Δ base", "Verdict")
HEADER_TIPS = (
    "The task, the rows its mix is scored on and half of the 95 % interval",
    "Score of the base",
    "Score of the task's own expert",
    "Score of the mix, with its 95 % interval; lines mark base (dim) and own expert (coloured)",
    "Mix minus base, in points or in the metric's own unit",
    "Whether mix and base differ beyond chance (95 %)",
)
ROW_ROLE = int(Qt.ItemDataRole.UserRole) + 1
VERDICT_WORDS = {1: "better", -1: "worse", 0: "no clear difference"}
VERDICT_SIGNS = {1: "▲", -1: "▼", 0: "≈"}
Index = QModelIndex | QPersistentModelIndex


@dataclass(frozen=True, slots=True)
class Average:
    """Means over the tasks that have all three scores.

    Attributes:
        base: Mean of the base's scores.
        expert: Mean of the own experts' scores.
        mix: Mean of the mix's scores.
        normalised: Mean of mix relative to own expert.
        count: Number of tasks whose scores are averaged: those in percent, else those of the first one's unit.
        is_stale: Whether one of the mix's scores belongs to an older recipe.
        unit: Unit of the means.
        places: Digits after the point where it is not "%".
        shares: Tasks of all units whose scores are in `normalised`.
        is_estimate: Whether one of the mix's scores is an estimate.
    """

    base: float
    expert: float
    mix: float
    normalised: float
    count: int
    is_stale: bool
    unit: str = "%"
    places: int = 1
    shares: int = 0
    is_estimate: bool = False

    def text(self, value: float) -> str:
        """One of the means in its unit."""
        return score_text(value) if self.unit == "%" else number_text(value, self.places)


def average(rows: Sequence[TaskScore]) -> Average | None:
    """The average row, None as long as no task has scores of base, own expert and mix."""
    known = [(r, r.base, r.expert, r.mix) for r in rows if r.base and r.expert and r.mix]
    shares = [r.normalised for r, *_ in known if r.normalised is not None]
    if not known or not shares:
        return None
    units = [mix.unit for *_, mix in known]
    unit = "%" if "%" in units else units[0]
    full = [scores for scores in known if scores[-1].unit == unit]
    values = [(of_base.value, of_expert.value, of_mix.value) for _, of_base, of_expert, of_mix in full]
    base, expert, mix = (fmean(column) for column in zip(*values, strict=True))
    stale, guess = any(r.is_old for r, *_ in full), any(r.quality != "exact" for r, *_ in full)
    return Average(base, expert, mix, fmean(shares), len(full), stale, unit, full[0][-1].places, len(shares), guess)


def summary_text(rows: Sequence[TaskScore]) -> str:
    """Like "Average 81.2, 93.1 % of the experts' own scores", "" while unknown."""
    mean = average(rows)
    if mean is None:
        return ""
    over = "" if mean.count == len(rows) else f" over {mean.count} of {len(rows)} tasks"
    over += f"; over {mean.shares}" if mean.shares != mean.count else ""
    old = ", older recipe" if mean.is_stale and not mean.is_estimate else ""
    about = "≈" if mean.is_estimate else ""
    share = percent_text(mean.normalised)
    return f"Average {about}{mean.text(mean.mix)}{over}: {share} of the experts' own scores{old}"


def shown_columns(letters: float) -> tuple[int, ...]:
    """Columns for a table that is `letters` average letters wide."""
    if letters >= 78:
        return (TASK, BASE, EXPERT, MIX, DELTA, VERDICT)
    if letters >= 58:
        return (TASK, BASE, EXPERT, MIX, DELTA)
    return (TASK, MIX, DELTA) if letters < 46 else (TASK, BASE, MIX, DELTA)


def delta_text(row: TaskScore) -> str:
    """Like "+3.6", "−0.4": mix minus base in points."""
    return score_delta(row.mix, row.base)


def signed(gap: float) -> str:
    """A difference in points, with its sign."""
    text = number_text(gap * 100, 1)
    return text if text.startswith("−") or float(text) == 0 else f"+{text}"


def reading_text(reading: Reading | None) -> str:
    """Like "84.2 ±2.1, 256 rows"."""
    if reading is None:
        return "unknown"
    return f"{value_text(reading, with_unit=True)} {margin_text(reading)}, {reading.count} rows"


def row_text(row: TaskScore) -> str:
    """All about a row, for tooltip and screen reader."""
    lines = [row.task]
    if row.problem:
        return f"{row.task}: cannot be evaluated. {row.problem}"
    if row.mix is not None and way_text(row.mix):
        lines.append(way_text(row.mix))
    lines.append(f"Base {reading_text(row.base)}")
    if row.expert_index >= 0:
        lines.append(f"{expert_letter(row.expert_index)} {row.expert_name} {reading_text(row.expert)}")
    old = " (of an older recipe)" if row.is_stale else ""
    lines.append(f"Mix {'≈' if row.quality != 'exact' else ''}{reading_text(row.mix)}{old}")
    if row.why:
        lines.append(row.why)
    if row.mix is not None and row.base is not None:
        lines.append(f"{delta_text(row)} to the base: {VERDICT_WORDS[verdict(row.mix, row.base)]}")
    if row.normalised is not None:
        lines.append(f"{percent_text(row.normalised)} of the expert's score")
    if row.is_running:
        lines.append("Being evaluated")
    return "\n".join(lines)


def about_words(row: TaskScore) -> tuple[str, ...]:
    """What stands below a task's name, from long to short."""
    if row.problem:
        return (row.problem,)
    if row.mix is None:
        return ("not scored yet", "no score", "–")
    margin, unit = margin_text(row.mix), "" if row.mix.unit in ("", "%") else f" {row.mix.unit}"
    count = f"{row.mix.count} rows {margin}{unit}"
    if row.mix.metric == "Accuracy":
        return (count, f"n {row.mix.count} {margin}{unit}", f"{margin}{unit}")
    return (f"{row.mix.metric}, {count}", count, f"{row.mix.count} rows {margin}", margin)


def look(row: TaskScore | Average, column: int, text: str) -> Hashable:
    """All that a cell's picture is made of besides font, size and theme: the same look needs no painting.

    Args:
        row: What the cell is about.
        column: One of the six.
        text: What stands in it.
    """
    if isinstance(row, Average):
        return {TASK: (text, percent_text(row.normalised)), DELTA: (text, row.is_stale),
                MIX: (text, row.is_stale, row.text(row.base))}.get(column, (text,))  # fmt: skip
    if column == TASK:
        return text, row.problem, row.expert_index, about_words(row)
    if column in (DELTA, VERDICT) or row.problem:
        return text, row.problem, row.is_old, verdict(row.mix, row.base)
    if column != MIX:
        own = row.base if column == BASE else row.expert
        return text, row.expert_index, own, reach((row.base, row.expert, row.mix))
    return text, row.expert_index, row.base, row.expert, row.mix, row.is_old, row.quality, state_words(row)


_Looks = tuple[Hashable, ...]
_SPOKEN = [Qt.ItemDataRole.ToolTipRole, Qt.ItemDataRole.AccessibleTextRole]


class ScoresModel(QAbstractTableModel):
    """Rows and their texts; the delegate paints from `ROW_ROLE`."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.rows: tuple[TaskScore, ...] = ()
        self.mean: Average | None = None
        self.is_compact = False
        self._looks: list[_Looks] = []

    def set_rows(self, rows: tuple[TaskScore, ...]) -> None:
        """Show other rows; the same tasks are updated in place."""
        mean = average(rows) if len(rows) > 1 else None
        names = [r.task for r in rows], mean is None
        if names != ([r.task for r in self.rows], self.mean is None):
            self.beginResetModel()
            self.rows, self.mean = rows, mean
            self._look_again()
            self.endResetModel()
            return
        old, before = (*self.rows, self.mean), self._looks
        self.rows, self.mean = rows, mean
        now: tuple[TaskScore | Average, ...] = (*rows, mean) if mean is not None else rows
        self._looks = [
            known if row == was else self._looks_of(row) for row, was, known in zip(now, old, before, strict=False)
        ]
        self._tell(before, any(row != was for row, was in zip(now, old, strict=False)))

    def _look_again(self) -> None:
        """Note how all cells look now."""
        rows: tuple[TaskScore | Average, ...] = self.rows if self.mean is None else (*self.rows, self.mean)
        self._looks = [self._looks_of(row) for row in rows]

    def _looks_of(self, row: TaskScore | Average) -> _Looks:
        """How the cells of a row look."""
        texts = self._average_text if not isinstance(row, TaskScore) else partial(self._text, row)
        return tuple(look(row, at, texts(at)) for at in range(len(HEADERS)))

    def _tell(self, before: list[_Looks], spoken: bool) -> None:
        """Tell the views what looks different, run by run of each column, and screen readers that something is."""
        for at in range(len(HEADERS)):
            start = None
            flags = [old[at] != new[at] for old, new in zip(before, self._looks, strict=True)]
            for row, changed in enumerate((*flags, False)):
                if changed and start is None:
                    start = row
                elif not changed and start is not None:
                    self.dataChanged.emit(self.index(start, at), self.index(row - 1, at))
                    start = None
        if spoken:
            self.dataChanged.emit(self.index(0, TASK), self.index(self.rowCount() - 1, VERDICT), _SPOKEN)

    def set_compact(self, compact: bool) -> None:
        """Whether the delta carries the verdict's sign, because its column is hidden."""
        if compact != self.is_compact:
            self.is_compact = compact
            self._look_again()
            if self.rowCount():
                self.dataChanged.emit(self.index(0, DELTA), self.index(self.rowCount() - 1, DELTA))

    def task(self, index: Index) -> str:
        """Name of the task in a row, "" for the average."""
        return self.rows[index.row()].task if index.isValid() and index.row() < len(self.rows) else ""

    def rowCount(self, parent: Index | None = None) -> int:
        """Tasks and their average."""
        return 0 if parent is not None and parent.isValid() else len(self.rows) + (self.mean is not None)

    def columnCount(self, parent: Index | None = None) -> int:
        """Six."""
        return 0 if parent is not None and parent.isValid() else len(HEADERS)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        """Titles and what they mean."""
        if orientation == Qt.Orientation.Horizontal:
            if role == Qt.ItemDataRole.DisplayRole:
                return HEADERS[section]
            if role == Qt.ItemDataRole.ToolTipRole:
                return tip(HEADER_TIPS[section])
            if role == Qt.ItemDataRole.TextAlignmentRole:
                return int(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        return None

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        """Texts for painter, tooltip and screen reader."""
        if not index.isValid():
            return None
        row = self.rows[index.row()] if index.row() < len(self.rows) else None
        if role == ROW_ROLE:
            return row if row is not None else self.mean
        if role == Qt.ItemDataRole.DisplayRole:
            return self._average_text(index.column()) if row is None else self._text(row, index.column())
        if role in (Qt.ItemDataRole.ToolTipRole, Qt.ItemDataRole.AccessibleTextRole):
            text = summary_text(self.rows) if row is None else row_text(row)
            return tip(text) if role == Qt.ItemDataRole.ToolTipRole else plain(text.replace("\n", ", "))
        return None

    def _text(self, row: TaskScore, at: int) -> str:
        if at == TASK:
            return plain(row.task, 80)
        if at == VERDICT:
            if row.problem or row.mix is None or row.base is None:
                return ""
            way = verdict(row.mix, row.base)
            return f"{VERDICT_SIGNS[way]} {VERDICT_WORDS[way] if way else 'unclear'}"
        if at == DELTA:
            known = self.is_compact and row.mix is not None and row.base is not None
            way = verdict(row.mix, row.base) if known else 0  # "≈" marks estimates here
            return f"{delta_text(row)} {VERDICT_SIGNS[way]}" if way else delta_text(row)
        reading = {BASE: row.base, EXPERT: row.expert, MIX: row.mix}[at]
        return f"{'≈' if at == MIX and row.quality != 'exact' and reading else ''}{value_text(reading)}"

    def _average_text(self, at: int) -> str:
        mean = self.mean
        if mean is None:
            return ""
        texts = {BASE: mean.base, EXPERT: mean.expert, MIX: mean.mix}
        if at in texts:
            return f"{'≈' if at == MIX and mean.is_estimate else ''}{mean.text(texts[at])}"
        gap = signed(mean.mix - mean.base) if mean.unit == "%" else number_text(mean.mix - mean.base, mean.places)
        return {TASK: "Average", DELTA: gap, VERDICT: percent_text(mean.normalised)}[at]
