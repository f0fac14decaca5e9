"""A first look at a data file: what its columns are, which labels and splits it has, which task it may become."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast

from engine.errors import EvalProblem
from engine.evaluate.pictures import Pictures, array_names, read_arrays, read_folder, split_word
from engine.evaluate.plan import HEADS, TaskPlan
from engine.evaluate.table import Table, Value, as_number, read_table
from engine.evaluate.task import Family
from engine.files.text import printable
from engine.progress import Progress

PREVIEW = 10
MOST_LABELS = 1000
_TEXT = ("text", "sentence", "content", "review", "question", "query", "input", "prompt", "title", "sentence1")
_LABEL = ("label", "labels", "class", "category", "intent", "target", "score", "answer", "gold", "sentiment", "y")
_SECOND = ("sentence2", "text2", "text_b", "second", "hypothesis", "document", "passage", "positive", "doc")
_OPTIONS = ("choices", "options", "endings", "answers")
_SPLIT = ("split", "set", "subset", "fold")
_LETTERS = re.compile(r"^([a-z]|(option|choice|ending)[_ ]?[a-z0-9])$", re.I)


@dataclass(frozen=True, slots=True)
class ColumnLook:
    """What a column seems to be.

    Attributes:
        name: Its name.
        kind: "label" (few different values), "number", "list", "split" or "text".
        distinct: Different values.
        empty: Rows without a value.
        shortest: Fewest characters of a value.
        longest: Most characters.
        median: Characters of the middle one.
    """

    name: str
    kind: Literal["text", "label", "number", "list", "split"]
    distinct: int
    empty: int
    shortest: int
    longest: int
    median: int


@dataclass(frozen=True, slots=True)
class Look:
    """What was understood of a data file.

    Attributes:
        kind: Table of texts, image files, or arrays.
        count: Rows or images.
        columns: Of a table, or the arrays' names.
        preview: The first ten rows as texts.
        labels: Class names and how often each occurs, most frequent first, for the label column guessed.
        splits: Rows of each split that the data name.
        sizes: Image sizes and how often they occur among the first ones.
        plan: A first guess at the task.
        notes: Sentences worth reading.
    """

    kind: Literal["table", "images", "arrays"]
    count: int
    columns: tuple[ColumnLook, ...]
    preview: tuple[tuple[str, ...], ...]
    labels: tuple[tuple[str, int], ...]
    splits: tuple[tuple[str, int], ...]
    sizes: tuple[tuple[str, int], ...]
    plan: TaskPlan
    notes: tuple[str, ...] = ()


def look(path: Path, progress: Progress | None = None) -> Look:
    """Read a data file and say what it seems to be.

    Raises:
        EvalProblem: if it cannot be read.
        Cancelled: if the user stopped the job.
    """
    if path.is_dir():
        return _look_images(read_folder(path, progress))
    if path.suffix.lower() in (".npz", ".safetensors"):
        return _look_arrays(path, progress)
    return look_table(read_table(path, progress))


def is_data(path: str) -> bool:
    """Whether a dropped file can only be data for a task (safetensors and folders may be models)."""
    return path.lower().endswith((".csv", ".tsv", ".jsonl", ".ndjson", ".jsonl.gz", ".parquet", ".npz"))


def look_table(table: Table) -> Look:
    """What a table seems to be."""
    columns = tuple(_column(table, at) for at in range(len(table.columns)))
    plan = _guess(table, columns)
    preview = tuple(tuple(shown(cell) for cell in row) for row in table.rows[:PREVIEW])
    splits = Counter(split_word(shown(v)) or shown(v) for v in table.column(plan.split)) if plan.split else {}
    labels = label_counts(table, plan.label) if plan.label and plan.family in ("class", "choice") else ()
    notes = [f"{c.name}: {c.empty:,} empty cells" for c in columns if c.empty]
    if plan.family == "class" and len(table.rows) < 100:
        notes.append(f"Only {len(table.rows)} rows: the intervals will be wide.")
    return Look("table", len(table.rows), columns, preview, labels, tuple(splits.items()), (), plan, tuple(notes))


def label_counts(table: Table, column: str) -> tuple[tuple[str, int], ...]:
    """The values of a column and how often each occurs, most frequent first."""
    return tuple(Counter(shown(v) for v in table.column(column)).most_common(MOST_LABELS))


def shown(value: Value) -> str:
    """A cell as text."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return " | ".join(value) if isinstance(value, tuple) else str(value)


