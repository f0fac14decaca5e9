"""What the task wizard shows; plain values, filled by the application."""

from __future__ import annotations

from dataclasses import dataclass

STEPS = ("Data", "Input", "Head", "Metric", "Name")
"""The pages, in order."""

Choice = tuple[str, str]
"""(id, label) of something to choose."""


@dataclass(frozen=True, slots=True)
class Field:
    """A column to choose.

    Attributes:
        name: Field of the plan ("text", "label", "options", "split").
        title: What it is called.
        value: The chosen column, "" none.
        is_optional: Whether none may be chosen.
    """

    name: str
    title: str
    value: str = ""
    is_optional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskWizardState:
    """Everything on the pages.

    Attributes:
        path: The data file.
        busy: What runs just now ("Reading…"), "" if nothing.
        problems: For each step why it cannot be left yet, "" if it can.
        facts: Sentences: what was understood of the data.
        columns: Names of the preview's columns.
        preview: The first rows.
        families: What may be asked.
        family: What is asked.
        is_images: Whether the data are images.
        fields: Columns to choose.
        column_choices: Columns that there are.
        model: Model folder.
        rows: Most rows of a split.
        max_tokens: Longest text.
        size: Edge of images, 0 as the model says.
        pool: "mean" or "cls".
        tried: What the first rows came to, in sentences.
        heads: Heads to choose from.
        head: The chosen head.
        head_file: Its file.
        template: Phrase made from a label.
        phrases: The first phrases, for checking.
        metrics: Metrics to choose from; the label has the unit.
        metric: The chosen metric.
        metric_about: What it means.
        name: Name of the task.
        experts: Experts that the task may belong to.
        expert: The chosen one, "" none.
        out: The file that will be written.
        summary: What will be made, in sentences.
    """

    path: str = ""
    busy: str = ""
    problems: tuple[str, ...] = ("Choose a data file or a folder of images.", "", "", "", "")
    facts: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    preview: tuple[tuple[str, ...], ...] = ()
    families: tuple[Choice, ...] = ()
    family: str = "class"
    is_images: bool = False
    fields: tuple[Field, ...] = ()
    column_choices: tuple[str, ...] = ()
    model: str = ""
    rows: int = 2000
    max_tokens: int = 128
    size: int = 0
    pool: str = "mean"
    tried: tuple[str, ...] = ()
    heads: tuple[Choice, ...] = ()
    head: str = ""
    head_file: str = ""
    template: str = "{}"
    phrases: str = ""
    metrics: tuple[Choice, ...] = ()
    metric: str = ""
    metric_about: str = ""
    name: str = ""
    experts: tuple[Choice, ...] = ()
    expert: str = ""
    out: str = ""
    summary: tuple[str, ...] = ()
