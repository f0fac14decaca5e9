"""What the task wizard says: the state of its pages from the plan and from what was understood of the data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.errors import MixdownError
from engine.evaluate.look import Look
from engine.evaluate.measures import Measure, find_measure, measures_for
from engine.evaluate.plan import COLUMN_WORDS, COLUMNS, FAMILIES, HEAD_WORDS, HEADS, TaskPlan
from engine.files.text import counted
from widgets.dialogs.task_wizard_state import Field, TaskWizardState

_SHOWN_LABELS = 12
_SPLITS = {"val": "validation", "test": "test", "train": "training"}


def state_of(plan: TaskPlan, found: Look | None, out: str, experts: tuple[tuple[str, str], ...]) -> TaskWizardState:
    """The pages without what is measured in the background."""
    metric = find_measure(plan.metric) if plan.metric else measures_for(plan.family)[0]
    is_images = found is not None and found.kind != "table"
    common: dict[str, Any] = {
        "path": "" if plan.data == Path() else str(plan.data), "family": plan.family, "is_images": is_images,
        "families": tuple(FAMILIES.items()), "model": str(plan.model or ""), "rows": plan.rows,
        "max_tokens": plan.max_tokens, "size": plan.size, "pool": plan.pool,
        "heads": tuple((h, HEAD_WORDS[h] if plan.family not in ("lm", "choice") else "The language model's own head")
                       for h in HEADS[plan.family]),
        "head": plan.head, "head_file": str(plan.head_file or ""), "template": plan.template,
        "metrics": tuple((m.id, measure_text(m)) for m in measures_for(plan.family)), "metric": metric.id,
        "metric_about": metric.about, "name": plan.name, "out": out, "experts": experts,
    }  # fmt: skip
    if found is None:
        return TaskWizardState(**common)
    columns = tuple(c.name for c in found.columns) if found.kind == "table" else preview_columns(found)
    return TaskWizardState(
        **common, facts=facts(found), columns=columns, preview=found.preview, fields=fields(plan),
        column_choices=columns, phrases=phrases(plan, found), summary=summary(plan, found, metric),
    )  # fmt: skip


def preview_columns(found: Look) -> tuple[str, ...]:
    """Titles of the preview of images and arrays."""
    return ("Image", "Class") if found.kind == "images" else ("Array", "Shape")


def measure_text(measure: Measure) -> str:
    """Like "Accuracy (%)", "Perplexity (ppl, lower is better)"."""
    way = "" if measure.higher_is_better else ", lower is better"
    return f"{measure.title} ({measure.unit or 'number'}{way})"


def facts(found: Look) -> tuple[str, ...]:
    """What was understood of the data, in sentences."""
    thing = "row" if found.kind == "table" else "image"
    said = [f"{found.count:,} {thing}{'s' if found.count != 1 else ''}."]
    if found.kind == "table":
        said.append("Columns: " + "; ".join(f"{c.name} ({_about(c.kind, c.distinct, c.shortest, c.longest)})"
                                            for c in found.columns[:12]) + ".")  # fmt: skip
    if found.labels:
        shown = ", ".join(f"{name} {count:,}" for name, count in found.labels[:_SHOWN_LABELS])
        more = f" and {len(found.labels) - _SHOWN_LABELS} more" if len(found.labels) > _SHOWN_LABELS else ""
        said.append(f"{counted(len(found.labels), 'label')}: {shown}{more}.")
    if found.sizes:
        said.append("Sizes: " + ", ".join(f"{size} pixels" for size, _ in found.sizes[:6]) + ".")
    said.append(split_text(found))
    return (*said, *found.notes)


def _about(kind: str, distinct: int, shortest: int, longest: int) -> str:
    if kind == "text":
        return f"text, {shortest:,} to {longest:,} characters"
    return {"label": f"{distinct:,} values", "number": "numbers", "list": "lists", "split": "splits"}[kind]


def split_text(found: Look) -> str:
    """Which splits the data name."""
    if not found.splits:
        return "No splits: half of the rows become validation, half test, by their content."
    return "Splits: " + ", ".join(f"{_SPLITS.get(name, name)} {count:,}" for name, count in found.splits) + "."


def fields(plan: TaskPlan) -> tuple[Field, ...]:
    """The columns that a family needs."""
    titles = COLUMN_WORDS[plan.family]
    made = [Field(name, titles[name], ", ".join(plan.options) if name == "options" else getattr(plan, name))
            for name in COLUMNS[plan.family]]  # fmt: skip
    return (*made, Field("split", "Split column", plan.split, is_optional=True))


def phrases(plan: TaskPlan, found: Look) -> str:
    """The first phrases that a zero-shot head is made from."""
    shown = [f"“{plan.template.replace('{}', name)}”" for name, _ in found.labels[:4]]
    return ", ".join(shown) + ("…" if len(found.labels) > 4 else "")


def summary(plan: TaskPlan, found: Look, metric: Measure) -> tuple[str, ...]:
    """What will be made."""
    return (
        f"{FAMILIES[plan.family]}, measured by {measure_text(metric)}.",
        f"From {plan.data.name}: {found.count:,} rows, at most {plan.rows:,} for each split. {split_text(found)}",
        "Validation rows are for choosing coefficients, test rows for the final figure; they never mix.",
    )


def default_out(plan: TaskPlan) -> str:
    """Beside the data, under the task's name; a name that is taken gets a number."""
    stem = "".join(c if c.isalnum() or c in "-_." else "-" for c in plan.name.strip()) or "task"
    for number in range(1, 100):
        path = plan.data.parent / f"{stem}{'' if number == 1 else f'-{number}'}.task.json"
        if not path.exists():
            return str(path)
    return ""


def place_problem(plan: TaskPlan, out: str) -> str:
    """Why the task cannot be written there, "" if it can."""
    path = Path(out)
    if not plan.name.strip():
        return "Give the task a name."
    if len(plan.name) > 200:
        return "The name is too long."
    if not out.endswith(".task.json"):
        return "The file name must end in .task.json."
    if not path.parent.is_dir():
        return "The folder to save in does not exist."
    return "There is a task of this name already; choose another name." if path.exists() else ""


def why(error: MixdownError) -> str:
    """An error in one line."""
    return f"{error.message} {error.hint}".strip()
