"""What the live preview says, from its numbers: pure functions and values, no Qt and no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from app.columns import Column
from engine.files.model import Layout
from engine.preview.basis import Cell, Floats
from engine.preview.hearing import Session
from engine.preview.surrogate import Estimate, Slopes, Surrogate
from widgets.common.format import bytes_text, number_text
from widgets.panels.state import Reading

Phase = Literal["off", "idle", "opening", "ready", "unavailable"]
Pairs = tuple[tuple[int, int], ...]
"""(expert, group) coefficients that one fader moves."""


@dataclass(frozen=True, slots=True)
class LiveState:
    """How the live preview stands.

    Attributes:
        phase: "off" by the switch, "idle" while something is missing, "opening", "ready" or "unavailable".
        reason: What is missing, or why there can be none.
        rows: Rows of each task.
        filled: Share of the derivatives that are there.
        bytes: Memory of session and derivatives.
        error: Mean error of recent estimates, a share of rows.
        compared: How many estimates that comes from.
        notes: What else the user should know.
    """

    phase: Phase = "idle"
    reason: str = ""
    rows: int = 0
    filled: float = 0.0
    bytes: int = 0
    error: float = 0.0
    compared: int = 0
    notes: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """One line below the scores; "" when there is nothing to say."""
        if self.phase == "off":
            return "Live preview is off: scored on release."
        if self.phase == "unavailable":
            return f"No live preview, scored on release: {self.reason}"
        if self.phase == "opening":
            return "Live preview: reading the models…"
        if self.phase == "idle":
            return ""
        if self.filled < 1:
            return f"Live on {self.rows} rows a task; preparing the faders, {100 * self.filled:.0f} %."
        if not self.compared:
            return f"Live on {self.rows} rows a task."
        return f"Live on {self.rows} rows a task; estimates were off by {points(self.error)} points lately."

    @property
    def tip(self) -> str:
        """The same in full, with memory."""
        lines = [self.line]
        if self.phase == "ready":
            lines.append(f"Memory: {bytes_text(self.bytes)} for task vectors, activations and derivatives.")
            if self.compared:
                lines.append(f"Error: mean difference of {self.compared} recent estimates from the true scores.")
            lines.append("≈ marks an estimate; quick eval on more rows has the last word.")
        return "\n".join([line for line in lines if line] + list(self.notes))


def ready(live: Session, surrogate: Surrogate, older: Surrogate | None) -> LiveState:
    """How an open session stands."""
    error, compared = surrogate.errors.mean
    taken = live.report.bytes + sum(s.bytes for s in (surrogate, older) if s is not None)
    dropped = tuple(f"{name} takes no part: {why.message}" for name, why in live.report.dropped.items())
    reason = (live.frame.reason,) if live.frame.reason else ()
    return LiveState("ready", "", live.report.rows, surrogate.filled, taken, error, compared,
                     (*live.report.notes, *reason, *dropped))  # fmt: skip


def points(share: float) -> str:
    """A share of rows in percent points: "0.8"."""
    return number_text(100 * share, 1)


def reading(estimate: Estimate) -> Reading:
    """An estimate as the scores panel shows readings."""
    measure = estimate.measure
    return Reading(estimate.value, estimate.low, estimate.high, estimate.count, measure.title, measure.unit,
                   measure.places, measure.higher_is_better)  # fmt: skip


def why(estimate: Estimate, *, overridden: bool = False) -> str:
    """Why a number is of its kind, in a sentence."""
    rows = f"{estimate.count} validation rows"
    if estimate.state == "exact":
        return f"Exact on {rows}: the network was run."
    if overridden:
        return "Old: a single tensor's fader moved; its effect is measured on release."
    if estimate.state == "waiting":
        return "Waiting: this fader is not prepared yet; the number is shown without its effect."
    if estimate.state == "estimate" and not estimate.error and not estimate.compared:
        return f"Estimate on {rows}, between true runs along this fader."
    measure = estimate.measure
    off = f"{points(estimate.error)} points" if measure.unit == "%" else (
        f"{number_text(estimate.error, measure.places)} {measure.unit}".rstrip())  # fmt: skip
    told = (
        f"estimates were off by {off} in the last {estimate.compared} comparisons"
        if estimate.compared
        else f"{off} of error {'are' if measure.unit == '%' else 'is'} presumed, nothing was compared yet"
    )
    if estimate.state == "stale":
        return f"Old estimate on {rows}: far from where it was prepared, or wrong lately; {told}."
    return f"Estimate on {rows}; {told}."


def pairs_of(columns: Sequence[Column], layout: Layout, expert: int, column: int) -> Pairs:
    """The coefficients behind a cell of the desk; none for a single tensor, which the preview follows on release."""
    if not 0 <= column < len(columns) or columns[column].keys[0][2] is not None:
        return ()
    keys = columns[column].keys
    return tuple(
        (expert, index)
        for index, group in enumerate(layout.groups)
        if any(la in (None, group.place.layer) and kind in (None, group.place.kind) for la, kind, _ in keys)
    )


def shared_cell(pairs: Sequence[tuple[int, int]], gain: Floats) -> tuple[Cell, float] | None:
    """One direction for faders that move together, and what a unit of them changes in the point.

    Returns:
        None if they are no block of experts x groups, do not count alike, or do not count at all.
    """
    experts, groups = sorted({t for t, _ in pairs}), sorted({g for _, g in pairs})
    if not pairs or len(set(pairs)) != len(experts) * len(groups):
        return None
    gains = {round(float(gain[t, g]), 9) for t, g in pairs}
    if len(gains) != 1 or gains == {0.0}:
        return None
    return Cell(tuple(experts), tuple(groups)), gains.pop()


def members(columns: Sequence[Column], layout: Layout) -> Floats:
    """(G, C) 1 where a column's fader moves a group."""
    made = np.zeros((len(layout.groups), len(columns)))
    for index in range(len(columns)):
        for _, group in pairs_of(columns, layout, 0, index):
            made[group, index] = 1.0
    return made


def cell_slopes(slopes: Slopes, gain: Floats, member: Floats, task: str) -> Floats:
    """(T, C) change of a task's mean log-likelihood per unit of each fader; NaN where it is not known."""
    table = slopes.mean if task not in slopes.tasks else slopes.values[slopes.tasks.index(task)]
    made: Floats = np.where(np.isnan(table), np.nan, table * gain) @ member
    return np.where(member.any(axis=0), made, np.nan)


def weighted(slopes: Slopes, gain: Floats) -> Slopes:
    """Slopes per unit of the faders instead of the point."""
    return Slopes(slopes.tasks, slopes.values * gain)


def nudged(point: Floats, pairs: Pairs) -> Floats:
    """(T, G) a point with some coefficients moved a little."""
    made = np.array(point)
    for t, g in pairs:
        made[t, g] += 1e-3
    return made
