"""What a tuning run has found so far, and how the tuner panel shows it: chart, table, words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from app.sweep_state import scored
from engine.evaluate.measures import Measure, find_measure
from engine.evaluate.score import Average, Score, average, difference
from engine.preview.surrogate import Estimate
from engine.recipe.recipe import Recipe
from widgets.plots.state import Table
from widgets.plots.sweep_values import Line, Lines
from widgets.plots.tune_state import Row

Estimates = tuple[Estimate, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One step as it arrived.

    Attributes:
        number: Counts over all of a run.
        recipe: The desk's recipe at that step.
        estimated: Scores as the tuner sees them.
        true: Measured ones, or None.
        accepted: False for a trial that was taken back.
        note: One sentence, or "".
        value: What is minimised.
    """

    number: int
    recipe: Recipe
    estimated: Estimates
    true: Estimates | None
    accepted: bool
    note: str
    value: float


@dataclass(slots=True)
class Run:
    """A tuning run, from its start to its result.

    Attributes:
        start: The recipe before.
        titles: Title of every task, by name.
        chosen: Names of the tasks that are tuned for.
        rows: Rows of each task.
        words: Tuner, rows and seed in words.
        steps: All steps, in order.
        before: Measured scores at the start.
        best: The best step that was measured and accepted, of those that respect what the user holds.
        pinned: (T, G) faders that the user holds, or None.
        test: Scores (before, after) on test rows, or None.
        notes: What the session had to say.
    """

    start: Recipe
    titles: dict[str, str]
    chosen: tuple[str, ...]
    rows: int
    words: str
    steps: list[Seen] = field(default_factory=list)
    before: Estimates = ()
    best: Seen | None = None
    pinned: np.ndarray | None = None
    test: tuple[dict[str, Score], dict[str, Score]] | None = None
    notes: tuple[str, ...] = ()

    def add(self, step: Seen) -> None:
        """Note a step."""
        self.steps.append(step)
        if step.true is None or not step.accepted:
            return
        if not self.before:
            self.before = step.true
        if self.best is None or step.value <= self.best.value:
            self.best = step


def score_of(estimate: Estimate) -> Score:
    """A measured estimate as a score on validation rows."""
    return Score(task=estimate.task, split="val", metric=estimate.metric, value=estimate.value, low=estimate.low,
                 high=estimate.high, correct=estimate.correct, count=estimate.count)  # fmt: skip


def chart(run: Run) -> Lines:
    """Mean score of the tuned tasks by step: estimates dashed, measured ones as points with 95 % intervals."""
    steps = list(_shown(run.steps))
    measure = _measure(run, steps)
    factor = 100.0 if measure.unit == "%" else 1.0
    guess = Line(name="estimated", x=np.array([float(s.number) for s in steps]),
                 y=np.array([factor * _mean(s.estimated, run.chosen) for s in steps]), tone=0,
                 dashed=True)  # fmt: skip
    measured = [s for s in steps if s.true is not None]
    means = [average([score_of(e) for e in s.true or () if e.task in run.chosen]) for s in measured]
    true = Line(name="measured", x=np.array([float(s.number) for s in measured]),
                y=np.array([factor * m.value for m in means]), low=np.array([factor * m.low for m in means]),
                high=np.array([factor * m.high for m in means]), thick=True)  # fmt: skip
    return Lines(
        title="Score by step", lines=(guess, true), stops=tuple(float(s.number) for s in steps),
        words=tuple(_words(s, run) for s in steps), x_label="step", y_label=_label(run, steps),
        twin=_twin(run, steps), empty="Waiting for the first step…",
    )  # fmt: skip


