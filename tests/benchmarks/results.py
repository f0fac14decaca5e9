"""Scores of every kind of mix on the test rows: `make results`.

python -m tests.benchmarks.results [--set bench8|demo] [--rows 300] [--tune-rows 128] [--skip METHOD ...]

Everything that is chosen (the best single coefficient, tuned coefficients) is chosen on validation rows. Base,
experts, average and task arithmetic are compared with the `results.json` that comes with the models, on the same
rows. Scores of mixes are remembered in a file of the temporary folder, so that a second run is quick.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engine.evaluate.mix import score_checkpoint, score_recipe
from engine.evaluate.score import Score, average
from engine.evaluate.task import Split, Task, load_task
from engine.merge.inputs import Inputs, open_inputs
from engine.recipe.recipe import Recipe
from engine.store.cache import ScoreCache
from tests.benchmarks.bench8 import FOLDER, bench_recipe, bench_tasks, published

Scores = Mapping[str, Score]
GRID = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)


@dataclass(frozen=True)
class Case:
    """A set of models and tasks.

    Attributes:
        name: "bench8" or "demo".
        recipe: Task arithmetic of all experts.
        inputs: Its models.
        tasks: Its tasks.
        rows: First test rows that count; None for all.
        known: Published right rows or shares by (line, task).
        cache: Remembers scores.
    """

    name: str
    recipe: Recipe
    inputs: Inputs
    tasks: Sequence[Task]
    rows: int | None
    known: Mapping[tuple[str, str], float]
    cache: ScoreCache

    def scores(self, recipe: Recipe, split: Split = "test", rows: int | None = None) -> Scores:
        """Scores of a recipe on all tasks."""
        limit = rows if split == "val" else self.rows
        return score_recipe(recipe, self.inputs, self.tasks, split=split, limit=limit, cache=self.cache)


def bench8(rows: int | None, cache: ScoreCache) -> Case:
    """The shared benchmark."""
    recipe, found = bench_recipe(), published()["results"]
    known = (
        {(line, task): value for line, table in found.items() for task, value in table.items()} if rows == 300 else {}
    )
    return Case("bench8-text", recipe, open_inputs(recipe), bench_tasks(), rows, known, cache)


def demo(rows: int | None, cache: ScoreCache) -> Case:
    """The demo that comes with the program; its published figures are of all test rows."""
    from app.demo import demo_recipe
    from app.places import DEMO

    recipe = demo_recipe()
    about: dict[str, Any] = json.loads((DEMO / "results.json").read_text("utf-8"))
    right, counts = about["correct"], about["rows"]
    known = {("zero_shot", t): right["base"][t] / n for t, n in counts.items()}
    known |= {("expert", t): right["experts"][t][t] / n for t, n in counts.items()}
    for line, name in (("average", "average"), ("task_arithmetic_0.3", "task_arithmetic"),
                       ("task_arithmetic_0.4", "task_arithmetic_tuned")):  # fmt: skip
        known |= {(line, t): right[name][t] / n for t, n in counts.items()}
    tasks = [load_task(Path(ref.path)) for ref in recipe.tasks]
    return Case("demo", recipe, open_inputs(recipe), tasks, None, known, cache)


def own_experts(case: Case) -> Scores:
    """Every task's own expert."""
    by_name = dict(zip(case.inputs.names, case.inputs.experts, strict=True))
    return {
        task.name: score_checkpoint(by_name[task.expert], case.inputs.base, task, split="test", limit=case.rows,
                                    cache=case.cache)
        for task in case.tasks
    }  # fmt: skip


def restored(case: Case, strictness: float = 0.4) -> Scores:
    """Each task by the model that its TALL mask restores."""
    found = {}
    for task in case.tasks:
        recipe = case.recipe.with_method("tall_mask", {"task": task.expert, "strictness": strictness})
        alone = replace(case, tasks=[task])
        found |= alone.scores(recipe)
    return found


def best_single(case: Case, rows: int) -> float:
    """The one coefficient of task arithmetic with the best mean score on validation rows."""
    means = {}
    for scale in GRID:
        scores = case.scores(case.recipe.with_param("scale", scale), "val", rows)
        means[scale] = average(list(scores.values())).value
    return max(means, key=lambda scale: means[scale])


