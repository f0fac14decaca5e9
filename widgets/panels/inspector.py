"""The selected cells."""

from __future__ import annotations

from PySide6.QtCore import QRect, QRectF, Qt, Signal
from PySide6.QtGui import QColor, QFont, QPainter, QPaintEvent
from PySide6.QtWidgets import QHBoxLayout, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from widgets.common.colours import expert_letter
from widgets.common.format import NORM, count_text, number_text, percent_text, plural, range_text
from widgets.common.text import ElidedLabel, PlainLabel, plain, tip
from widgets.common.theme import theme
from widgets.desk.inks import expert_line, inks, paint_chip
from widgets.panels.panel_parts import (
    EmptyHint,
    NoteLine,
    PaintedLine,
    bold,
    column,
    dim,
    fit_pool,
    scroller,
    squeezed,
)
from widgets.panels.state import ExpertFacts, InspectorState

QUALITY_TEXT = {
    "exact": "Exact for this recipe",
    "estimate": "Estimate: a linear model of the method",
    "stale": "Of an older recipe, being counted anew",
}
FACTS_TIP = """‖τ‖: norm of the expert's task vector here
share, bar: part of the squared change that is this expert's
cosine: of its task vector with the merged change
kept: share of weights the method keeps"""
_MOST_NAMES = 12
_LEFT = int(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter | Qt.TextFlag.TextSingleLine)
_RIGHT = int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter | Qt.TextFlag.TextSingleLine)


class Inspector(QWidget):
    """The selected cells: how large, which coefficients, what each expert does there.

    Signals:
        clearOverridesRequested: Remove finer coefficients.
    """

    clearOverridesRequested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("inspector")
        self.state = InspectorState()
        self._cards: list[ExpertFactsCard] = []
        self._notes: list[NoteLine] = []
        self._scores: list[ScoreLine] = []
        self._empty = EmptyHint("faders", "Nothing selected", "Select cells on the desk to see what they do.")
        inside = QWidget()
        self._layout = column(inside, 7)
        self._make_head()
        self._card_box, self._note_box, self._score_box = (self._section() for _ in range(3))
        self._clear = QPushButton()
        self._clear.setObjectName("clear-overrides")
        self._clear.setToolTip("Finer coefficients inside the selection hide the one you set here.")
        self._clear.clicked.connect(self.clearOverridesRequested)
        self._layout.addWidget(self._clear)
        self._names: list[ElidedLabel] = []
        self._names_title = _section_title("Tensors")
        self._layout.addWidget(self._names_title)
        self._name_box = self._section()
        self._name_box.setSpacing(2)
        self._layout.addStretch(1)
        self._area = scroller(inside, "Inspector")
        outer = column(self, 0, 0)
        outer.addWidget(self._area)
        outer.addWidget(self._empty)
        self.set_state(self.state)

    def set_state(self, state: InspectorState) -> None:
        """Show other cells."""
        old, self.state = self.state, state
        self._empty.setVisible(not state.title)
        self._area.setVisible(bool(state.title))
        if not state.title:
            return
        if (state.title, state.tensors, state.weights, state.names) != (old.title, old.tensors, old.weights, old.names):
            self._show_subject()
        merged = merged_text(state)
        self._merged.show_text(merged)
        self._merged.setVisible(bool(merged))
        self._quality.show_quality(state.quality)
        self._show_experts()
        self._show_notes()
        if state.overrides:
            self._clear.setText(f"Clear {plural(state.overrides, 'finer coefficient')}")
        self._clear.setVisible(state.overrides > 0)

    def _show_subject(self) -> None:
        state = self.state
        self._title.setText(state.title)
        self._size.setText(f"{plural(state.tensors, 'tensor')} · {count_text(state.weights)} weights")
        lines = names_lines(state)
        self._names_title.setVisible(bool(lines))
        fit_pool(self._names, len(lines), _name_label, self._name_box)
        for label, line in zip(self._names, lines, strict=True):
            label.setText(line)

    def _make_head(self) -> None:
        self._title = squeezed(bold(PlainLabel(wrap=True), 1.15))
        self._size, self._merged = squeezed(dim(PlainLabel(wrap=True))), PaintedLine()
        self._merged.setToolTip(
            tip("change: ‖Δ‖ as a share of the base's norm\ncancelled: share of the experts' changes that cancel out")
        )
        self._quality = QualityLine()
        for widget in (self._title, self._size, self._merged, self._quality):
            self._layout.addWidget(widget)

    def _section(self) -> QVBoxLayout:
        box = QVBoxLayout()
        box.setSpacing(9)
        self._layout.addLayout(box)
        return box

    def _show_experts(self) -> None:
        state = self.state
        fit_pool(self._cards, len(state.experts), ExpertFactsCard, self._card_box)
        for card, facts in zip(self._cards, state.experts, strict=True):
            card.show_facts(facts, state.quality)

    def _show_notes(self) -> None:
        state = self.state
        fit_pool(self._notes, len(state.notes), NoteLine, self._note_box)
        for line, note in zip(self._notes, state.notes, strict=True):
            line.show_note(note.severity, note.message, note.hint)
        fit_pool(self._scores, len(state.scores), ScoreLine, self._score_box)
        for place, (score, (task, text)) in enumerate(zip(self._scores, state.scores, strict=True)):
            score.show_score(task, text, first=place == 0)


