"""The score along a fader's range, drawn beside the fader while it is held."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from PySide6.QtCore import QEvent, QPointF, QRect, QRectF, Qt
from PySide6.QtGui import QPainter, QPainterPath, QPaintEvent, QPen, QPixmap
from PySide6.QtWidgets import QWidget

from widgets.common.format import number_text
from widgets.desk.inks import inks, small
from widgets.desk.wording import number, one_line

_LEAST_SPAN = 0.04
"""The axis shows at least so much, so that noise does not look like a mountain."""
Span = tuple[float, float]


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
        unit: "%" for shares, else the metric's unit, behind plain numbers.
        places: Digits behind the point of plain numbers.
        higher_is_better: Which end is the better one.
    """

    title: str
    values: np.ndarray
    shares: np.ndarray
    nodes: np.ndarray
    here: float
    is_estimate: bool
    unit: str = "%"
    places: int = 1
    higher_is_better: bool = True

    @property
    def score(self) -> float:
        """Score at the fader's position."""
        return float(np.interp(self.here, self.values, self.shares))

    @property
    def best(self) -> tuple[float, float]:
        """Middle of the best stretch of the range, and the score there."""
        merits = self.shares if self.higher_is_better else -self.shares
        top = np.flatnonzero(merits >= merits.max() - 1e-12)
        runs = np.split(top, np.flatnonzero(np.diff(top) > 1) + 1)
        longest = max(runs, key=len)
        return float(self.values[longest].mean()), float(self.shares[top[0]])

    @property
    def ends(self) -> Span:
        """What the left and right edge of the plate mean."""
        low, high = float(self.shares.min()), float(self.shares.max())
        if self.unit != "%":
            gap = max((high - low) * 0.05, abs(low) * _LEAST_SPAN / 2, 1e-6)
            return low - gap, high + gap
        gap = max(_LEAST_SPAN - (high - low), 0.0) / 2
        low, high = max(0.0, low - gap - 0.01), min(1.0, high + gap + 0.01)
        return low, max(high, low + 0.01)

    @property
    def sentence(self) -> str:
        """The curve in words."""
        where, top = self.best
        about = "about " if self.is_estimate else ""
        return (f"{one_line(self.title)}: {about}{self.told(self.score, unit=False)} here, "
                f"best {self.told(top, unit=False)} near {number(where)}")  # fmt: skip

    def told(self, value: float, *, unit: bool = True, estimate: bool = False) -> str:
        """A value as it reads: "84.2 %", "≈84.2 %", "0.812 ρ"."""
        text = number_text(100 * value, 1) if self.unit == "%" else number_text(value, self.places)
        return f"{'≈' if estimate else ''}{text}{f' {self.unit}' if unit and self.unit else ''}"


class GhostCurve(QWidget):
    """A plate beside the fader; its vertical axis is the fader's own."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.ghost: Ghost | None = None
        self._low, self._high = 0.0, 0.0
        self._ends: Span = (0.0, 1.0)
        self._drawn: QPixmap | None = None
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
        self._low, self._high, self.ghost, self._drawn = low - box.top(), high - box.top(), ghost, None
        self._ends = ghost.ends
        self.setAccessibleName(f"Score along this fader. {ghost.sentence}")
        self.setGeometry(box)
        self.show()
        self.raise_()
        self.update()

    def move_to(self, here: float) -> None:
        """The fader is somewhere else now."""
        ghost = self.ghost
        if ghost is not None and here != ghost.here:
            self.ghost = replace(ghost, here=here)
            self.update()

    def clear(self) -> None:
        """Show nothing."""
        self.ghost = None
        self.hide()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Plate, curve, nodes, the fader's position, and the scores at both edges."""
        ghost = self.ghost
        if ghost is None:
            return
        if self._drawn is None or self._drawn.devicePixelRatio() != self.devicePixelRatioF():
            self._drawn = self._picture(ghost)  # while the fader moves, only its mark does
        painter = QPainter(self)
        painter.drawPixmap(0, 0, self._drawn)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, True)
        painter.setFont(small(self.font()))
        self._paint_here(painter, ghost)

    def changeEvent(self, event: QEvent) -> None:
        """Follow the theme."""
        super().changeEvent(event)
        if event.type() in (QEvent.Type.PaletteChange, QEvent.Type.FontChange):
            self._drawn = None

    def _picture(self, ghost: Ghost) -> QPixmap:
        """Everything that stays while the fader moves."""
        ratio, colours = self.devicePixelRatioF(), inks()
        made = QPixmap(self.size() * ratio)
        made.setDevicePixelRatio(ratio)
        painter = QPainter(made)
        painter.fillRect(self.rect(), colours.line)
        painter.fillRect(self.rect().adjusted(1, 1, -1, -1), colours.raised)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, True)
        painter.setFont(small(self.font()))
        self._paint_curve(painter, ghost)
        self._paint_words(painter, ghost)
        painter.end()
        return made

    def _at(self, ghost: Ghost, value: float, share: float) -> QPointF:
        """Where a position of the fader and a score lie."""
        (low, high), left, right = self._ends, 10.0, self.width() - 10.0
        first, span = float(ghost.values[0]), max(float(ghost.values[-1] - ghost.values[0]), 1e-9)
        y = self._low - (value - first) / span * (self._low - self._high)
        return QPointF(left + (share - low) / (high - low) * (right - left), y)

    def _paint_curve(self, painter: QPainter, ghost: Ghost) -> None:
        colours, left, right = inks(), 10.0, self.width() - 10.0

        def at(value: float, share: float) -> QPointF:
            return self._at(ghost, value, share)

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

    def _paint_here(self, painter: QPainter, ghost: Ghost) -> None:
        """The fader's mark and its score."""
        colours, here = inks(), self._at(ghost, ghost.here, ghost.score)
        painter.setPen(QPen(colours.dim, 1, Qt.PenStyle.DotLine))
        painter.drawLine(QPointF(4, here.y()), QPointF(self.width() - 4, here.y()))
        painter.setPen(QPen(colours.raised, 1))
        painter.setBrush(colours.text)
        painter.drawEllipse(here, 4.0, 4.0)
        painter.setPen(colours.text)
        top = QRectF(6, 2, self.width() - 12, painter.fontMetrics().height())
        painter.drawText(top, int(Qt.AlignmentFlag.AlignRight), ghost.told(ghost.score, estimate=ghost.is_estimate))

    def _paint_words(self, painter: QPainter, ghost: Ghost) -> None:
        colours, metrics, line = inks(), painter.fontMetrics(), painter.fontMetrics().height()
        widest = max((ghost.told(v, estimate=ghost.is_estimate) for v in self._ends), key=len)
        room = self.width() - 12 - metrics.horizontalAdvance(widest) - 6
        top = QRectF(6, 2, self.width() - 12, line)
        painter.setPen(colours.dim)
        painter.drawText(top, int(Qt.AlignmentFlag.AlignLeft),
                         metrics.elidedText(one_line(ghost.title), Qt.TextElideMode.ElideRight, int(room)))  # fmt: skip
        foot = QRectF(6, self.height() - line - 2, self.width() - 12, line)
        low, high = self._ends
        painter.drawText(foot, int(Qt.AlignmentFlag.AlignLeft), ghost.told(low, unit=ghost.unit == "%"))
        painter.drawText(foot, int(Qt.AlignmentFlag.AlignRight), ghost.told(high, unit=ghost.unit == "%"))
        painter.drawText(foot, int(Qt.AlignmentFlag.AlignHCenter), f"best at {number(ghost.best[0])}")
