"""What a user wants a task to be, before it is made: the columns, the input, the head, the metric. Light values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine.evaluate.task import Family

HeadPlan = Literal["phrases", "model", "file", "none"]

FAMILIES: dict[str, str] = {
    "class": "Classes: which label fits",
    "value": "A number for each text",
    "pair": "How alike two texts are",
    "retrieve": "Search: which document answers a query",
    "lm": "Language model: how likely the text is",
    "choice": "Multiple choice by likelihood",
}
"""What is asked of the model, in the user's words."""

COLUMNS: dict[str, tuple[str, ...]] = {
    "class": ("text", "label"), "value": ("text", "label"), "pair": ("text", "second", "label"),
    "retrieve": ("text", "second"), "lm": ("text",), "choice": ("text", "options", "label"),
}  # fmt: skip
"""Which columns each family needs, as fields of `TaskPlan`."""

COLUMN_WORDS: dict[str, dict[str, str]] = {
    "class": {"text": "Text", "label": "Label"}, "value": {"text": "Text", "label": "Number"},
    "pair": {"text": "First text", "second": "Second text", "label": "How alike"},
    "retrieve": {"text": "Query", "second": "Document"}, "lm": {"text": "Text"},
    "choice": {"text": "Question", "options": "Options", "label": "Right option"},
}  # fmt: skip
"""What the columns are called for each family."""

HEADS: dict[str, tuple[HeadPlan, ...]] = {
    "class": ("phrases", "model", "file"), "value": ("model", "file"), "pair": ("none",), "retrieve": ("none",),
    "lm": ("model",), "choice": ("model",),
}  # fmt: skip
"""Which heads each family may have, the usual one first."""

HEAD_WORDS: dict[str, str] = {
    "phrases": "Made from the labels' names (zero-shot)",
    "model": "The classifier inside the checkpoint",
    "file": "A frozen head in a file of its own",
    "none": "None: the embeddings themselves",
}
"""What the heads are called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPlan:
    """Everything that is needed to make a task.

    Attributes:
        data: The file or folder; the validation rows where `test` is another one.
        test: A file with the test rows, or None to split `data`.
        family: What is asked.
        text: Column of the text, the query or the question; of arrays the images' name.
        second: Column of the second text or the document.
        label: Column of the label, the number or the right option; of arrays the labels' name.
        options: Columns of the options, or one that holds lists.
        split: Column that says train, val or test, or "".
        seed: Of the split by content.
        rows: Most rows of each split.
        model: Model folder that brings tokenizer, image settings and, for phrases, the encoder.
        max_tokens: Longest text; longer ones are cut.
        size: Edge of the images in pixels, 0 for what the model says.
        mean: Subtracted per channel from pixels of 0 to 1; empty for what the model says.
        std: Divided by per channel.
        pool: How token states become one vector.
        head: Where the head comes from.
        head_file: "file": the safetensors file; "model": a checkpoint whose classifier replaces the model's.
        head_weight: Name of the (classes, hidden) tensor in `head_file`.
        template: Phrase made from a label, with {} for its name.
        metric: Id of the measure, "" for the usual one.
        name: Stable name.
        title: What the user sees.
        expert: Name of the expert that was trained for it, or "".
        licence: Licence of the data.
    """

    data: Path
    test: Path | None = None
    family: Family = "class"
    text: str = ""
    second: str = ""
    label: str = ""
    options: tuple[str, ...] = ()
    split: str = ""
    seed: int = 0
    rows: int = 2000
    model: Path | None = None
    max_tokens: int = 128
    size: int = 0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    pool: Literal["mean", "cls"] = "mean"
    head: HeadPlan = "phrases"
    head_file: Path | None = None
    head_weight: str = "weight"
    template: str = "{}"
    metric: str = ""
    name: str = ""
    title: str = ""
    expert: str = ""
    licence: str = ""
