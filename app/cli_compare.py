"""Command line: the tables of two recipes, as the compare layout shows them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import MixdownError, OutOfRange
from engine.files.spreadsheet import SafeWriter

if TYPE_CHECKING:
    from engine.compare.table import TaskRow
    from engine.evaluate.mix import Measured
    from engine.evaluate.score import Score
    from engine.files.model import Layout
    from engine.progress import Progress
    from engine.recipe.recipe import Recipe


def measured_table(
    first: Recipe, second: Recipe, limit: int | None, progress: Progress | None = None
) -> tuple[TaskRow, ...]:
    """Run both recipes over the same rows of the tasks of either; the intervals are paired.

    Args:
        first: A.
        second: B.
        limit: Only the first rows of each task; None for all.
        progress: Told the bytes merged, then the rows done.
    """
    from app.workbench import open_recipe, refuse_errors
    from engine.compare.table import score_table
    from engine.evaluate.mix import measure_recipe
    from engine.evaluate.task import load_task

    tasks = [load_task(Path(p)) for p in dict.fromkeys(t.path for t in (*first.tasks, *second.tasks))]

    def found(recipe: Recipe) -> Measured:
        opened = open_recipe(recipe)
        refuse_errors(opened.findings, {e.id: e.name for e in recipe.experts})
        return measure_recipe(recipe, opened.inputs, tasks, limit=limit, progress=progress)

    a, b = found(first), found(second)
    return score_table(a.scores, b.scores, a.outcomes, b.outcomes)


def compare_runs(history: Any, rest: Sequence[str], arguments: argparse.Namespace) -> None:
    """Print how two runs differ: words, coefficients, scores.

    Args:
        history: An open history.
        rest: The two numbers.
        arguments: `score`, `limit`, `json` and `csv` of the command line.

    Raises:
        OutOfRange: if there are not two numbers.
    """
    from app import cli_commands
    from app import cli_output as output
    from app.cli_history import run_numbers
    from engine.compare.table import score_table
    from engine.history.recipes import recipe_of

    numbers = run_numbers(list(rest))
    if len(numbers) != 2:
        raise OutOfRange("Which two runs?", hint="Give two numbers, as in: main.py history compare 12 13")
    runs = [history.run(n) for n in numbers]
    first, second = (recipe_of(run.facts.recipe) for run in runs)
    token = cli_commands.cancellable()
    if arguments.score:
        with output.progress_line(token, quiet=arguments.json or arguments.csv):
            rows = measured_table(first, second, arguments.limit or None, token)
    else:
        known: list[Mapping[str, Score]] = [{s.task: s for s in run.facts.scores} for run in runs]
        rows = score_table(known[0], known[1])
    if arguments.csv:
        write_scores_csv(rows)
    elif arguments.json:
        output.print_json(to_json(numbers, first, second, rows))
    else:
        _print(numbers, first, second, rows)


def to_json(names: Sequence[object], first: Recipe, second: Recipe, rows: Sequence[TaskRow]) -> dict[str, Any]:
    """Everything as plain values; differences are first - second."""
    from engine.compare import table
    from engine.live.explain import said

    layout, problem = _layout(first)
    mean = table.mean_difference(rows)
    return {
        "first": names[0],
        "second": names[1],
        "changes": [{"what": c.what, "first": c.before, "second": c.after} for c in said(first, second)],
        "groups": [] if layout is None else groups(first, second, layout),
        "groups_problem": problem or None,
        "scores": table.to_json(rows),
        "mean": None if mean is None else {"difference": mean.value, "low": mean.low, "high": mean.high,
                                           "tasks": mean.tasks, "paired": mean.is_paired},
    }  # fmt: skip


def groups(first: Recipe, second: Recipe, layout: Layout) -> list[dict[str, Any]]:
    """For every layer and kind the coefficient of each expert in the first recipe minus that in the second."""
    from engine.compare.rows import coefficients, union
    from engine.recipe.resolve import group_spots

    rows, spots = union(first, second), group_spots(layout)
    apart = coefficients(first, rows, spots) - coefficients(second, rows, spots, second=True)
    names = _unique([row.ref.name for row in rows])
    return [
        {"layer": layer, "kind": kind, "difference": dict(zip(names, map(float, column), strict=True))}
        for (layer, kind, _), column in zip(spots, apart.T, strict=True)
    ]


def _unique(names: Sequence[str]) -> list[str]:
    """The names, numbered where two are alike."""
    seen: dict[str, int] = {}
    made = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        made.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return made


def _layout(recipe: Recipe) -> tuple[Layout | None, str]:
    """Layout of a recipe's base from its header, or why there is none."""
    from engine.files.checkpoint import open_checkpoint
    from engine.files.layout import describe

    if recipe.base is None:
        return None, "The recipe has no base."
    try:
        base = open_checkpoint(Path(recipe.base.path))
        return describe(base.tensors, base.config), ""
    except (MixdownError, OSError) as error:
        return None, str(error)


