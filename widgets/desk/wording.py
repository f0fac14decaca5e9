"""Words and numbers of the desk: what cells say, how values are written and how typed ones are read.

Names come from strangers' files, so every text leaves here as plain text: control characters are dropped
and nothing that Qt might take for rich text survives.
"""

from __future__ import annotations

import math
import unicodedata
from typing import TYPE_CHECKING

from PySide6.QtGui import Qt

from widgets.common.format import NORM

if TYPE_CHECKING:
    from widgets.desk.state import Cell, Column, DeskState, ExpertRow, MetricRow

MINUS = "−"
_LAYERS = {"emb": "embeddings", "head": "head", "other": "other tensors", "mid": "middle", "model": "whole model",
           "all": "whole model", "early": "early layers", "late": "late layers"}  # fmt: skip
_KINDS = {"attn": "attention", "mlp": "MLP", "norm": "norms", "emb": "embeddings", "head": "head", "other": "other"}
_PARTS = {"enc": "encoder layer", "dec": "decoder layer", "in": "input block", "out": "output block",
          "vis": "vision layer", "txt": "text layer", "double": "double block", "single": "single block"}  # fmt: skip


def plain(text: str) -> str:
    """The text such that Qt shows it letter by letter: no markup, no control or direction characters."""
    kept = text
    if not text.isprintable():  # seldom
        kept = "".join(c for c in text if c == "\n" or unicodedata.category(c) not in ("Cc", "Cf"))
    if Qt.mightBeRichText(kept):
        kept = kept.replace("<", "‹").replace(">", "›")
    return kept


def one_line(text: str) -> str:
    """A stranger's text for a single line: like `plain`, without line breaks."""
    return plain(" ".join(text.split()))


def number(value: float, digits: int = 2) -> str:
    """A coefficient as the desk writes it: "0.74", "−0.20"; "–" when it is unknown."""
    if not math.isfinite(value):
        return "–"
    text = f"{value:.{digits}f}"
    if text.startswith("-"):
        text = text[1:] if float(text) == 0 else MINUS + text[1:]
    return text


def exact(value: float) -> str:
    """A coefficient with as many digits as it has, at least two and at most six."""
    text = f"{value:.6f}".rstrip("0")
    digits = max(2, len(text) - text.index(".") - 1)
    return number(value, digits)


def short_number(value: float) -> str:
    """The shortest readable form: ".74", "1.1", "−.2"."""
    text = number(value, 2)
    return text.replace("0.", ".", 1) if text.lstrip(MINUS).startswith("0.") else text


def parse_number(text: str) -> float | None:
    """A typed value ("0.7", "-.5", "−1", "0,7", "70 %"), or None if it is not a finite number."""
    cleaned = text.strip().replace(MINUS, "-").replace(",", ".")
    factor = 1.0
    if cleaned.endswith("%"):
        cleaned, factor = cleaned[:-1].strip(), 0.01
    try:
        value = float(cleaned) * factor
    except ValueError:
        return None
    return value if math.isfinite(value) and abs(value) <= 1e6 else None


def place(column: Column) -> str:
    """A column as one says it: "layer 4 attention", "embeddings", "decoder layer 3"."""
    if column.tensor is not None:
        return f"tensor {one_line(column.tensor)}"
    layer = _layer(column.layer)
    if column.kind is None or column.kind == column.layer:
        return layer
    return f"{layer} {_KINDS.get(column.kind, one_line(column.kind))}"


def _layer(label: str) -> str:
    if label.isdigit():
        return f"layer {label}"
    head, dot, rest = label.partition(".")
    if dot and head in _PARTS:
        return f"{_PARTS[head]} {one_line(rest)}"
    return _LAYERS.get(label, one_line(label))


def cell_sentence(state: DeskState, row: int, column: int) -> str:
    """What a screen reader says: "chat, layer 4 attention, coefficient 0.74, default 1, sign conflict 12 percent"."""
    expert = state.experts[row]
    parts = [
        one_line(expert.name),
        place(state.columns[column]),
        f"{state.coefficient_name} {exact(state.values[row, column])}",
        f"default {state.default:g}",
    ]
    if state.conflict is not None and math.isfinite(state.conflict[row, column]):
        parts.append(f"sign conflict {100 * state.conflict[row, column]:.0f} percent")
    if state.mixed is not None and state.mixed[row, column]:
        parts.append("finer overrides inside")
    if expert.silenced:
        parts.append("muted" if expert.muted else "silenced by solo")
    return ", ".join(parts).replace(MINUS, "minus ")