def _shown(steps: Sequence[Seen], most: int = 400) -> Sequence[Seen]:
    """All measured steps, and of the estimated ones at most some hundreds."""
    every = max(1, len(steps) // most)
    return [s for i, s in enumerate(steps) if s.true is not None or i % every == 0]


def _alike(found: Estimates, chosen: Sequence[str]) -> Estimates:
    """The tuned tasks whose mean means something: those in percent, else those of the first one's metric."""
    tuned = tuple(e for e in found if e.task in chosen)
    shares = tuple(e for e in tuned if e.measure.unit == "%")
    return shares or tuple(e for e in tuned if e.metric == tuned[0].metric)


def _mean(found: Estimates, chosen: Sequence[str]) -> float:
    return float(np.mean([e.value for e in _alike(found, chosen)] or [np.nan]))


def _measure(run: Run, steps: Sequence[Seen]) -> Measure:
    """What the mean of the tuned tasks is measured in."""
    known = _alike(steps[0].estimated, run.chosen) if steps else ()
    return known[0].measure if known else find_measure("accuracy")


def _label(run: Run, steps: Sequence[Seen]) -> str:
    """Like "mean accuracy in %", "Perplexity in ppl, lower is better"."""
    known = _alike(steps[0].estimated, run.chosen) if steps else ()
    titles, measure = {e.measure.title for e in known}, _measure(run, steps)
    name = (titles.pop() if len(titles) == 1 else "score") if known else "accuracy"
    unit = f" in {measure.unit}" if measure.unit else ""
    mean = f"mean {name.lower()}" if len(known) != 1 else name
    return f"{mean}{unit}{'' if measure.higher_is_better else ', lower is better'}"


def _words(step: Seen, run: Run) -> str:
    kind = "estimated" if step.true is None else "measured" if step.accepted else "measured, taken back"
    scores = step.true or step.estimated
    lines = [f"{run.titles.get(e.task, e.task)} {_said(e.value, e.measure)}" for e in scores]
    mean = _said(_mean(scores, run.chosen), _measure(run, [step]))
    return "\n".join([f"Step {step.number} ({kind}): {mean}. {step.note}".strip(), *lines])


def _said(value: float, measure: Measure) -> str:
    """ "81.3 %", "12.30 ppl"."""
    factor = 100.0 if measure.unit == "%" else 1.0
    return f"{factor * value:.{measure.places}f} {measure.unit}".rstrip()


def _twin(run: Run, steps: Sequence[Seen]) -> Table:
    units = {e.task: e.measure.unit for e in run.before}
    names, factors = list(units), {n: 100.0 if unit == "%" else 1.0 for n, unit in units.items()}
    whole = _measure(run, steps)
    head = ("step", "kind", "loss", f"mean{_in(whole.unit)}",
            *(f"{run.titles.get(n, n)}{_in(units[n])}" for n in names), "note")  # fmt: skip
    body = []
    for step in steps:
        scores = {e.task: e.value for e in step.true or step.estimated}
        kind = "estimated" if step.true is None else "measured" if step.accepted else "taken back"
        mean = (100.0 if whole.unit == "%" else 1.0) * _mean(step.true or step.estimated, run.chosen)
        body.append((str(step.number), kind, f"{step.value:.4f}", f"{mean:.2f}",
                     *(f"{factors[n] * scores[n]:.2f}" for n in names), step.note))  # fmt: skip
    return head, tuple(body)


def _in(unit: str) -> str:
    return f" in {unit}" if unit else ""


def table(run: Run) -> tuple[Row, ...]:
    """Every task before and after, and the mean of those that were tuned."""
    if not run.before or run.best is None or run.best.true is None:
        return ()
    before = {e.task: score_of(e) for e in run.before}
    after = {e.task: score_of(e) for e in run.best.true}
    tested = run.test or ({}, {})
    names = list(before)
    rows = [_row(run, name, before[name], after[name], tested[0].get(name), tested[1].get(name)) for name in names]
    chosen = [e.task for e in _alike(run.before, run.chosen)]
    if len(chosen) > 1:
        means = [average([scores[n] for n in chosen]) for scores in (before, after)]
        test = [average([scores[n] for n in chosen]) for scores in tested] if run.test else [None, None]
        rows.append(_row(run, "", means[0], means[1], test[0], test[1]))
    return tuple(rows)


def _row(
    run: Run, name: str, before: Score | Average, after: Score | Average, test_before: Score | Average | None,
    test_after: Score | Average | None,
) -> Row:  # fmt: skip
    title = run.titles.get(name, name) if name else "Mean of the tuned tasks"
    if name and name not in run.chosen:
        title = f"{title} (not tuned for)"
    change, tone = _change(before, after)
    tested, test_tone = _change(test_before, test_after) if test_before and test_after else ("", "")
    return Row(
        task=title, before=_two(before), after=_two(after), change=change, tone=tone,
        test_before=_two(test_before) if test_before else "", test_after=_two(test_after) if test_after else "",
        test_change=tested, test_tone=test_tone,
    )  # fmt: skip


def _two(score: Score | Average) -> str:
    """ "81.3", below it "±4.2": value and half its interval."""
    factor = 100.0 if find_measure(score.metric).unit == "%" else 1.0
    places = find_measure(score.metric).places
    return f"{factor * score.value:.{places}f}\n±{factor * score.margin:.{places}f}"


def _change(before: Score | Average, after: Score | Average) -> tuple[str, str]:
    """Difference with its interval, and a colour where it exceeds that."""
    if isinstance(before, Score) and isinstance(after, Score):
        low, high = difference(before, after)
    else:
        down = np.hypot(after.value - after.low, before.high - before.value)
        up = np.hypot(after.high - after.value, before.value - before.low)
        low, high = after.value - before.value - float(down), after.value - before.value + float(up)
    measure = find_measure(after.metric)
    factor = 100.0 if measure.unit == "%" else 1.0
    better = low > 0 if measure.higher_is_better else high < 0
    worse = high < 0 if measure.higher_is_better else low > 0
    ends = 0 if measure.unit == "%" else measure.places
    text = (f"{factor * (after.value - before.value):+.{measure.places}f}\n"
            f"({factor * low:+.{ends}f} to {factor * high:+.{ends}f})")  # fmt: skip
    return text.replace("-", "−"), "ok" if better else "error" if worse else ""


def held(pinned: np.ndarray | None) -> str:
    """What the user holds, in words."""
    if pinned is None or not pinned.any():
        return ""
    count = int(pinned.sum())
    return f"{count} {'fader is' if count == 1 else 'faders are'} pinned: taken by hand, the tuner leaves them alone."


def basis(run: Run) -> str:
    """What the figures of the table rest on."""
    notes = " ".join(run.notes)
    return (
        f"{run.words}. {_units(run)}, on the validation rows that it was tuned on, which flatters them; bars and ± are "
        f"95 % intervals. {notes}"
    ).strip()


def _units(run: Run) -> str:
    """In what the scores are: "Scores in %", with what else there is."""
    others = [f"{run.titles.get(e.task, e.task)} {e.measure.title}{_in(e.measure.unit)}"
              f"{'' if e.measure.higher_is_better else ' (lower is better)'}"
              for e in run.before if e.measure.unit != "%"]  # fmt: skip
    if not others:
        return "Scores in %"
    return f"Scores {'in % ' if len(others) < len(run.before) else ''}({', '.join(others)})"


def test_words(run: Run, *, is_reading: bool) -> str:
    """What the test rows said, "" before they were looked at."""
    if is_reading:
        return "Reading the test rows…"
    if run.test is None:
        return ""
    before, after = (scored(average(list(scores.values()))) for scores in run.test)
    return (
        f"Test rows, looked at once: mean {before} before, {after} after. Choosing by them from now on would make "
        "them validation rows."
    )
