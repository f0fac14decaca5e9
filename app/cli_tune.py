"""Command line: tune a recipe's faders on validation rows, and sweep one or two of its numbers."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import BadRecipe, EvalProblem, OutOfRange, WriteProblem
from engine.files.spreadsheet import SafeWriter

if TYPE_CHECKING:
    from app.workbench import Opened
    from engine.evaluate.score import Score
    from engine.evaluate.task import Task
    from engine.preview.sweep import Outcome
    from engine.progress import Token
    from engine.recipe.recipe import Recipe
    from engine.tuners import Step

COMMANDS = ("tune", "sweep")
_FEWEST = 8


def add_parsers(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the commands; importing this module loads nothing else."""
    tune = commands.add_parser("tune", help="let a tuner choose a recipe's coefficients on validation rows",
                               description="Validation rows only; --test reads test rows once, to report.")  # fmt: skip
    _add_common(tune)
    tune.add_argument("--for", action="append", default=[], dest="chosen", metavar="TASK",
                      help="tune for this task only (its name); repeatable (default: all)")  # fmt: skip
    tune.add_argument("--tuner", default="levenberg_marquardt", help="which tuner (default: %(default)s)")
    tune.add_argument("--param", action="append", default=[], metavar="NAME=VALUE", help="a parameter of the tuner")
    tune.add_argument("--rows", type=int, default=64, metavar="N", help="validation rows of each task (default: 64)")
    tune.add_argument("--by", choices=("layer", "group"), default="layer",
                      help="what moves together: an expert's layer, or layer and kind (default: layer)")  # fmt: skip
    tune.add_argument("--seed", type=int, default=0, help="the same seed gives the same result (default: 0)")
    tune.add_argument("--test", action="store_true", help="also score start and result on the test rows")
    tune.add_argument("--out", required=True, metavar="FILE", help="the .mixdown file to write")
    tune.add_argument("--replace", action="store_true", help="replace an existing file")
    tune.add_argument("--json", action="store_true", help="print JSON")
    sweep = commands.add_parser("sweep", help="score mixes over one or two numbers of a recipe",
                                description="Scores are remembered: a stopped sweep goes on where it was.")  # fmt: skip
    _add_common(sweep)
    sweep.add_argument("--axis", action="append", required=True, metavar="NAME=LOW:HIGH:COUNT",
                       help='"scale=0.1:0.6:6", "k=1,2,3", "gain:EXPERT=0:1:5", "fader:EXPERT=0:1:5" or "fader:=…" '
                       "for all experts; once or twice")  # fmt: skip
    sweep.add_argument("--rows", type=int, default=0, metavar="N", help="validation rows of each task (default: all)")
    shape = sweep.add_mutually_exclusive_group()
    shape.add_argument("--json", action="store_true", help="print JSON")
    shape.add_argument("--csv", action="store_true", help="print one row for each mix and task as CSV")


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", metavar="RECIPE", help="a .mixdown file")
    parser.add_argument("--task", action="append", default=[], metavar="FILE",
                        help="a .task.json file; repeatable (default: the recipe's own tasks)")  # fmt: skip


def _opened(arguments: argparse.Namespace) -> tuple[Recipe, Opened, tuple[Task, ...]]:
    """Recipe, models and tasks.

    Raises:
        EvalProblem: if there is no task.
    """
    from app import cli_output as output
    from app.workbench import open_recipe, refuse_errors
    from engine.evaluate.task import load_task
    from engine.recipe.project import load_project

    recipe = load_project(Path(arguments.recipe))
    tasks = tuple(load_task(Path(p)) for p in arguments.task or [ref.path for ref in recipe.tasks])
    if not tasks:
        raise EvalProblem("There is no task to score on.", hint="Give one or more --task FILE.")
    if len({task.name for task in tasks}) < len(tasks):
        raise EvalProblem("Two tasks have the same name.", hint="Give each task once.")
    opened, names = open_recipe(recipe), {e.id: e.name for e in recipe.experts}
    output.print_findings(opened.findings, names)
    refuse_errors(opened.findings, names)
    return recipe, opened, tasks


# Tune ------------------------------------------------------------------------------------------------------------


