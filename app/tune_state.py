"""What a tuning run has found so far, and how the tuner panel shows it: chart, table, words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from app.sweep_state import scored
from engine.evaluate.measures import find_measure
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
    guess = Line(name="estimated", x=np.array([float(s.number) for s in steps]),
                 y=np.array([100 * _mean(s.estimated, run.chosen) for s in steps]), tone=0, dashed=True)  # fmt: skip
    measured = [s for s in steps if s.true is not None]
    means = [average([score_of(e) for e in s.true or () if e.task in run.chosen]) for s in measured]
    true = Line(name="measured", x=np.array([float(s.number) for s in measured]),
                y=np.array([100 * m.value for m in means]), low=np.array([100 * m.low for m in means]),
                high=np.array([100 * m.high for m in means]), thick=True)  # fmt: skip
    return Lines(
        title="Score by step", lines=(guess, true), stops=tuple(float(s.number) for s in steps),
        words=tuple(_words(s, run) for s in steps), x_label="step", y_label="mean accuracy in %",
        twin=_twin(run, steps), empty="Waiting for the first step…",
    )  # fmt: skip


def _shown(steps: Sequence[Seen], most: int = 400) -> Sequence[Seen]:
    """All measured steps, and of the estimated ones at most some hundreds."""
    every = max(1, len(steps) // most)
    return [s for i, s in enumerate(steps) if s.true is not None or i % every == 0]


def _mean(found: Estimates, chosen: Sequence[str]) -> float:
    return float(np.mean([e.value for e in found if e.task in chosen] or [np.nan]))


def _words(step: Seen, run: Run) -> str:
    kind = "estimated" if step.true is None else "measured" if step.accepted else "measured, taken back"
    scores = step.true or step.estimated
    lines = [f"{run.titles.get(e.task, e.task)} {100 * e.value:.1f} %" for e in scores]
    head = f"Step {step.number} ({kind}): {100 * _mean(scores, run.chosen):.1f} %. {step.note}".strip()
    return "\n".join([head, *lines])


def _twin(run: Run, steps: Sequence[Seen]) -> Table:
    names = [e.task for e in run.before]
    head = ("step", "kind", "loss", "mean in %", *(f"{run.titles.get(n, n)} in %" for n in names), "note")
    body = []
    for step in steps:
        scores = {e.task: e.value for e in step.true or step.estimated}
        kind = "estimated" if step.true is None else "measured" if step.accepted else "taken back"
        body.append((str(step.number), kind, f"{step.value:.4f}",
                     f"{100 * _mean(step.true or step.estimated, run.chosen):.2f}",
                     *(f"{100 * scores[n]:.2f}" for n in names), step.note))  # fmt: skip
    return head, tuple(body)


def table(run: Run) -> tuple[Row, ...]:
    """Every task before and after, and the mean of those that were tuned."""
    if not run.before or run.best is None or run.best.true is None:
        return ()
    before = {e.task: score_of(e) for e in run.before}
    after = {e.task: score_of(e) for e in run.best.true}
    tested = run.test or ({}, {})
    names = list(before)
    rows = [_row(run, name, before[name], after[name], tested[0].get(name), tested[1].get(name)) for name in names]
    chosen = [n for n in names if n in run.chosen]
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
    text = f"{factor * (after.value - before.value):+.{measure.places}f}\n({factor * low:+.0f} to {factor * high:+.0f})"
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
        f"{run.words}. Scores in %, on the validation rows that it was tuned on, which flatters them; bars and ± are "
        f"95 % intervals. {notes}"
    ).strip()


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
