"""A map of merges of merges: models from left to right in layers, walked with the arrow keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QColor, QPainter, QPainterPath, QPen
from PySide6.QtWidgets import QScrollArea, QStackedWidget, QVBoxLayout, QWidget

from widgets.common.text import PlainLabel, plain
from widgets.common.theme import theme
from widgets.panels.runs_state import Family

if TYPE_CHECKING:
    from PySide6.QtGui import QFocusEvent, QKeyEvent, QMouseEvent, QPaintEvent

_GAP, _MARGIN, _LETTERS = 56, 14, 24


class FamilyView(QWidget):
    """The map with a hint in its place while there is none.

    Signals:
        chosen: Number of a run, by click or Enter.
    """

    chosen = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.canvas = FamilyCanvas()
        self.canvas.chosen.connect(self.chosen)
        self._empty = PlainLabel("", "dim", wrap=True)
        self._empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._more = PlainLabel("", "dim")
        self._area = QScrollArea()
        self._area.setFrameShape(QScrollArea.Shape.NoFrame)
        self._area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._area.setWidgetResizable(True)
        self._area.setWidget(self.canvas)
        self._pages = QStackedWidget()
        self._pages.addWidget(self._empty)
        self._pages.addWidget(self._area)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._pages, 1)
        layout.addWidget(self._more)
        self.canvas.moved.connect(self._follow)
        self.set_state(Family())

    def set_state(self, state: Family) -> None:
        """Show another map."""
        self.canvas.set_state(state)
        self._empty.setText(state.empty)
        self._pages.setCurrentIndex(1 if state.nodes else 0)
        self._more.setText(f"{state.more:,} more models are not drawn." if state.more else "")
        self._more.setVisible(bool(state.more))
        self._follow()

    def _follow(self) -> None:
        if self.canvas.state.nodes:
            box = self.canvas.box(self.canvas.at).toRect()
            self._area.ensureVisible(box.center().x(), box.center().y(), box.width(), box.height())


class FamilyCanvas(QWidget):
    """The painted map.

    Signals:
        chosen: Number of a run.
        moved: The cursor went to another node.
    """

    chosen = Signal(int)
    moved = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("runs-family-map")
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.state = Family()
        self.at = 0

    def set_state(self, state: Family) -> None:
        """Show another map; the cursor goes to what it is about."""
        self.state = state
        self.at = next((i for i, n in enumerate(state.nodes) if n.is_focus), 0)
        self._say()
        self.setMinimumSize(self._needed())
        self.update()

    def _needed(self) -> QSize:
        if not self.state.nodes:
            return QSize(0, 0)
        boxes = [self.box(i) for i in range(len(self.state.nodes))]
        return QSize(round(max(b.right() for b in boxes)) + _MARGIN, round(max(b.bottom() for b in boxes)) + _MARGIN)

    def box(self, at: int) -> QRectF:
        """Where a node is."""
        return self._spot(self.state.nodes[at].layer, self.state.nodes[at].place)

    def _spot(self, layer: int, place: float) -> QRectF:
        metrics = self.fontMetrics()
        wide, high = metrics.averageCharWidth() * _LETTERS + 16, metrics.height() * 2 + 14
        return QRectF(_MARGIN + layer * (wide + _GAP), _MARGIN + place * (high + 12), wide, high)

    def _say(self) -> None:
        nodes = self.state.nodes
        if not nodes:
            self.setAccessibleName("Lineage, empty")
            return
        node = nodes[self.at]
        sources = [nodes[a].title for a, b in self.state.edges if b == self.at]
        made = f", made from {', '.join(sources)}" if sources else ""
        self.setAccessibleName("Lineage: models from left to right")
        self.setAccessibleDescription(plain(f"{node.title}, {node.detail}{made}"))

    def paintEvent(self, event: QPaintEvent) -> None:
        """Edges, then boxes."""
        painter, colours = QPainter(self), theme()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        order = sorted(range(len(self.state.edges)), key=lambda e: self.at in self.state.edges[e])
        for edge in order:
            strong = self.at in self.state.edges[edge]
            painter.setPen(QPen(QColor(colours.accent if strong else colours.dim), 2.0 if strong else 1.0))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawPath(self._path(edge))
        for at in range(len(self.state.nodes)):
            self._paint_node(painter, at)
        painter.end()

    def _path(self, edge: int) -> QPainterPath:
        """A curve from box to box, level where it passes a layer."""
        a, b = self.state.edges[edge]
        bends = self.state.bends[edge] if edge < len(self.state.bends) else ()
        path = QPainterPath(QPointF(self.box(a).right(), self.box(a).center().y()))
        stops = [self._spot(*bend) for bend in bends]
        for at, box in enumerate((*stops, self.box(b))):
            here, there = path.currentPosition(), QPointF(box.left(), box.center().y())
            bend = QPointF((there.x() - here.x()) / 2, 0)
            path.cubicTo(here + bend, there - bend, there)
            if at < len(stops):
                path.lineTo(QPointF(box.right(), box.center().y()))
        return path

    def _paint_node(self, painter: QPainter, at: int) -> None:
        node, box, colours, metrics = self.state.nodes[at], self.box(at), theme(), self.fontMetrics()
        here = at == self.at and self.hasFocus()
        edge = colours.selection if here else colours.accent if node.is_focus else colours.line
        painter.setPen(QPen(QColor(edge), 2.5 if here or node.is_focus else 1.0,
                            Qt.PenStyle.SolidLine if node.id else Qt.PenStyle.DashLine))  # fmt: skip
        painter.setBrush(QColor(colours.raised if node.id else colours.panel))
        painter.drawRoundedRect(box, 5, 5)
        inner = box.adjusted(8, 5, -8, -5)
        half = inner.height() / 2
        for line, (text, colour) in enumerate(((node.title, colours.text), (node.detail, colours.dim))):
            painter.setPen(QColor(colour))
            shown = metrics.elidedText(plain(text, 200), Qt.TextElideMode.ElideMiddle, round(inner.width()))
            painter.drawText(QRectF(inner.x(), inner.y() + line * half, inner.width(), half),
                             int(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter), shown)  # fmt: skip

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """A click goes to a node and chooses its run."""
        for at in range(len(self.state.nodes)):
            if self.box(at).contains(event.position()):
                self._go(at)
                self._choose()
                return

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Left goes to what a model was made from, right to what was made of it, up and down to neighbours."""
        key = event.key()
        if not self.state.nodes:
            super().keyPressEvent(event)
        elif key in (Qt.Key.Key_Left, Qt.Key.Key_Right):
            back = key == Qt.Key.Key_Left
            near = [a if back else b for a, b in self.state.edges if (b if back else a) == self.at]
            self._go(min(near, key=lambda n: abs(self.state.nodes[n].place - self.state.nodes[self.at].place),
                         default=self.at))  # fmt: skip
        elif key in (Qt.Key.Key_Up, Qt.Key.Key_Down):
            self._go(self._beside(-1 if key == Qt.Key.Key_Up else 1))
        elif key in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space):
            self._choose()
        else:
            super().keyPressEvent(event)

    def _beside(self, step: int) -> int:
        here = self.state.nodes[self.at]
        column = sorted((n.place, i) for i, n in enumerate(self.state.nodes) if n.layer == here.layer)
        order = [i for _, i in column]
        return order[min(max(order.index(self.at) + step, 0), len(order) - 1)]

    def _go(self, at: int) -> None:
        self.at = at
        self._say()
        self.update()
        self.moved.emit()

    def _choose(self) -> None:
        run = self.state.nodes[self.at].id
        if run:
            self.chosen.emit(run)

    def focusInEvent(self, event: QFocusEvent) -> None:
        """Show the cursor."""
        super().focusInEvent(event)
        self.update()

    def focusOutEvent(self, event: QFocusEvent) -> None:
        """Hide it."""
        super().focusOutEvent(event)
        self.update()
