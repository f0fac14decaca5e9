"""A trial of a task's input on the first rows, before the task is made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from engine.errors import EvalProblem
from engine.evaluate.look import Look
from engine.evaluate.make import image_input
from engine.evaluate.pictures import decode, read_arrays, read_folder
from engine.evaluate.plan import TaskPlan
from engine.evaluate.tokens import read_tokenizer, settings
from engine.files.text import counted
from engine.progress import Progress, Silent


def try_input(plan: TaskPlan, found: Look, progress: Progress | None = None) -> tuple[str, ...]:
    """Tokenise or decode the first rows, and say what they come to.

    Raises:
        EvalProblem: if the model folder or a row cannot be used.
        Cancelled: if the user stopped the job.
    """
    progress = progress or Silent()
    if found.kind == "table":
        return _tokens(plan, found, progress)
    pictures = read_folder(plan.data, progress) if found.kind == "images" else read_arrays(
        plan.data, plan.text, plan.label, progress)  # fmt: skip
    edge, mean, _ = image_input(plan, pictures)
    for file in pictures.files[:10]:
        progress.check()
        decode(file, (edge, edge), len(mean))
    colours = "grey" if len(mean) == 1 else "in colour"
    return (f"Images are read {colours} at {edge} × {edge} pixels; mean {_numbers(mean)}.",)


def suggested(found: Look, model: Path | None) -> Look:
    """The first look with a head that the model can have: phrases make one for images only with a text tower."""
    if found.kind == "images" and "text_config" not in settings(model, "config.json"):
        return replace(found, plan=replace(found.plan, head="file"))
    return found


def _tokens(plan: TaskPlan, found: Look, progress: Progress) -> tuple[str, ...]:
    names = [c.name for c in found.columns]
    if plan.text not in names:
        raise EvalProblem("The text's column is not in the data.", hint="Choose another column.")
    texts = [cells[names.index(plan.text)] for cells in found.preview]
    words = read_tokenizer(plan.model)
    lengths = [len(row.ids) for row in words.encode(texts, 0, progress)]
    cut = sum(length > plan.max_tokens for length in lengths)
    said = f"The first {counted(len(texts), 'text')} have {min(lengths)} to {max(lengths)} tokens"
    if cut and plan.family == "lm":
        return (f"{said}; longer ones become several windows of {plan.max_tokens}.",)
    return (f"{said}; {cut} would be cut." if cut else f"{said}.",)


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.3g}" for value in values)