def tuned(case: Case, scale: float, rows: int) -> tuple[Recipe, str]:
    """The faders that the first tuner finds on validation rows, and what it did."""
    from engine.preview.frame import by_layer
    from engine.preview.session import open_live
    from engine.preview.tuning import tune

    start = case.recipe.with_param("scale", scale)
    started = time.perf_counter()
    live = open_live(start, case.inputs, case.tasks, rows=rows)
    blocks = list(by_layer(case.inputs.layout).values())
    point, rounds = live.reference, 0
    for step in tune(live, start, blocks=blocks, low=-3.0, high=6.0):
        if step.accepted and step.true is not None:
            point, rounds = step.point, rounds + 1
            mean = sum(score.value for score in step.true) / len(step.true)
            print(f"    tuning: {step.note} validation {100 * mean:.1f} after {time.perf_counter() - started:.0f} s",
                  flush=True)  # fmt: skip
    note = f"{live.report.rows} validation rows a task, {rounds - 1} rounds, {time.perf_counter() - started:.0f} s"
    return live.frame.applied(start, point), note


def line(title: str, scores: Scores, case: Case, published_as: str = "") -> bool:
    """Print one line; whether it agrees with what is published."""
    whole = average(list(scores.values()))
    cells = " ".join(f"{100 * scores[task.name].value:6.1f}" for task in case.tasks)
    known = {task.name: case.known.get((published_as, task.name)) for task in case.tasks}
    differences = [
        abs(scores[name].value - value) * scores[name].count for name, value in known.items() if value is not None
    ]
    worst = max(differences, default=0.0)
    said = "same" if worst < 0.6 else "within one row" if worst < 1.6 else f"{worst:.0f} rows off"
    verdict = f"  published: {said}" if differences else ""
    print(f"{title:28} {100 * whole.value:5.1f} ±{100 * whole.margin:3.1f} {cells}{verdict}", flush=True)
    return worst < 1.6  # one row may tip over with the rounding of the merged weights


def report(case: Case, tune_rows: int, skipped: Sequence[str]) -> None:
    """Print the table of one set."""
    rows = "all" if case.rows is None else f"first {case.rows}"
    print(f"\n== {case.name}: accuracy in percent on {rows} test rows, mean with its 95 % interval, then each task")
    print(f"{'':28} {'mean':>5} {'':4} {' '.join(f'{task.name[:6]:>6}' for task in case.tasks)}")
    base = {t.name: score_checkpoint(case.inputs.base, None, t, split="test", limit=case.rows, cache=case.cache)
            for t in case.tasks if case.inputs.base is not None}  # fmt: skip
    agreed = [line("base (zero-shot)", base, case, "zero_shot"), line("own experts", own_experts(case), case, "expert")]
    agreed.append(line("average", case.scores(case.recipe.with_method("linear")), case, "average"))
    for scale in (0.2, 0.3, 0.4, 0.5):
        scores = case.scores(case.recipe.with_param("scale", scale))
        agreed.append(line(f"task arithmetic {scale}", scores, case, f"task_arithmetic_{scale}"))
    others = (("TIES 20 %, scale 1", "ties", {}), ("Consensus k 2, scale 0.4", "consensus", {"scale": 0.4}),
              ("TSV-M", "tsv_m", {}))  # fmt: skip
    for title, method, params in others:
        if method not in skipped:
            line(title, case.scores(case.recipe.with_method(method, params)), case)
    if "tall_mask" not in skipped:
        line("TALL masks, λ 0.4, restored", restored(case), case)
    best = best_single(case, 300)
    single = case.scores(case.recipe.with_param("scale", best))
    line(f"best single ({best}, on val)", single, case)
    recipe, note = tuned(case, best, tune_rows)
    found = case.scores(recipe)
    line("tuned", found, case)
    gain = average(list(found.values())).value - average(list(single.values())).value
    print(f"tuned on {note}: {100 * gain:+.1f} points over the best single coefficient")
    print(
        f"published figures of base, experts, average, task arithmetic: {'all the same' if all(agreed) else 'DIFFER'}"
    )


def main() -> None:
    """Print everything that can be measured here."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--set", choices=("bench8", "demo"))
    parser.add_argument("--rows", type=int, default=300)
    parser.add_argument("--tune-rows", type=int, default=160)
    parser.add_argument("--skip", nargs="*", default=())
    given = parser.parse_args()
    cache = ScoreCache(
        Path(tempfile.gettempdir()) / f"mixdown-results-{os.getuid() if hasattr(os, 'getuid') else 0}.sqlite"
    )
    if given.set != "bench8":
        report(demo(None, cache), given.tune_rows, given.skip)
    if given.set != "demo":
        if FOLDER.is_dir():
            report(bench8(given.rows or None, cache), given.tune_rows, given.skip)
        else:
            print(f"{FOLDER} is not here: that set is left out")


if __name__ == "__main__":
    main()
