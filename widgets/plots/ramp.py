"""The scale of a heatmap: its colours from the lowest to the highest value, with numbers beside them."""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QColor, QLinearGradient, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QWidget

from widgets.common.theme import theme
from widgets.desk.inks import small
from widgets.plots import colour_maps
from widgets.plots.state import Heat, shown

_BAR, _GAP, _STOPS = 10, 5, 16


class Ramp(QWidget):
    """A column of colours at the right of a heatmap; hidden while there is nothing to explain."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._state = Heat(title="")
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Expanding)
        self.hide()

    def set_state(self, state: Heat) -> None:
        """Explain another heatmap."""
        self._state = state
        self.setAccessibleName("Colours: " + " to ".join(self._words()[:: max(len(self._words()) - 1, 1)]))
        self.setVisible(bool(np.isfinite(state.values).any()) and not state.is_empty)
        self.updateGeometry()
        self.update()

    def _words(self) -> list[str]:
        """The lowest value, the middle where it matters, the highest."""
        state = self._state
        middle = [(state.low + state.high) / 2] if state.diverging else []
        low, *inner, high = [_short(v, state.unit) for v in (state.low, *middle, state.high)]
        known = state.values[np.isfinite(state.values)]
        is_above, is_below = bool((known > state.high).any()), bool((known < state.low).any())
        return [f"≤ {low}" if is_below else low, *inner, f"≥ {high}" if is_above else high]

    def sizeHint(self) -> QSize:
        """The bar and its longest number."""
        words = max(map(self.fontMetrics().horizontalAdvance, self._words()))
        return QSize(_BAR + _GAP + words + 4, 80)

    def paintEvent(self, event: QPaintEvent) -> None:
        """The colours, highest on top, and their numbers."""
        colours, state, painter = theme(), self._state, QPainter(self)
        table = colour_maps.table(state.diverging, colours.is_dark)
        line = self.fontMetrics().height()
        bar = QRectF(2, line / 2, _BAR, max(self.height() - line, 1))
        ramp = QLinearGradient(bar.bottomLeft(), bar.topLeft())
        for share in np.linspace(0, 1, _STOPS):
            ramp.setColorAt(float(share), QColor(*(int(v) for v in table[round(255 * share)])))
        painter.fillRect(bar, ramp)
        painter.setPen(QPen(QColor(colours.line), 1))
        painter.drawRect(bar)
        painter.setPen(QColor(colours.dim))
        painter.setFont(small(self.font()))
        words = self._words()
        for number, word in enumerate(words):
            y = bar.bottom() - bar.height() * number / max(len(words) - 1, 1)
            box = QRectF(bar.right() + _GAP, y - line / 2, self.width() - bar.right() - _GAP, line)
            painter.drawText(box, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, word)
        painter.end()


def _short(value: float, unit: str) -> str:
    """A value of the scale: "50 %", "−0.2"."""
    if unit == "%":
        percent = 100 * value
        return f"{percent:.0f} %" if abs(percent - round(percent)) < 0.05 else f"{percent:.1f} %"
    text = f"{value:g}" if abs(value - round(value, 2)) < 1e-9 else shown(value, unit)
    return text.replace("-", "−")
