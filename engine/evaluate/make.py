"""Making a task from a user's data: rows split, tokenised or decoded once, head made, three files written.

`NAME.task.json`, `NAME.data.safetensors` and (for made heads) `NAME.head.safetensors` lie side by side and
travel together. What is scored later is these files alone; the user's own file is not read again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import EvalProblem, FileProblem
from engine.evaluate.data import open_data
from engine.evaluate.look import shown
from engine.evaluate.make_rows import ROWS, Made
from engine.evaluate.measures import measures_for
from engine.evaluate.pictures import Pictures, decode, read_arrays, read_folder, split_word
from engine.evaluate.plan import COLUMN_WORDS, COLUMNS, HEADS, TaskPlan
from engine.evaluate.splitting import content, part
from engine.evaluate.table import Table, read_table
from engine.evaluate.task import Task, load_task
from engine.evaluate.task_schema import FORMAT, MAX_CLASSES
from engine.evaluate.tokens import read_tokenizer, settings
from engine.files.durable import write_durably
from engine.files.reading import Reader
from engine.files.text import printable
from engine.progress import Progress, Silent

MAX_DATA = 1 << 30
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class NewTask:
    """A task that was made.

    Attributes:
        task: As `load_task` reads it.
        rows: Items of each split.
        notes: What the user should know.
    """

    task: Task
    rows: dict[str, int]
    notes: tuple[str, ...]


def check_plan(plan: TaskPlan) -> str:
    """What is missing before a task can be made, in one sentence; "" if nothing is."""
    is_pictures = plan.data.is_dir() or plan.data.suffix.lower() in (".npz", ".safetensors")
    if is_pictures and plan.family != "class":
        return "Images can only be classified."
    for name in () if is_pictures else COLUMNS[plan.family]:
        if not getattr(plan, name):
            return f"Choose the column: {COLUMN_WORDS[plan.family][name]}."
    if not is_pictures and plan.model is None:
        return "Choose the model folder that the tokenizer lies in."
    if plan.head not in HEADS[plan.family]:
        return "Choose another head: this one does not fit the task."
    if plan.head == "file" and plan.head_file is None:
        return "Choose the file of the frozen head."
    if plan.head == "phrases" and plan.model is None:
        return "Choose the model folder that makes the zero-shot head, usually the base's."
    if plan.head == "phrases" and "{}" not in plan.template:
        return "The phrase needs {} where the label's name goes."
    if not plan.name.strip():
        return "Give the task a name."
    return ""


def make_task(plan: TaskPlan, out: Path, progress: Progress | None = None, *, replace: bool = False) -> NewTask:
    """Make a task and write its files.

    Args:
        plan: What it shall be.
        out: The task file, `NAME.task.json`.
        progress: Asked between batches of rows.
        replace: Whether files that are there are replaced.

    Raises:
        EvalProblem: naming what is wrong with the plan or the data (row and column).
        WriteProblem: if the files cannot be written; the task file comes last.
        Cancelled: if the user stopped the job; nothing is left behind.
    """
    progress = progress or Silent()
    _check(plan, out, replace)
    stem = out.name.removesuffix(".task.json")
    is_pictures = plan.data.is_dir() or plan.data.suffix.lower() in (".npz", ".safetensors")
    made = _pictures(plan, progress) if is_pictures else _texts(plan, progress)
    head, heads = _head(plan, made, stem, progress)
    files = {f"{stem}.data.safetensors": _packed(made.arrays)}
    if heads:
        files[f"{stem}.head.safetensors"] = _packed(heads)
    raw = _json(plan, made, head, stem)
    raw["made"]["data_sha256"] = hashlib.sha256(files[f"{stem}.data.safetensors"]).hexdigest()
    progress.check()
    for name, data in files.items():
        write_durably(out.parent / name, data)
    write_durably(out, json.dumps(raw, indent=1, ensure_ascii=False).encode())
    return NewTask(load_task(out), dict(made.rows), made.notes)


def _check(plan: TaskPlan, out: Path, replace: bool) -> None:
    trouble = check_plan(plan)
    if trouble:
        raise EvalProblem(trouble, hint="The task was not made.")
    if not out.name.endswith(".task.json") or not out.parent.is_dir():
        raise EvalProblem("The task needs a file name that ends in .task.json, in a folder that exists.",
                          where=printable(out, 400), hint="Choose another place.")  # fmt: skip
    if out.exists() and not replace:
        raise EvalProblem("There is a task of this name already.", where=printable(out, 400),
                          hint="Choose another name, or replace it.")  # fmt: skip
    known = [m.id for m in measures_for(plan.family)]
    if plan.metric and plan.metric not in known:
        raise EvalProblem(
            f"The metric {printable(plan.metric, 60)} does not fit.", hint=f"It may be: {', '.join(known)}."
        )


def _texts(plan: TaskPlan, progress: Progress) -> Made:
    """Tokens of a table's rows."""
    table = read_table(plan.data, progress)
    given: list[str] = [shown(v) for v in table.column(plan.split)] if plan.split else []
    if plan.test is not None:
        other = read_table(plan.test, progress)
        given = ["val"] * len(table.rows) + ["test"] * len(other.rows)
        if set(other.columns) != set(table.columns):
            raise EvalProblem("The two files do not have the same columns.", where=printable(plan.test, 400),
                              hint="Give validation and test rows the same columns.")  # fmt: skip
        order = [other.columns.index(name) for name in table.columns]
        table = Table(table.path, table.columns, table.rows + tuple(tuple(r[i] for i in order) for r in other.rows))
    parts = part(_keys(plan, table), given, plan.seed, plan.rows)
    words = read_tokenizer(plan.model)
    longest = _positions(plan)
    made = ROWS[plan.family](plan, table, parts, words, min(plan.max_tokens, longest or plan.max_tokens), progress)
    made.facts["tokenizer_sha256"] = words.sha256
    made.pad = words.pad
    made.notes = (*parts.notes, *made.notes)
    return made