def write_scores_csv(rows: Sequence[TaskRow]) -> None:
    """The table of scores as CSV, a row each; shares from 0 to 1."""
    writer = SafeWriter(sys.stdout)
    writer.writerow(("task", "metric", "first", "first_low", "first_high", "second", "second_low", "second_high",
                     "difference", "low", "high", "better", "p", "interval"))  # fmt: skip
    for row in rows:
        ends = [("", "", "") if s is None else (s.value, s.low, s.high) for s in (row.first, row.second)]
        known = row.first or row.second
        d = row.difference
        tail = (d.value, d.low, d.high, d.better, "" if d.p is None else d.p, d.words) if d else \
            ("", "", "", "", "", row.problem)  # fmt: skip
        writer.writerow((row.task, known.metric if known else "", *ends[0], *ends[1], *tail))


def print_scores(rows: Sequence[TaskRow]) -> None:
    """The table of scores for people."""
    from engine.compare.table import mean_difference
    from engine.files.text import printable

    if not rows:
        return
    print(f"{'task':<20} {'A':>22} {'B':>22}   A - B (95 %)")
    for row in rows:
        scores = (f"{_interval(s)}" if s is not None else "-" for s in (row.first, row.second))
        texts = " ".join(f"{text:>22}" for text in scores)
        print(f"{printable(row.task, 20):<20} {texts}   {_difference_text(row)}")
    mean = mean_difference(rows)
    if mean is not None:
        print(f"{f'mean of {mean.tasks}':<20} {'':>45}   {mean.value:+.1%} ({mean.low:+.1%} … {mean.high:+.1%})")
    for words in dict.fromkeys(r.difference.words for r in rows if r.difference is not None):
        print(f"intervals: {words}")


def _interval(score: Score) -> str:
    value, low, high = (score.measure.text(v) for v in (score.value, score.low, score.high))
    return f"{value} [{low}, {high}]"


def _difference_text(row: TaskRow) -> str:
    made = row.difference
    if made is None:
        return row.problem
    share = made.first.measure.unit == "%"
    low, value, high = (f"{x:+.1%}" if share else f"{x:+.{made.first.measure.places}f}"
                        for x in (made.low, made.value, made.high))  # fmt: skip
    verdict = {"first": "A better", "second": "B better", "": "not told apart"}[made.better]
    p = "" if made.p is None else f", p = {made.p:.3f}"
    return f"{value} ({low} … {high}{p}): {verdict}"


def _print(names: Sequence[object], first: Recipe, second: Recipe, rows: Sequence[TaskRow]) -> None:
    """For people: what is said, the ten largest differences of coefficients, scores."""
    from engine.files.text import printable
    from engine.live.explain import said

    print(f"A: run {names[0]}   B: run {names[1]}\n")
    changes = said(first, second)
    for change in changes:
        print(f"{printable(change.what):<40} {printable(change.before) or '-'} | {printable(change.after) or '-'}")
    layout, problem = _layout(first)
    found = [] if layout is None else groups(first, second, layout)
    apart = [(abs(v), g["layer"], g["kind"], name, v) for g in found for name, v in g["difference"].items() if v]
    if not changes and not apart and layout is not None:
        print("The recipes say the same.")
    for _, layer, kind, name, value in sorted(apart, key=lambda a: -a[0])[:10]:
        print(f"coefficient {printable(name, 24):<24} {layer:>8} {kind:<10} A - B {value:+.3f}")
    if problem:
        print(f"coefficients are not compared: {printable(problem, 300)}")
    print()
    print_scores(rows)