class QualityLine(QWidget):
    """Whether the numbers are exact: a mark (filled, half, hatched) and a sentence."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._quality = "exact"
        self._label = squeezed(dim(PlainLabel(wrap=True)))
        row = QHBoxLayout(self)
        row.setContentsMargins(18, 0, 0, 0)
        row.addWidget(self._label)

    def show_quality(self, quality: str) -> None:
        """Show another quality."""
        self._quality = quality
        self._label.setText(QUALITY_TEXT[quality])
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        """A dot: full for exact, an outline for an estimate, hatched for stale."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        box = QRectF(1, min(self.height() / 2 - 5, 5), 10, 10)
        painter.setPen(QColor(theme().dim))
        if self._quality == "exact":
            painter.setBrush(QColor(theme().ok))
        elif self._quality == "stale":
            painter.setBrush(inks().stale)
        painter.drawEllipse(box)
        painter.end()


class ExpertFactsCard(QWidget):
    """One expert within the selection: chip, name, coefficient; a bar of its share; two lines of facts.

    Painted as a whole: it changes with every move of a fader, and labels would lay the panel out each time.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._facts, self._quality, self._name = ExpertFacts(index=0, name="", low=0, high=0), "", ""
        self._line = self.fontMetrics().height()
        self.setFixedHeight(3 * self._line + 20)
        self.setToolTip(tip(FACTS_TIP))

    def show_facts(self, facts: ExpertFacts, quality: str) -> None:
        """Show other facts."""
        if facts == self._facts and quality == self._quality:
            return
        if facts.name != self._facts.name:
            self._name = plain(facts.name, 200)
        self._facts, self._quality = facts, quality
        values = f"coefficient {range_text(facts.low, facts.high)}, {', '.join(facts_texts(facts))}"
        self.setAccessibleName(f"{expert_letter(facts.index)}, {self._name}, {values}")
        self.setAccessibleDescription(QUALITY_TEXT[quality])
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Three lines and a bar."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        self._paint_head(painter)
        self._paint_share(painter, self._line + 8)
        painter.setPen(QColor(theme().dim))
        texts, top = facts_texts(self._facts), self._line + 16
        half = self.width() // 2
        for place, text in enumerate(texts):
            box = QRect(half * (place % 2), top + self._line * (place // 2), half - 4, self._line)
            painter.drawText(box, _LEFT, text)
        painter.end()

    def _paint_head(self, painter: QPainter) -> None:
        facts, side = self._facts, self._line + 2
        painter.save()
        paint_chip(painter, QRectF(0, 1, side, side), facts.index, expert_letter(facts.index), facts.is_muted)
        painter.restore()
        painter.setPen(QColor(theme().text))
        value = range_text(facts.low, facts.high)
        painter.save()
        font = QFont(self.font())
        font.setBold(True)
        painter.setFont(font)
        width = painter.fontMetrics().horizontalAdvance(value) + 2
        painter.drawText(QRect(self.width() - width, 2, width, self._line), _RIGHT, value)
        painter.restore()
        room = self.width() - width - side - 12
        name = painter.fontMetrics().elidedText(self._name, Qt.TextElideMode.ElideMiddle, room)
        painter.drawText(QRect(side + 6, 2, room, self._line), _LEFT, name)

    def _paint_share(self, painter: QPainter, top: int) -> None:
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(theme().track))
        painter.drawRoundedRect(QRectF(0, top, self.width(), 4), 2, 2)
        share = self._facts.share
        if share is not None and share > 0 and not self._facts.is_muted:
            painter.setBrush(expert_line(self._facts.index))
            painter.drawRoundedRect(QRectF(0, top, max(4.0, self.width() * min(1.0, share)), 4), 2, 2)


class ScoreLine(QWidget):
    """A task and its quick-eval result; the first one has the section's title above it."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._shown = ("", "", False)
        self._title, self._task, self._text = _section_title("Quick eval"), ElidedLabel(), PlainLabel()
        self._text.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        row = QHBoxLayout()
        row.addWidget(self._task, 1)
        row.addWidget(self._text)
        layout = column(self, 4, 0)
        layout.addWidget(self._title)
        layout.addLayout(row)

    def show_score(self, task: str, text: str, first: bool) -> None:
        """Show another score."""
        if (task, text, first) == self._shown:
            return
        self._shown = task, text, first
        self._title.setVisible(first)
        self._task.setText(task)
        self._text.setText(text)


def merged_text(state: InspectorState) -> str:
    """Like "change 2.1 % · cancelled 14.2 %", only what is known."""
    parts = (("change", state.change), ("cancelled", state.cancelled))
    return " · ".join(f"{word} {percent_text(value)}" for word, value in parts if value is not None)


def facts_texts(facts: ExpertFacts) -> list[str]:
    """Like ["‖τ‖ 3.81", "share 42.0 %", "cosine 0.12", "kept 20.0 %"], only what is known."""
    if facts.is_muted:
        return ["muted", *([f"{NORM} {number_text(facts.norm)}"] if facts.norm is not None else [])]
    parts = [f"{NORM} {number_text(facts.norm)}"] if facts.norm is not None else []
    if facts.share is not None:
        parts.append(f"share {percent_text(facts.share)}")
    if facts.cosine is not None:
        parts.append(f"cosine {number_text(facts.cosine)}")
    if facts.kept is not None:
        parts.append(f"kept {percent_text(facts.kept)}")
    return parts or ["not measured yet"]


def names_lines(state: InspectorState) -> list[str]:
    """Names of some tensors, and how many more there are."""
    shown = [plain(n, 200) for n in state.names[:_MOST_NAMES]]
    rest = state.tensors - len(shown)
    return [*shown, f"and {rest:,} more".replace(",", " ")] if rest > 0 and shown else shown


def _name_label() -> ElidedLabel:
    return dim(ElidedLabel(mode=Qt.TextElideMode.ElideMiddle))


def _section_title(text: str) -> PlainLabel:
    return bold(PlainLabel(text))
