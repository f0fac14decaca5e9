"""Command line: make tasks from data, and say what is in a task."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import EvalProblem

if TYPE_CHECKING:
    from engine.evaluate.look import Look
    from engine.evaluate.plan import TaskPlan
    from engine.evaluate.task import Task

COMMANDS = ("task",)


def add_parsers(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the commands; importing this module loads nothing else."""
    task = commands.add_parser("task", help="make a quick-eval task from data, or show one")
    verbs = task.add_subparsers(dest="verb", metavar="VERB", required=True)
    new = verbs.add_parser("new", help="make a task from a data file or a folder of images by class",
                           description="What is not given is guessed from the data, and said.")  # fmt: skip
    new.add_argument("--data", required=True, metavar="FILE", help="CSV, TSV, JSON lines, Parquet, npz, safetensors "
                     "or a folder of images by class")  # fmt: skip
    new.add_argument("--test", metavar="FILE", help="the test rows, when DATA has only the validation rows")
    new.add_argument("--family", choices=("class", "value", "pair", "retrieve", "lm", "choice"),
                     help="what is asked (default: guessed)")  # fmt: skip
    for name, about in (
        ("text", "column of the text, query or question; of arrays the images"),
        ("second", "column of the second text or the document"),
        ("label", "column of the label, number or right option; of arrays the labels"),
        ("split", "column that says train, val or test"),
    ):
        new.add_argument(f"--{name}", metavar="COL", help=about)
    new.add_argument("--option", action="append", default=[], metavar="COL", help="column of an option; repeatable")
    new.add_argument(
        "--model", metavar="FOLDER", help="model folder with tokenizer or image settings, usually the base"
    )
    new.add_argument("--max-tokens", type=int, default=128, metavar="N", help="longest text (default: 128)")
    new.add_argument("--size", type=int, default=0, metavar="PX", help="edge of images (default: as the model says)")
    new.add_argument("--pool", choices=("mean", "cls"), default="mean", help="how token states become one vector")
    new.add_argument("--head", choices=("phrases", "model", "file", "none"),
                     help="label phrases, the checkpoint's own, or a file (default: by family)")  # fmt: skip
    new.add_argument("--head-file", metavar="FILE", help="the frozen head, or a checkpoint with the classifier to take")
    new.add_argument("--head-weight", default="weight", metavar="NAME", help="its tensor (default: weight)")
    new.add_argument("--template", default="{}", help='phrase made from a label, such as "a photo of a {}"')
    new.add_argument("--metric", default="", help="metric (default: the usual one; a wrong one lists all)")
    new.add_argument("--rows", type=int, default=2000, metavar="N", help="most rows of each split (default: 2000)")
    new.add_argument("--seed", type=int, default=0, help="seed of the split by content (default: 0)")
    new.add_argument("--name", default="", help="name of the task (default: the data's)")
    new.add_argument("--expert", default="", help="name of the expert that was trained for it")
    new.add_argument("--licence", default="", help="licence of the data")
    new.add_argument("--out", required=True, metavar="FILE", help="the .task.json file to write")
    new.add_argument("--replace", action="store_true", help="replace an existing task")
    new.add_argument("--json", action="store_true", help="print JSON")
    show = verbs.add_parser("show", help="what a task asks, of how many rows, from where; checks its data")
    show.add_argument("file", metavar="FILE")
    show.add_argument("--json", action="store_true", help="print JSON")


def command_task(arguments: argparse.Namespace) -> int:
    """Make or show a task."""
    return _show(arguments) if arguments.verb == "show" else _new(arguments)


def _new(arguments: argparse.Namespace) -> int:
    from app import cli_commands
    from app import cli_output as output
    from engine.evaluate.look import look
    from engine.evaluate.make import make_task
    from engine.evaluate.trial import suggested

    token = cli_commands.cancellable()
    found = suggested(look(Path(arguments.data), token), Path(arguments.model) if arguments.model else None)
    plan = _plan(arguments, found)
    done = make_task(plan, Path(arguments.out), token, replace=arguments.replace)
    if arguments.json:
        output.print_json({**about(done.task), "notes": list(done.notes)})
        return 0
    _print(about(done.task))
    for note in done.notes:
        print(f"note: {note}")
    return 0


