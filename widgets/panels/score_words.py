"""How scores of every metric read: percent points for shares, own digits and unit for all others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from widgets.common.format import UNKNOWN, number_text, score_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from widgets.panels.state import Reading, TaskScore


def value_text(reading: Reading | None, *, with_unit: bool = False) -> str:
    """Like "84.2" (percent) or "1.778 bit/B"."""
    if reading is None:
        return UNKNOWN
    if reading.unit == "%":
        return score_text(reading.value)
    return number_text(reading.value, reading.places) + (f" {reading.unit}" if with_unit and reading.unit else "")


def margin_text(reading: Reading) -> str:
    """Like "±2.1", half the interval in the score's own unit."""
    scale, places = (100, 1) if reading.unit == "%" else (1, reading.places)
    return f"±{number_text(reading.margin * scale, places)}"


def delta_text(mix: Reading | None, base: Reading | None) -> str:
    """Like "+3.6", "−0.04": mix minus base in the score's own unit."""
    if mix is None or base is None:
        return UNKNOWN
    scale, places = (100, 1) if mix.unit == "%" else (1, min(mix.places, 2))  # the column is narrow
    text = number_text((mix.value - base.value) * scale, places)
    return text if text.startswith("−") or float(text) == 0 else f"+{text}"


def reach(readings: Iterable[Reading | None]) -> tuple[float, float]:
    """What the left and right end of a row's bars mean: 0 to 1 for shares, else to a little above the largest.

    A correlation reaches from −1 where one of the scores is negative.
    """
    known = [reading for reading in readings if reading is not None]
    if not known or all(reading.unit == "%" for reading in known):
        return 0.0, 1.0
    low = -1.0 if min(reading.low for reading in known) < 0 else 0.0
    if known[0].unit == "ρ":
        return low, 1.0
    return low, max(reading.high for reading in known) * 1.1 or 1.0


def place(value: float, ends: tuple[float, float]) -> float:
    """Where a value lies between both ends, 0 to 1."""
    low, high = ends
    return min(max((value - low) / (high - low), 0.0), 1.0)


def way_text(reading: Reading) -> str:
    """Like "Perplexity (ppl), lower is better"; "" for accuracies."""
    if reading.metric in ("", "Accuracy"):
        return ""
    unit = f" ({reading.unit})" if reading.unit else ""
    return f"{reading.metric}{unit}{'' if reading.is_higher_better else ', lower is better'}"


def state_words(row: TaskScore) -> tuple[str, ...]:
    """What kind of number the mix's score is, from long to short; the last one fits nearly everywhere."""
    if row.is_running and row.quality == "exact":
        return ("running", "…")
    if row.is_stale:
        return ("older recipe", "old")
    if row.quality == "waiting":
        return ("waiting for the fader", "waiting", "…")
    if row.quality == "exact" or row.mix is None:
        return ("exact", "") if row.mix is not None else ("",)
    if row.quality == "stale":
        return ("old estimate", "old")
    if row.error is None:
        return ("estimate", "est.")
    off = number_text(row.error * (100 if row.mix.unit == "%" else 1), 1)
    return (f"estimate, off by {off}", f"est., off by {off}", f"est. err {off}", "est.")