def command_tune(arguments: argparse.Namespace) -> int:
    """Tune, write the recipe, print before and after."""
    from app import cli_commands
    from app import cli_output as output
    from app.tune_work import test_scores
    from engine.recipe.project import save_project

    out = Path(arguments.out)
    if out.exists() and not arguments.replace:
        raise WriteProblem("The file is there already.", where=str(out), hint="Choose another name, or add --replace.")
    if arguments.rows < _FEWEST:
        raise OutOfRange(f"--rows is {arguments.rows}.", hint=f"Use at least {_FEWEST}.")
    token = cli_commands.cancellable()
    recipe, opened, tasks = _opened(arguments)
    with output.progress_line(token, quiet=arguments.json):
        tuned, first, best, notes = _tune(arguments, recipe, opened, tasks, token)
        tested = test_scores(recipe, tuned, opened.inputs, tasks, token) if arguments.test else None
    save_project(tuned, out)
    report = _report(arguments, first, best, notes, tested)
    if arguments.json:
        output.print_json(report)
    else:
        _print_tuned(report, out)
    return 0


def _tune(
    arguments: argparse.Namespace, recipe: Recipe, opened: Opened, tasks: tuple[Task, ...], token: Token
) -> tuple[Recipe, Step, Step, tuple[str, ...]]:
    """The tuned recipe, the first and the best measured step, and what the session had to say."""
    from app.tune_work import Held, Order, run_order
    from engine.files.text import printable
    from engine.tuners import find_tuner

    given: dict[str, object] = dict(_pair(text) for text in arguments.param)
    params = find_tuner(arguments.tuner).complete(given)
    names = tuple(task.name for task in tasks)
    unknown = sorted(set(arguments.chosen) - set(names))
    if unknown:
        raise EvalProblem(f"There is no task {unknown[0]!r}.", hint=f"There are: {', '.join(names)}.")
    order = Order(recipe=recipe, inputs=opened.inputs, tasks=tasks, chosen=tuple(arguments.chosen) or names,
                  tuner=arguments.tuner, params=params, rows=arguments.rows, seed=arguments.seed,
                  by_layer=arguments.by == "layer")  # fmt: skip
    measured: list[tuple[Step, Recipe]] = []
    notes: list[str] = []

    def stepped(step: Step, made: Recipe) -> None:
        if step.note and not arguments.json:
            print(f"step {step.number}: {printable(step.note)}", file=sys.stderr)
        if step.true is not None and step.accepted:
            measured.append((step, made))

    run_order(order, Held(), token, lambda found, _: notes.extend(found), stepped)
    best, tuned = min(measured, key=lambda pair: pair[0].value)
    return (tuned if len(measured) > 1 else recipe), measured[0][0], best, tuple(notes)


def _pair(text: str) -> tuple[str, str]:
    """NAME=VALUE.

    Raises:
        OutOfRange: if it is not.
    """
    name, equals, value = text.partition("=")
    if not equals:
        raise OutOfRange(f"{text!r} is not NAME=VALUE.", hint="Write for example --param rounds=2")
    return name, value


def _report(
    arguments: argparse.Namespace, first: Step, best: Step, notes: Sequence[str],
    tested: tuple[dict[str, Score], dict[str, Score]] | None,
) -> dict[str, Any]:  # fmt: skip
    """Everything as plain values; shares from 0 to 1."""
    rows = []
    for before, after in zip(first.true or (), best.true or (), strict=True):
        row: dict[str, Any] = {"task": before.task, "metric": before.metric,
                               "tuned": not arguments.chosen or before.task in arguments.chosen}  # fmt: skip
        row["val"] = {"before": _figures(before), "after": _figures(after)}
        if tested is not None and before.task in tested[0]:
            row["test"] = {"before": _figures(tested[0][before.task]), "after": _figures(tested[1][before.task])}
        rows.append(row)
    return {"tuner": arguments.tuner, "seed": arguments.seed, "rows": arguments.rows, "by": arguments.by,
            "steps": best.number, "loss": {"before": first.value, "after": best.value}, "tasks": rows,
            "notes": list(notes), "out": str(Path(arguments.out).absolute())}  # fmt: skip


def _figures(score: Any) -> dict[str, Any]:
    return {name: getattr(score, name) for name in ("value", "low", "high", "count")}