def _plan(arguments: argparse.Namespace, found: Look) -> TaskPlan:
    """The guess of the first look, with what was given on top."""
    from dataclasses import replace

    from engine.evaluate.look import guess_columns

    if not 0 <= arguments.seed < 2**63 or arguments.rows < 1 or not 1 <= arguments.max_tokens <= 100_000:
        raise EvalProblem("--seed, --rows and --max-tokens must be positive numbers of a usual size.")
    given: dict[str, Any] = {name: value for name in ("text", "second", "label", "split", "name")
                             if (value := getattr(arguments, name))}  # fmt: skip
    if arguments.option:
        given["options"] = tuple(arguments.option)
    family = arguments.family or found.plan.family
    plan = guess_columns(replace(found.plan, **given), found, family)
    names = ("max_tokens", "size", "pool", "head_weight", "template", "metric", "rows", "seed", "expert", "licence")
    more: dict[str, Any] = {name: getattr(arguments, name) for name in names}
    for name in ("test", "model", "head_file"):
        more[name] = Path(value) if (value := getattr(arguments, name)) else None
    if arguments.head:
        more["head"] = arguments.head
    elif found.kind == "arrays" and plan.family == "class":
        more["head"] = "file"
    return replace(plan, **more)


def _show(arguments: argparse.Namespace) -> int:
    from app import cli_commands
    from app import cli_output as output
    from engine.evaluate.sample import read_sample
    from engine.evaluate.task import load_task

    task = load_task(Path(arguments.file))
    raw = about(task)
    for split in ("val", "test"):
        sample = read_sample(task, split)
        raw[f"{split}_rows"] = sample.count
    raw["data_unchanged"] = _unchanged(task, cli_commands.cancellable())
    if arguments.json:
        output.print_json(raw)
    else:
        _print(raw)
    return 0


def _unchanged(task: Task, token: Any) -> bool | None:
    """Whether the data are those that the task was made with; None if it does not say."""
    import hashlib

    from engine.files.opening import read_small

    wanted = dict(task.made).get("data_sha256")
    token.check()
    return None if wanted is None else hashlib.sha256(read_small(task.data, 1 << 31)).hexdigest() == wanted


def about(task: Task) -> dict[str, Any]:
    """A task as plain data."""
    from engine.evaluate.measures import find_measure

    measure = find_measure(task.metric)
    return {
        "name": task.name, "title": task.title, "path": str(task.path), "family": task.family, "kind": task.kind,
        "metric": task.metric, "unit": measure.unit, "higher_is_better": measure.higher_is_better,
        "labels": list(task.labels), "head": task.head.type, "expert": task.expert, "licence": task.licence,
        "data": str(task.data), "made": dict(task.made),
    }  # fmt: skip


def _print(raw: dict[str, Any]) -> None:
    from engine.files.text import printable

    labels = raw["labels"]
    lines = {
        "task": f"{raw['title']} ({raw['family']}, {raw['kind']})", "file": raw["path"], "data": raw["data"],
        "metric": f"{raw['metric']}{'' if raw['higher_is_better'] else ', lower is better'}",
        "labels": f"{len(labels)}: {', '.join(labels[:12])}{' …' if len(labels) > 12 else ''}" if labels else "none",
        "head": raw["head"],
        **{f"{s} rows": raw.get(f"{s}_rows", raw["made"].get(f"{s}_rows", "?")) for s in ("val", "test")},
        **{k.replace("_", " "): v for k, v in raw["made"].items() if not k.endswith(("_rows", "sha256"))},
    }  # fmt: skip
    if raw.get("data_unchanged") is False:
        lines["warning"] = "the data were changed since the task was made"
    for name, value in lines.items():
        print(f"{name:<14} {printable(value, 300)}")
