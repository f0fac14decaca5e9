"""Evaluation tasks (.task.json): which rows, which frozen head, which metric; read as strict, closed-world JSON.

A task may come from a stranger. The files that it names must be .safetensors files inside the task's
project tree: the folder above the one that holds the task file (`demo/tasks/x.task.json` may read below
`demo/`). Absolute paths, and links or `..` that lead out of the tree, are refused. Where that tree would be
the whole disk or the user's home (`~/Downloads/x.task.json`), only the task's own folder is the tree.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Literal, cast

from engine.errors import EvalProblem, FileProblem
from engine.evaluate.task_schema import FORMAT, MAX_CLASSES, SCHEMA, SCHEMA_2
from engine.files import strict_json
from engine.files.opening import read_small
from engine.files.text import printable
from engine.recipe.quick import fits

Split = Literal["val", "test"]
Pool = Literal["cls", "mean", "pooler"]
HeadType = Literal["frozen", "model", "none"]
Family = Literal["class", "value", "pair", "retrieve", "lm", "choice"]

__all__ = ["FORMAT", "MAX_CLASSES", "SCHEMA", "Family", "Head", "Rows", "Split", "Task", "load_task", "parse_task"]

MAX_BYTES = 1_000_000
_SMALLEST_STD = 1e-6
_AGAIN = "Ask whoever made the task for a working copy, or remove it from the recipe."


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """The tensors of one split.

    Attributes:
        inputs: Images (N, H, W) or (N, C, H, W); or token ids, all rows one after the other.
        labels: (N,) class indices.
        lengths: (N,) tokens of each row; "" for images.
        groups: "choice": (N,) question of each option, ascending; else "".
        starts: "choice": (N,) tokens of each row that are not scored; else "".
        sizes: "lm", "choice": (N,) bytes of what is scored; else "".
    """

    inputs: str
    labels: str
    lengths: str = ""
    groups: str = ""
    starts: str = ""
    sizes: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """How the model's last state becomes an answer.

    Type "frozen": logits = pooled (optionally projected and normalised) state @ weight.T + bias. Type "model":
    the classifier or language-model head among the model's own tensors. Type "none": the pooled state itself.

    Attributes:
        file: The safetensors file that holds it; for "model", tensors that replace the model's own head, or
            an empty path.
        weight: Name of the (classes, hidden) tensor.
        bias: Name of the (classes,) tensor, or "".
        pool: "cls" takes the first position, "mean" the mean over positions (of unmasked tokens), "pooler"
            the network's own pooled output.
        normalise: Whether the pooled state is divided by its L2 norm.
        type: Which of the three.
        projection: Name of a matrix of the model that is applied before normalising, or "".
    """

    file: Path
    weight: str
    bias: str = ""
    pool: Pool = "mean"
    normalise: bool = False
    type: HeadType = "frozen"
    projection: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One evaluation task, checked; nothing of its data has been read.

    Attributes:
        name: Stable name, unique among the tasks of a recipe.
        title: What the user sees.
        kind: "image" or "tokens".
        labels: Name of every class.
        data: The safetensors file with both splits.
        val: Rows for tuning; the default of quick eval.
        test: Rows for the final figure; never used to choose anything.
        head: The frozen classifier.
        metric: Id of the metric.
        scale: Images: factor of the stored values.
        mean: Images: subtracted per channel after scaling.
        std: Images: divided by per channel.
        pad: Tokens: id that fills a batch.
        expert: Name of the expert that was trained for this task, or "".
        licence: Licence of the data.
        source: Where the data comes from.
        path: The task file.
        family: What is asked: a class, a number, how alike two texts are, which documents fit a query, how
            likely a text is, or which of several continuations is the right one.
        made: How the data were made (file, columns, seed, rows), for the reader.
        graph: An ONNX graph to run the model by, its weights injected; else an empty path.
    """

    name: str
    title: str
    kind: Literal["image", "tokens"]
    labels: tuple[str, ...]
    data: Path
    val: Rows
    test: Rows
    head: Head
    metric: str = "accuracy"
    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    pad: int = 0
    expert: str = ""
    licence: str = ""
    source: str = ""
    path: Path = Path()
    family: Family = "class"
    made: tuple[tuple[str, str | int], ...] = ()
    graph: Path = Path()

    @property
    def is_linear(self) -> bool:
        """Whether it is a linear frozen head on the last hidden state, with classes as answers."""
        return self.family == "class" and self.head.type == "frozen" and self.head.pool != "pooler" and (
            not self.head.projection)  # fmt: skip

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that it reads."""
        return tuple(path for path in (self.data, self.head.file, self.graph) if path != Path())

    def rows(self, split: Split) -> Rows:
        """The tensors of a split."""
        return self.val if split == "val" else self.test


def load_task(path: Path) -> Task:
    """Read a task file, believing nothing; the files that it names are located but not opened.

    Raises:
        EvalProblem: if it is damaged, of a newer format, names an unknown metric or leaves its tree.
        FileProblem: if it cannot be opened.
    """
    where = printable(path, 400)
    if path.is_dir():
        raise EvalProblem("A task is a file, and this is a folder.", where=where, hint="Choose a .task.json file.")
    try:
        raw = strict_json.parse(read_small(path, MAX_BYTES), depth=8)
    except strict_json.BadJson as error:
        raise EvalProblem(f"The task file is damaged: {error}.", where=where, hint=_AGAIN) from error
    try:
        return parse_task(raw, path)
    except EvalProblem as problem:
        problem.where = problem.where or where
        raise


def task_hash(path: Path) -> str:
    """SHA-256 of a task file, which names the hash of its data; "" if it cannot be read."""
    try:
        return hashlib.sha256(read_small(path, MAX_BYTES)).hexdigest()
    except FileProblem:
        return ""


def parse_task(raw: Any, path: Path) -> Task:
    """A task from plain data; `path` is the task file, from which its paths are relative.

    Raises:
        EvalProblem: naming the field that is wrong.
    """
    from engine.evaluate.measures import measures_for

    _validate(raw)
    data, head, given = raw["data"], raw["head"], raw.get("input") or {}
    mean, std = tuple(map(float, given.get("mean", [0.0]))), tuple(map(float, given.get("std", [1.0])))
    scale = float(given.get("scale", 1.0))
    if len(mean) != len(std) or any(s < _SMALLEST_STD for s in std) or not all(map(isfinite, (scale, *mean, *std))):
        raise EvalProblem("input.mean and input.std must have the same length, and std must be positive.", hint=_AGAIN)
    folder, tree = _tree(path)
    return Task(
        name=raw["name"],
        title=raw.get("title") or raw["name"],
        kind=data["kind"],
        labels=tuple(raw["labels"]),
        data=_inside(data["file"], folder, tree),
        val=_rows(data, "val"),
        test=_rows(data, "test"),
        head=_head(head, folder, tree),
        metric=raw.get("metric") or measures_for(raw.get("family", "class"))[0].id,
        scale=scale,
        mean=mean,
        std=std,
        pad=data.get("pad", 0),
        expert=raw.get("expert", ""),
        licence=raw.get("licence", ""),
        source=raw.get("source", ""),
        path=path,
        family=raw.get("family", "class"),
        made=tuple(sorted(raw.get("made", {}).items())),
        graph=_inside(raw["graph"], folder, tree, ".onnx") if "graph" in raw else Path(),
    )


def _head(head: Mapping[str, Any], folder: Path, tree: Path) -> Head:
    return Head(
        file=_inside(head["file"], folder, tree) if "file" in head else Path(),
        weight=head.get("weight", ""),
        bias=head.get("bias") or "",
        pool=cast("Pool", head.get("pool", "mean")),
        normalise=head.get("normalise", False),
        type=cast("HeadType", head.get("type", "frozen")),
        projection=head.get("projection", ""),
    )


def _rows(data: Mapping[str, str], split: Split) -> Rows:
    more = {name: data.get(f"{split}_{name}", "") for name in ("lengths", "groups", "starts", "sizes")}
    return Rows(inputs=data[split], labels=data[f"{split}_labels"], **more)


def _first_error(raw: Any, schema: Any) -> Any:
    """The first error that jsonschema finds, or None; loaded only for its words."""
    import jsonschema

    return next(iter(jsonschema.Draft202012Validator(schema).iter_errors(raw)), None)


def _validate(raw: Any) -> None:
    if not isinstance(raw, dict) or not isinstance(raw.get("data"), dict):
        raise EvalProblem("The task file is not a task: it has no data.", hint=_AGAIN)
    version = raw.get("format")
    if isinstance(version, int) and version > FORMAT:
        raise EvalProblem("The task file is of a newer format.", hint="Update Mixdown to use it.")
    kind, schemas = raw["data"].get("kind"), SCHEMA_2 if version == FORMAT else SCHEMA
    if not isinstance(kind, str) or kind not in schemas:
        raise EvalProblem(f"Tasks of kind {printable(kind, 40)!r} are unknown.", hint='Known: "image" and "tokens".')
    error = None if fits(raw, schemas[kind]) else _first_error(raw, schemas[kind])
    if error is not None:
        field = ".".join(str(step) for step in error.absolute_path) or "the task"
        raise EvalProblem(f"The task file is wrong at {field}: {printable(error.message, 160)}.", hint=_AGAIN)
    _check_meaning(raw, kind)


_HEADS = {"class": ("frozen", "model"), "value": ("frozen", "model"), "pair": ("none",), "retrieve": ("none",),
          "lm": ("model",), "choice": ("model",)}  # fmt: skip


def _check_meaning(raw: Mapping[str, Any], kind: str) -> None:
    """Whether family, metric, head and labels go together."""
    from engine.evaluate.measures import MEASURES, measures_for
    from engine.evaluate.metrics import METRICS

    family, metric, head = raw.get("family", "class"), raw.get("metric"), raw["head"].get("type", "frozen")
    known = [m.id for m in measures_for(family)] + [m for m in METRICS if family == "class" and m not in MEASURES]
    if metric is not None and metric not in (*MEASURES, *METRICS):
        raise EvalProblem(f"There is no metric {printable(metric, 60)!r}.", hint=f"Known: {', '.join(known)}.")
    if metric is not None and metric not in known:
        raise EvalProblem(f"The metric {metric} does not fit a task of the family {family}.",
                          hint=f"It may be: {', '.join(known)}.")  # fmt: skip
    if head not in _HEADS[family]:
        raise EvalProblem(f"A task of the family {family} cannot have a head of type {head}.", hint=_AGAIN)
    if (family == "class") != bool(raw["labels"]) or (kind == "image" and family != "class"):
        raise EvalProblem("The task file is wrong: labels, kind and family do not go together.", hint=_AGAIN)


def _tree(path: Path) -> tuple[Path, Path]:
    """The task's folder and the tree it may read, links resolved."""
    folder = path.resolve().parent
    tree = folder.parent
    home = Path.home().resolve()
    return folder, folder if tree == tree.parent or home.is_relative_to(tree) else tree