def cell_tip(state: DeskState, row: int, column: int) -> str:
    """Tooltip of a coefficient: the same facts, one a line."""
    expert = state.experts[row]
    lines = [f"{one_line(expert.name)} · {place(state.columns[column])}"]
    value = exact(state.values[row, column])
    lines.append(f"{state.coefficient_name} {value}   (default {state.default:g})")
    if expert.gain != 1.0:
        lines.append(f"× gain {exact(expert.gain)} = {exact(state.values[row, column] * expert.gain)}")
    if state.conflict is not None and math.isfinite(state.conflict[row, column]):
        lines.append(f"sign conflict {100 * state.conflict[row, column]:.1f} %")
    if state.mixed is not None and state.mixed[row, column]:
        lines.append("Finer overrides inside differ from this value.")
    if expert.silenced:
        lines.append("Muted: counts as 0." if expert.muted else "Silenced: another row is soloed.")
    if state.fixed:
        lines.append(state.fixed)
    return plain("\n".join(lines))


def metric_text(metric: MetricRow, column: int) -> str:
    """Number of a metric cell, with unit and "≈" for an estimate."""
    value = metric.values[column]
    if metric.style == "stack" and metric.values.ndim == 2:
        shares = [f"{100 * v:.0f}" for v in value]
        return " / ".join(shares) + " %"
    if not math.isfinite(value):
        return "–"
    sign = "≈" if metric.quality == "estimate" else ""
    if metric.unit == "%":
        return f"{sign}{number(100 * value, 1 if 0 < abs(value) < 0.0995 else 0)} %"
    return f"{sign}{significant(value)}{' ' + metric.unit if metric.unit else ''}"


def significant(value: float) -> str:
    """A metric with about three significant digits and no exponent for ordinary sizes."""
    size = abs(value)
    if size and (size >= 1e5 or size < 1e-3):
        return f"{value:.1e}".replace("-", MINUS)
    digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 0.1 or size == 0 else 3
    return number(value, digits)


def metric_tip(state: DeskState, metric: MetricRow, column: int) -> str:
    """Tooltip of a metric cell."""
    lines = [f"{metric.title} · {place(state.columns[column])}"]
    if metric.style == "stack" and metric.values.ndim == 2 and metric.parts:
        shares = metric.values[column]
        lines += [f"{name} {100 * share:.1f} %" for name, share in zip(metric.parts, shares, strict=False)]
    else:
        lines.append(metric_text(metric, column))
    lines.append(quality_text(metric))
    return plain("\n".join(line for line in (*lines, metric.tooltip) if line))


def metric_sentence(state: DeskState, metric: MetricRow, column: int) -> str:
    """What a screen reader says about a metric cell."""
    said = metric_text(metric, column).replace("≈", "about ").replace("%", "percent").replace(MINUS, "minus ")
    note = {"exact": "", "estimate": ", estimate", "stale": ", out of date"}[metric.quality]
    return f"merged model, {one_line(metric.title)}, {place(state.columns[column])}, {said}{note}"


def quality_text(metric: MetricRow) -> str:
    """What the look of a metric's numbers means; empty for exact ones."""
    return {
        "exact": "",
        "estimate": "≈ linear estimate: this method's real change differs.",
        "stale": "Out of date: being recomputed.",
    }[metric.quality]


def expert_tip(expert: ExpertRow) -> str:
    """Tooltip of a row header."""
    lines = [f"{expert.letter} · {expert.name}"]
    if expert.norm is not None:
        lines.append(f"{NORM} {significant(expert.norm)}: norm of the task vector (expert − base)")
    lines += [expert.score_text, expert.badge_text]
    return plain("\n".join(line for line in lines if line))


def subject(state: DeskState, cells: tuple[Cell, ...]) -> str:
    """Cells as an undo text names them: "chat layer 4 attention", "4 coefficients of chat"."""
    ids = {c[0] for c in cells}
    names = [one_line(e.name) for e in state.experts if e.id in ids]
    if len(cells) == 1 and names:
        return f"{names[0]} {place(state.columns[cells[0][1]])}"
    if len(names) == 1:
        return names[0] if len(cells) == len(state.columns) else f"{len(cells)} coefficients of {names[0]}"
    return f"{len(cells)} coefficients of {len(names)} experts"