def _print_tuned(report: dict[str, Any], out: Path) -> None:
    """A table for people."""
    from engine.evaluate.measures import find_measure
    from engine.files.text import printable

    width = max(len(printable(row["task"])) for row in report["tasks"])
    for split, title in (("val", "validation rows, as tuned on"), ("test", "test rows")):
        if any(split in row for row in report["tasks"]):
            print(f"{title}:")
        for row in report["tasks"]:
            if split not in row:
                continue
            measure = find_measure(row["metric"])
            unit = "" if measure.unit == "%" else f" {measure.unit}"
            before, after = (
                f"{measure.text(end['value']):>6}{unit} ({measure.text(end['low'])} … {measure.text(end['high'])})"
                for end in (row[split]["before"], row[split]["after"])
            )
            print(f"  {printable(row['task']):<{width}}  {before}  →  {after}  {row[split]['after']['count']} rows"
                  f"{'' if row['tuned'] else ', not tuned for'}")  # fmt: skip
    for note in report["notes"]:
        print(f"note: {printable(note)}")
    print(f"{report['tuner']}, seed {report['seed']}, {report['rows']} rows of each task: loss "
          f"{report['loss']['before']:.4f} → {report['loss']['after']:.4f}; wrote {printable(str(out))}")  # fmt: skip


# Sweep -----------------------------------------------------------------------------------------------------------


def command_sweep(arguments: argparse.Namespace) -> int:
    """Measure every mix and print."""
    from app import cli_commands, places
    from app import cli_output as output
    from app.sweep_axes import parse_axis
    from engine.preview.grid import Sweep
    from engine.preview.sweep import run_sweep
    from engine.store.cache import ScoreCache

    if len(arguments.axis) > 2:
        raise BadRecipe("A sweep has at most two axes.", hint="Leave one --axis out.")
    token = cli_commands.cancellable()
    recipe, opened, tasks = _opened(arguments)
    axes = [parse_axis(recipe, text) for text in arguments.axis]
    if len({(a.what, a.name) for a in axes}) < len(axes):
        raise BadRecipe("Both axes are the same number.", hint="Leave one --axis out.")
    sweep = Sweep(axes[0], axes[1] if len(axes) > 1 else None)
    with output.progress_line(token, quiet=arguments.json or arguments.csv):
        found = run_sweep(sweep, recipe, opened.inputs, tasks, rows=arguments.rows or None, progress=token,
                          cache=ScoreCache(places.score_cache_file()))  # fmt: skip
    names = [text.rpartition("=")[0] for text in arguments.axis]
    rows = [_cell(outcome, sweep, names) for outcome in sorted(found, key=lambda o: o.index)]
    if arguments.json:
        output.print_json({"axes": names, "mixes": rows})
    elif arguments.csv:
        _write_csv(rows, names)
    else:
        _print_sweep(rows, names)
    return 0


def _cell(outcome: Outcome, sweep: Any, names: Sequence[str]) -> dict[str, Any]:
    """One mix as plain values."""
    from engine.evaluate.score import average

    columns = sweep.shape[1]
    at = [sweep.x.values[outcome.index % columns]]
    if sweep.y is not None:
        at.append(sweep.y.values[outcome.index // columns])
    scores = {name: {**_figures(s), "metric": s.metric} for name, s in outcome.scores.items()}
    mean = _figures(average(list(outcome.scores.values()))) if outcome.scores else None
    return {"values": dict(zip(names, at, strict=True)), "scores": scores, "average": mean,
            "error": str(outcome.error) if outcome.error is not None else ""}  # fmt: skip


def _write_csv(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> None:
    """One row for each mix and task, and one for the average."""
    writer = SafeWriter(sys.stdout)
    writer.writerow((*names, "task", "metric", "value", "low", "high", "rows", "error"))
    for row in rows:
        at = list(row["values"].values())
        for task, score in row["scores"].items():
            writer.writerow((*at, task, *(score[n] for n in ("metric", "value", "low", "high", "count")), ""))
        mean = row["average"]
        figures = [mean[n] for n in ("value", "low", "high", "count")] if mean else [""] * 4
        writer.writerow((*at, "average", "", *figures, row["error"]))


def _print_sweep(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> None:
    """For people: average and tasks, the best average marked."""
    from engine.files.text import printable

    best = max((row["average"]["value"] for row in rows if row["average"]), default=None)
    tasks = next((list(row["scores"]) for row in rows if row["scores"]), [])
    head = [f"{printable(name):>14}" for name in names] + [f"{'average':>21}"]
    print("  ".join([*head, *(f"{printable(task)[:14]:>14}" for task in tasks)]))
    for row in rows:
        cells = [f"{value:>14g}" for value in row["values"].values()]
        mean = row["average"]
        if mean is None:
            print("  ".join([*cells, printable(row["error"])]))
            continue
        mark = " *" if mean["value"] == best else "  "
        cells.append(f"{mean['value']:.4f} ±{(mean['high'] - mean['low']) / 2:.4f}{mark}".rjust(21))
        print("  ".join([*cells, *(f"{row['scores'][task]['value']:>14.4f}" for task in tasks)]))
