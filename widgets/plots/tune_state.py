"""What the tuner panel shows and what the user asks for: plain frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from widgets.plots.sweep_values import Lines

if TYPE_CHECKING:
    from engine.methods.spec import Param, Value

Phase = Literal["idle", "running", "paused", "done"]
Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneWish:
    """What to tune.

    Attributes:
        tuner: Id of the tuner.
        params: Its parameters.
        tasks: Names of the tasks to tune for.
        rows: Validation rows of each.
        seed: The same seed, rows and parameters give the same result.
        blocks: "layer": all groups of a layer move together; "group": each on its own.
    """

    tuner: str
    params: Mapping[str, Value] = field(default_factory=dict)
    tasks: tuple[str, ...] = ()
    rows: int = 64
    seed: int = 0
    blocks: Literal["layer", "group"] = "layer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One task before and after.

    Attributes:
        task: Its title.
        before: Score and interval at the start, on validation rows.
        after: The same now.
        change: Difference and its interval.
        tone: "ok" or "error" where the difference exceeds its interval, else "".
        test_before: The same on test rows, "" before they were looked at.
        test_after: Score after, on test rows.
        test_change: Difference on test rows.
        test_tone: Like `tone`.
    """

    task: str
    before: str
    after: str
    change: str
    tone: str = ""
    test_before: str = ""
    test_after: str = ""
    test_change: str = ""
    test_tone: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneState:
    """What the panel shows.

    Attributes:
        tuners: (id, title) of all tuners.
        tuner: The chosen one.
        summary: What it does, in a sentence.
        paper: Its source.
        params: Its parameters.
        values: Their values.
        tasks: (name, title).
        phase: Whether it runs.
        status: One sentence on how far it is.
        reason: Why it cannot start; "" if it can.
        pinned: What the user holds, in words; "" for nothing.
        chart: Scores by step.
        rows: The table.
        basis: What the table's figures rest on: rows, seed, tuner.
        can_test: Whether the test rows can be looked at now.
        test: What the test rows said, or that they are being read; "" before.
        can_keep: Whether there is a best mix to keep, or to go back from.
    """

    tuners: Pairs = ()
    tuner: str = ""
    summary: str = ""
    paper: str = ""
    params: tuple[Param, ...] = ()
    values: Mapping[str, Value] = field(default_factory=dict)
    tasks: Pairs = ()
    phase: Phase = "idle"
    status: str = ""
    reason: str = ""
    pinned: str = ""
    chart: Lines = field(default_factory=lambda: Lines(title="Score by step", empty="Appears when tuning starts."))
    rows: tuple[Row, ...] = ()
    basis: str = ""
    can_test: bool = False
    test: str = ""
    can_keep: bool = False
