"""Scores of every unit in the panel: which way is better, what is averaged, how it reads."""

from __future__ import annotations

from widgets.panels.score_words import delta_text, place, reach, value_text
from widgets.panels.scores_model import average, summary_text
from widgets.panels.state import Reading, TaskScore, verdict


def _ppl(value: float) -> Reading:
    return Reading(value, value - 0.5, value + 0.5, 99, "Perplexity", "ppl", 2, False)


def _acc(value: float) -> Reading:
    return Reading(value, value - 0.02, value + 0.02, 300)


def test_lower_perplexity_is_better() -> None:
    assert verdict(_ppl(15), _ppl(24)) == 1
    assert verdict(_ppl(24), _ppl(15)) == -1
    assert verdict(_ppl(15), _ppl(15.1)) == 0
    assert TaskScore(task="t", expert=_ppl(10), mix=_ppl(20)).normalised == 0.5
    assert (value_text(_ppl(15), with_unit=True), delta_text(_ppl(15), _ppl(24))) == ("15.00 ppl", "−9.00")
    assert (value_text(_acc(0.842)), delta_text(_acc(0.842), _acc(0.8))) == ("84.2", "+4.2")


def test_means_are_over_one_unit_and_say_so() -> None:
    rows = [TaskScore(task="a", base=_acc(0.5), expert=_acc(0.9), mix=_acc(0.8)),
            TaskScore(task="b", base=_ppl(30), expert=_ppl(10), mix=_ppl(20))]  # fmt: skip
    mean = average(rows)
    assert mean is not None
    assert (mean.mix, mean.count, mean.shares, mean.unit) == (0.8, 1, 2, "%")
    assert summary_text(rows) == "Average 80.0 over 1 of 2 tasks; over 2: 69.4 % of the experts' own scores"
    alone = average(rows[1:])
    assert alone is not None
    assert alone.text(alone.mix) == "20.00"


def test_bars_reach_beyond_the_largest_number() -> None:
    ends = reach([_ppl(20), _ppl(10), None])
    assert ends[0] == 0
    assert 0 < place(10, ends) < place(20, ends) < 1
    assert reach([_acc(0.2)]) == (0, 1)
    assert reach([Reading(-0.1, -0.2, 0.1, 9, "Spearman", "ρ", 3)]) == (-1, 1)