def _inside(text: str, folder: Path, tree: Path, suffix: str = ".safetensors") -> Path:
    """A relative path of a task file, made absolute; what it leads to must lie in the tree."""
    hint = f"A task reads only {suffix} files of its own project folder."
    if "\0" in text or "\\" in text or PurePosixPath(text).is_absolute() or PureWindowsPath(text).drive:
        raise EvalProblem(f"The task names {printable(text, 120)!r}, which is not a relative path.", hint=hint)
    try:
        target = Path(os.path.realpath(folder / text))
    except (OSError, ValueError) as error:
        raise EvalProblem(f"The task names {printable(text, 120)!r}, which is not a path.", hint=hint) from error
    if not target.is_relative_to(tree):
        raise EvalProblem(f"The task names {printable(text, 120)!r}, outside of its project folder.", hint=hint)
    if target.suffix != suffix:
        raise EvalProblem(f"The task names {printable(text, 120)!r}, which is not a {suffix} file.", hint=hint)
    return target


def as_eval_problem(problem: FileProblem, task: Task) -> EvalProblem:
    """A problem with a task's file, told as a problem of the task."""
    text = f"The files of task {printable(task.title, 80)} cannot be used: {problem.message}"
    return EvalProblem(text, where=problem.where, hint=problem.hint or _AGAIN)
