"""The score along a fader's range, drawn beside the fader while it is held."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PySide6.QtCore import QPointF, QRect, QRectF, Qt
from PySide6.QtGui import QPainter, QPainterPath, QPaintEvent, QPen
from PySide6.QtWidgets import QWidget

from widgets.common.format import number_text
from widgets.desk.inks import inks, small
from widgets.desk.wording import number, one_line

_LEAST_SPAN = 0.04
"""The axis shows at least so much, so that noise does not look like a mountain."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ghost:
    """One curve.

    Attributes:
        title: Whose score it is.
        values: (P,) positions of the fader, ascending.
        shares: (P,) score at each.
        nodes: (N, 2) position and score where the network was run; empty while all is estimated.
        here: Where the fader is.
        is_estimate: Whether the curve comes from the surrogate alone.
    """

    title: str
    values: np.ndarray
    shares: np.ndarray
    nodes: np.ndarray
    here: float
    is_estimate: bool

    @property
    def score(self) -> float:
        """Score at the fader's position."""
        return float(np.interp(self.here, self.values, self.shares))

    @property
    def best(self) -> tuple[float, float]:
        """Middle of the best stretch of the range, and the score there."""
        top = np.flatnonzero(self.shares >= self.shares.max() - 1e-12)
        runs = np.split(top, np.flatnonzero(np.diff(top) > 1) + 1)
        longest = max(runs, key=len)
        return float(self.values[longest].mean()), float(self.shares.max())

    @property
    def sentence(self) -> str:
        """The curve in words."""
        where, top = self.best
        about = "about " if self.is_estimate else ""
        return f"{one_line(self.title)}: {about}{points(self.score)} here, best {points(top)} near {number(where)}"


def points(share: float) -> str:
    """A share in percent points: "84.2"."""
    return number_text(100 * share, 1)


class GhostCurve(QWidget):
    """A plate beside the fader; its vertical axis is the fader's own."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.ghost: Ghost | None = None
        self._low, self._high = 0.0, 0.0
        self.setObjectName("ghost")
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)  # what lies below need not be painted with it
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.hide()

    def show_beside(self, cell: QRect, low: float, high: float, ghost: Ghost) -> None:
        """Show a curve.

        Args:
            cell: Of the fader, in the parent's coordinates.
            low: y of the range's lower end there.
            high: y of the upper end there.
            ghost: What to draw.
        """
        parent, line = self.parentWidget(), self.fontMetrics().height()
        width, head = 12 * line, line + 6
        box = QRect(cell.right() + 3, int(high) - head, width, int(low - high) + head + line + 8)
        if parent is not None:
            if box.right() > parent.width() - 2:
                box.moveRight(cell.left() - 3)
            box.moveTop(max(0, min(box.top(), parent.height() - box.height())))
        self._low, self._high, self.ghost = low - box.top(), high - box.top(), ghost
        self.setAccessibleName(f"Score along this fader. {ghost.sentence}")
        self.setGeometry(box)
        self.show()
        self.raise_()
        self.update()

    def move_to(self, here: float) -> None:
        """The fader is somewhere else now."""
        ghost = self.ghost
        if ghost is not None and here != ghost.here:
            self.ghost = Ghost(title=ghost.title, values=ghost.values, shares=ghost.shares, nodes=ghost.nodes,
                               here=here, is_estimate=ghost.is_estimate)  # fmt: skip
            self.update()

    def clear(self) -> None:
        """Show nothing."""
        self.ghost = None
        self.hide()

    def _ends(self, ghost: Ghost) -> tuple[float, float]:
        """What the left and right edge mean."""
        low, high = float(ghost.shares.min()), float(ghost.shares.max())
        gap = max(_LEAST_SPAN - (high - low), 0.0) / 2
        low, high = max(0.0, low - gap - 0.01), min(1.0, high + gap + 0.01)
        return low, max(high, low + 0.01)

    def paintEvent(self, event: QPaintEvent) -> None:
        """Plate, curve, nodes, the fader's position, and the scores at both edges."""
        ghost, colours, painter = self.ghost, inks(), QPainter(self)
        if ghost is None:
            return
        painter.fillRect(self.rect(), colours.line)
        painter.fillRect(self.rect().adjusted(1, 1, -1, -1), colours.raised)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, True)
        painter.setFont(small(self.font()))
        self._paint_curve(painter, ghost)
        self._paint_words(painter, ghost)

    def _paint_curve(self, painter: QPainter, ghost: Ghost) -> None:
        colours, ends = inks(), self._ends(ghost)
        left, right = 10.0, self.width() - 10.0
        first, span = float(ghost.values[0]), max(float(ghost.values[-1] - ghost.values[0]), 1e-9)

        def at(value: float, share: float) -> QPointF:
            y = self._low - (value - first) / span * (self._low - self._high)
            return QPointF(left + (share - ends[0]) / (ends[1] - ends[0]) * (right - left), y)

        painter.setPen(QPen(colours.hair, 1))
        for y in (self._low, self._high):
            painter.drawLine(QPointF(left, y), QPointF(right, y))
        path = QPainterPath(at(float(ghost.values[0]), float(ghost.shares[0])))
        for value, share in zip(ghost.values[1:], ghost.shares[1:], strict=True):
            path.lineTo(at(float(value), float(share)))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        style = Qt.PenStyle.DashLine if ghost.is_estimate else Qt.PenStyle.SolidLine
        painter.setPen(QPen(colours.accent, 2.0, style))
        painter.drawPath(path)
        painter.setPen(QPen(colours.accent, 1.2))
        painter.setBrush(colours.raised)
        for value, share in ghost.nodes:
            painter.drawEllipse(at(float(value), float(share)), 2.6, 2.6)
        here = at(ghost.here, ghost.score)
        painter.setPen(QPen(colours.dim, 1, Qt.PenStyle.DotLine))
        painter.drawLine(QPointF(left - 6, here.y()), QPointF(right + 6, here.y()))
        painter.setPen(QPen(colours.raised, 1))
        painter.setBrush(colours.text)
        painter.drawEllipse(here, 4.0, 4.0)

    def _paint_words(self, painter: QPainter, ghost: Ghost) -> None:
        colours, metrics, line = inks(), painter.fontMetrics(), painter.fontMetrics().height()
        score = f"{'≈' if ghost.is_estimate else ''}{points(ghost.score)} %"
        room = self.width() - 12 - metrics.horizontalAdvance(score) - 6
        top = QRectF(6, 2, self.width() - 12, line)
        painter.setPen(colours.text)
        painter.drawText(top, int(Qt.AlignmentFlag.AlignRight), score)
        painter.setPen(colours.dim)
        painter.drawText(top, int(Qt.AlignmentFlag.AlignLeft),
                         metrics.elidedText(one_line(ghost.title), Qt.TextElideMode.ElideRight, int(room)))  # fmt: skip
        foot = QRectF(6, self.height() - line - 2, self.width() - 12, line)
        low, high = self._ends(ghost)
        painter.drawText(foot, int(Qt.AlignmentFlag.AlignLeft), f"{points(low)} %")
        painter.drawText(foot, int(Qt.AlignmentFlag.AlignRight), f"{points(high)} %")
        painter.drawText(foot, int(Qt.AlignmentFlag.AlignHCenter), f"best at {number(ghost.best[0])}")