def _positions(plan: TaskPlan) -> int:
    config = settings(plan.model, "config.json")
    config = config.get("text_config", config)
    count = config.get("max_position_embeddings", config.get("n_positions", 0)) if isinstance(config, dict) else 0
    if not isinstance(count, int) or count < 1:
        return 0
    return count - 2 if "roberta" in str(config.get("model_type")) else count


def _keys(plan: TaskPlan, table: Table) -> list[bytes]:
    """What must not lie in both splits: the text; of searches the query; of pairs both texts."""
    second = [plan.second] if plan.family == "pair" else []
    return [content(*texts) for texts in zip(*(table.texts(name) for name in (plan.text, *second)), strict=True)]


def _pictures(plan: TaskPlan, progress: Progress) -> Made:
    """Pixels of images, all of one size."""
    if plan.data.is_dir():
        pictures = read_folder(plan.data, progress)
    else:
        pictures = read_arrays(plan.data, plan.text, plan.label, progress)
    if len(pictures.labels) > MAX_CLASSES:
        raise EvalProblem(f"There are {len(pictures.labels):,} classes; at most {MAX_CLASSES:,} are possible.")
    edge, mean, std = image_input(plan, pictures)
    arrays, rows = dict[str, NDArray[Any]](), dict[str, int]()
    hashes = _image_keys(pictures, progress)
    given = [split_word(s) for s in pictures.splits]
    parts = part(hashes, given if any(given) else [], plan.seed, plan.rows)
    for split, chosen in (("val", parts.val), ("test", parts.test)):
        arrays[f"{split}.images"] = _decoded(pictures, chosen, edge, len(mean), progress)
        arrays[f"{split}.labels"] = pictures.classes[list(chosen)]
        rows[split] = len(chosen)
    facts: dict[str, str | int] = {"size": edge}
    return Made(arrays, rows, pictures.labels, facts, parts.notes, input={"scale": 1 / 255, "mean": list(mean),
                                                                          "std": list(std)})  # fmt: skip


def _image_keys(pictures: Pictures, progress: Progress) -> list[bytes]:
    from engine.evaluate.keying import file_hash

    if pictures.arrays is not None:
        return [hashlib.blake2b(image.tobytes(), digest_size=20).digest() for image in pictures.arrays]
    try:
        return [file_hash(file, progress).encode() for file in pictures.files]
    except FileProblem as problem:
        raise EvalProblem(problem.message, where=problem.where, hint=problem.hint) from problem


def image_input(plan: TaskPlan, pictures: Pictures) -> tuple[int, tuple[float, ...], tuple[float, ...]]:
    """Edge in pixels, mean and deviation per channel: the plan's, else the model's, else the images' own."""
    given, config = settings(plan.model, "preprocessor_config.json"), settings(plan.model, "config.json")
    config = config.get("vision_config", config)
    size = given.get("crop_size", given.get("size", config.get("image_size", 0)))
    if isinstance(size, dict):
        size = size.get("height", size.get("shortest_edge", 0))
    own = 0 if pictures.arrays is None else pictures.arrays.shape[2]
    edge = plan.size or own or (size if isinstance(size, int) else 0)
    if not 1 <= edge <= 4096:
        raise EvalProblem("The model does not say how large its images are.", hint="Give the size in pixels.")
    channels = pictures.arrays.shape[1] if pictures.arrays is not None else config.get("num_channels", 3)
    default = [0.5] * (channels if channels in (1, 3) else 3)
    mean, std = (tuple(map(float, v or given.get(name, default))) for v, name in
                 ((plan.mean, "image_mean"), (plan.std, "image_std")))  # fmt: skip
    if len(mean) != len(std) or len(mean) not in (1, 3) or min(std) <= 0:
        raise EvalProblem("Mean and deviation need one or three numbers each, and deviations above 0.",
                          hint="Leave them empty to take the model's.")  # fmt: skip
    return edge, mean, std