def _column(table: Table, at: int) -> ColumnLook:
    values = [row[at] for row in table.rows]
    texts = [shown(v) for v in values]
    full = [t for t in texts if t]
    lengths = sorted(map(len, full)) or [0]
    distinct, name = len(set(texts)), table.columns[at]
    kind: Literal["text", "label", "number", "list", "split"] = "text"
    if any(isinstance(v, tuple) for v in values):
        kind = "list"
    elif name.lower() in _SPLIT and all(split_word(t) for t in full):
        kind = "split"
    elif full and all(as_number(v) is not None for v, t in zip(values, texts, strict=True) if t):
        whole = all(float(t).is_integer() for t in full)
        kind = "label" if whole and distinct <= min(MOST_LABELS, max(2, len(full) // 2)) else "number"
    elif distinct <= min(MOST_LABELS, max(2, len(full) // 3)) and lengths[-1] <= 100:
        kind = "label"
    return ColumnLook(
        name, kind, distinct, len(values) - len(full), lengths[0], lengths[-1], lengths[len(lengths) // 2]
    )


def _guess(table: Table, columns: Sequence[ColumnLook]) -> TaskPlan:
    """The likeliest task: by the columns' usual names first, then by what they hold."""
    names = [c.name for c in columns if c.kind != "split"]
    split = next((c.name for c in columns if c.kind == "split"), "")
    lists = [c.name for c in columns if c.kind == "list"]
    letters = [n for n in names if _LETTERS.match(n)]
    label = _named(names, _LABEL) or next((c.name for c in columns if c.kind == "label"), "")
    texts = [c.name for c in columns if c.kind in ("text", "label") and c.name != label]
    longest = max((c for c in columns if c.name in texts), key=lambda c: c.median, default=None)
    text = _named(texts, _TEXT) or (longest.name if longest else names[0] if names else "")
    second = _named([n for n in texts if n != text], _SECOND)
    options = tuple(lists[:1]) or (tuple(letters) if len(letters) >= 2 and text not in letters else ())
    plan = TaskPlan(data=table.path, text=text, label=label, split=split, name=task_name(table.path))
    kinds = {c.name: c.kind for c in columns}
    if options and label:
        return _as(plan, "choice", options=options)
    if second and label and _is_numeric(table, label):
        return _as(plan, "pair", second=second)
    if second and not label:
        return _as(plan, "retrieve", second=second)
    if not label:
        return _as(plan, "lm")
    return _as(plan, "value") if kinds.get(label) == "number" else plan


def guess_columns(plan: TaskPlan, found: Look, family: str) -> TaskPlan:
    """The plan for another family; columns that it needs and that are not chosen yet are guessed."""
    names = [c.name for c in found.columns if c.kind != "split"]
    texts = [c.name for c in found.columns if c.kind in ("text", "label") and c.name not in (plan.text, plan.label)]
    lists = tuple(c.name for c in found.columns if c.kind == "list")
    letters = tuple(n for n in names if _LETTERS.match(n))
    second = plan.second or _named(texts, _SECOND) or next(iter(texts), "")
    label = plan.label or _named(names, _LABEL)
    options = plan.options or lists[:1] or (letters if len(letters) > 1 else ())
    return _as(replace(plan, label=label), family, second=second, options=options)


def _as(plan: TaskPlan, family: str, second: str = "", options: tuple[str, ...] = ()) -> TaskPlan:
    return replace(plan, family=cast("Family", family), second=second, options=options, head=HEADS[family][0])


def _named(names: Sequence[str], wanted: Sequence[str]) -> str:
    lower = {name.lower(): name for name in reversed(names)}
    return next((lower[w] for w in wanted if w in lower), "")


def _is_numeric(table: Table, column: str) -> bool:
    return all(as_number(v) is not None for v in table.column(column)[:1000])


def task_name(path: Path) -> str:
    """A task's name from its data's."""
    stem = path.name.split(".")[0] if path.is_file() else path.name
    return re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-") or "task"


def _look_images(pictures: Pictures) -> Look:
    counts = Counter(pictures.labels[c] for c in pictures.classes.tolist())
    step = max(1, pictures.count // PREVIEW)
    preview = tuple(
        (printable(pictures.files[at].name, 120), pictures.labels[int(pictures.classes[at])])
        for at in range(0, pictures.count, step)
    )[:PREVIEW]
    columns = (ColumnLook("image", "text", pictures.count, 0, 0, 0, 0),
               ColumnLook("class", "label", len(pictures.labels), 0, 0, 0, 0))  # fmt: skip
    splits = Counter(s for s in pictures.splits if s)
    plan = TaskPlan(data=pictures.path, name=task_name(pictures.path))
    return Look("images", pictures.count, columns, preview, tuple(counts.most_common(MOST_LABELS)),
                tuple(splits.items()), tuple(pictures.sizes().items()), plan)  # fmt: skip


def _look_arrays(path: Path, progress: Progress | None) -> Look:
    names = array_names(path)
    images, labels = guess_arrays(names)
    if not images or not labels:
        raise EvalProblem(
            "The file does not hold images and their labels.", where=printable(path, 400),
            hint="It needs an array of images (N, H, W) and one of N whole numbers; both may be there for each split: "
            "val.images, val.labels, test.images, test.labels.",
        )  # fmt: skip
    pictures = read_arrays(path, images, labels, progress)
    counts = Counter(map(str, pictures.classes.tolist()))
    columns = tuple(ColumnLook(n, "label" if len(s) == 1 else "text", s[0] if s else 0, 0, 0, 0, 0)
                    for n, s in names.items())  # fmt: skip
    preview = tuple((n, " × ".join(map(str, s))) for n, s in names.items())[:PREVIEW]
    splits = Counter(s for s in pictures.splits if s)
    plan = TaskPlan(data=path, text=images, label=labels, head="file", name=task_name(path))
    return Look("arrays", pictures.count, columns, preview, tuple(counts.most_common(MOST_LABELS)),
                tuple(splits.items()), tuple(pictures.sizes().items()), plan)  # fmt: skip


def guess_arrays(names: dict[str, tuple[int, ...]]) -> tuple[str, str]:
    """Names of images and labels, with "{split}" where there is one of each for every split."""
    plain = {re.sub(r"\b(val|valid|validation|dev|test|train)\b", "{split}", n): s for n, s in names.items()}
    images = next((n for n, s in plain.items() if len(s) in (3, 4)), "")
    labels = [n for n, s in plain.items() if len(s) == 1 and images and ("{split}" in n) == ("{split}" in images)]
    named = [n for n in labels if any(w in n.lower() for w in ("label", "class", "target", "y"))]
    return images, next(iter(named or labels), "")