def _decoded(
    pictures: Pictures, chosen: tuple[int, ...], edge: int, channels: int, progress: Progress
) -> NDArray[np.uint8]:
    if len(chosen) * edge * edge * channels > MAX_DATA:
        raise EvalProblem("The images would take more than 1 GiB.", hint="Use fewer rows or a smaller size.")
    if pictures.arrays is not None:
        stored = pictures.arrays[list(chosen)]
        if stored.shape[1] != channels:
            raise EvalProblem(f"The images have {stored.shape[1]} channels, the model takes {channels}.",
                              hint="Give mean and deviation with as many numbers as there are channels.")  # fmt: skip
        return np.ascontiguousarray(stored)
    images = np.empty((len(chosen), channels, edge, edge), np.uint8)
    for at, index in enumerate(chosen):
        progress.check()
        images[at] = decode(pictures.files[index], (edge, edge), channels)
    return images


def _head(plan: TaskPlan, made: Made, stem: str, progress: Progress) -> tuple[dict[str, Any], Arrays]:
    """The head as JSON, and the tensors of a file that must be written for it."""
    if plan.head == "none":
        return {"type": "none", "pool": plan.pool, "normalise": True}, {}
    own = {"file": f"{stem}.head.safetensors"}
    if plan.head == "phrases":
        from engine.evaluate.zero_shot import phrase_head

        head, arrays = phrase_head(plan, made, progress)
        return {**head, **own}, arrays
    if plan.head == "model":
        from engine.evaluate.zero_shot import classifier_tensors

        return ({"type": "model", **own}, classifier_tensors(plan)) if plan.head_file else ({"type": "model"}, {})
    head, arrays = _copied(plan, made)
    return {**head, **own}, arrays


def _copied(plan: TaskPlan, made: Made) -> tuple[dict[str, Any], Arrays]:
    """A chosen head, copied beside the task so that it travels with it; without a bias the state is normalised."""
    file = Path(str(plan.head_file))
    bias = plan.head_weight.replace("weight", "bias")
    try:
        with Reader(open_data(file)) as reader:
            tensors = reader.checkpoint.tensors
            info, other = tensors.get(plan.head_weight), tensors.get(bias) if bias != plan.head_weight else None
            if info is None or len(info.shape) != 2 or info.shape[0] != max(len(made.labels), 1):
                shape = "" if info is None else f": it has shape {list(info.shape)} for {len(made.labels)} classes"
                names = ", ".join(printable(n, 40) for n in list(tensors)[:12])
                raise EvalProblem(f"The head file has no fitting tensor {printable(plan.head_weight, 80)!r}{shape}.",
                                  where=printable(file, 400), hint=f"It has: {names}.")  # fmt: skip
            arrays: Arrays = {"weight": reader.read_float32(info).reshape(info.shape)}
            if other is not None:
                arrays["bias"] = reader.read_float32(other)
    except FileProblem as problem:
        raise EvalProblem(problem.message, where=problem.where, hint=problem.hint) from problem
    head = {"type": "frozen", "weight": "weight", "bias": "bias" if other is not None else None, "pool": plan.pool,
            "normalise": other is None}  # fmt: skip
    return head, arrays


def _json(plan: TaskPlan, made: Made, head: dict[str, Any], stem: str) -> dict[str, Any]:
    kind = "image" if made.input else "tokens"
    inputs = "images" if made.input else "ids"
    data: dict[str, Any] = {"kind": kind, "file": f"{stem}.data.safetensors"}
    for split in ("val", "test"):
        data |= {split: f"{split}.{inputs}", f"{split}_labels": f"{split}.labels"}
        names = ("lengths", "groups", "starts", "sizes")
        data |= {f"{split}_{n}": f"{split}.{n}" for n in names if f"{split}.{n}" in made.arrays}
    if not made.input:
        data["pad"] = made.pad
    facts: dict[str, str | int] = {
        "source_file": plan.data.name, "seed": plan.seed, **{f"{s}_rows": n for s, n in made.rows.items()},
        **{f"column_{n}": ", ".join(v) if isinstance(v, tuple) else str(v)
           for n in ("text", "second", "label", "options", "split") if (v := getattr(plan, n))}, **made.facts,
    }  # fmt: skip
    return {
        "format": FORMAT, "name": plan.name.strip(), "title": plan.title.strip() or plan.name.strip(),
        "family": plan.family, "metric": plan.metric or measures_for(plan.family)[0].id,
        "labels": list(made.labels), "data": data, "input": made.input or None, "head": head, "expert": plan.expert,
        "licence": plan.licence, "made": facts,
    }  # fmt: skip


def _packed(arrays: Arrays) -> bytes:
    from safetensors.numpy import save

    whole = {name: np.ascontiguousarray(values) for name, values in arrays.items()}
    if sum(values.nbytes for values in whole.values()) > MAX_DATA:
        raise EvalProblem("The task's data would take more than 1 GiB.", hint="Use fewer rows.")
    pack: Callable[[Arrays], bytes] = save
    return pack(whole)
