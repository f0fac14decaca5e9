"""The painted map of merges of merges: boxes with names near by, blocks and lines from afar; mouse and keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QLineF, QPoint, QPointF, QRectF, Qt, Signal
from PySide6.QtGui import QColor, QFont, QFontMetrics, QHelpEvent, QPainter, QPen
from PySide6.QtWidgets import QApplication, QToolTip, QWidget

from widgets.common.text import plain, tip
from widgets.common.theme import theme
from widgets.panels.family_shape import FamilyShape, Unit
from widgets.panels.runs_state import Family

if TYPE_CHECKING:
    from collections.abc import Iterable

    from PySide6.QtGui import QFocusEvent, QKeyEvent, QMouseEvent, QPaintEvent, QWheelEvent

LETTERS = 24
SMALLEST, LARGEST, STEP = 0.06, 1.5, 1.25
BOTH_LINES, NAMES = 0.7, 0.4
"""Scales from which boxes show two lines, and their name alone."""
_PAGE = 10
_LEFT = int(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)


class FamilyCanvas(QWidget):
    """The map itself; an area around it scrolls.

    Signals:
        chosen: Number of a run, by click or Enter.
        opened: Number of a run, by double click.
        moved: The cursor went to another node.
        zoomWanted: (factor, where or None for the cursor's node) by wheel or key; 0 for everything, 1 for 100 %.
        dragged: The mouse pulls the map by so much.
    """

    chosen = Signal(int)
    opened = Signal(int)
    moved = Signal()
    zoomWanted = Signal(float, object)
    dragged = Signal(QPoint)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("runs-family-map")
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setAccessibleName("Lineage, empty")
        self.state, self.at, self.scale = Family(), 0, 1.0
        self.shape = FamilyShape(self.state, self._unit())
        self._up: frozenset[int] = frozenset()
        self._down: frozenset[int] = frozenset()
        self._near, self._kin = list[int](), list[int]()
        self._texts: dict[int, tuple[str, ...]] = {}
        self._lines: tuple[float, list[QLineF]] | None = None
        self._pressed: QPointF | None = None
        self._pulling = False

    def _unit(self) -> Unit:
        metrics = self.fontMetrics()
        return Unit(metrics.averageCharWidth() * LETTERS + 16, metrics.height() * 2 + 14)

    def set_state(self, state: Family) -> None:
        """Show another map; the cursor stays on its run, or goes to what the map is about."""
        before = self.state.nodes[self.at].id if self.state.nodes else 0
        self.state, self._lines, self._texts = state, None, {}
        self.shape = FamilyShape(state, self._unit())
        wanted = [i for i, n in enumerate(state.nodes) if n.is_focus] or [
            i for i, n in enumerate(state.nodes) if before and n.id == before]  # fmt: skip
        self._move(wanted[0] if wanted else 0)

    def box(self, at: int) -> QRectF:
        """Where a node is, in pixels of this widget."""
        return _scaled(self.shape.box(at), self.scale)

    def set_scale(self, scale: float) -> None:
        """Show it larger or smaller."""
        self.scale, self._lines, self._texts = min(max(scale, SMALLEST), LARGEST), None, {}
        self.update()

    def go(self, at: int) -> None:
        """Put the cursor on a node."""
        self._move(at)
        self.moved.emit()

    def _move(self, at: int) -> None:
        self.at = at
        self._up, self._down = self.shape.lineage(at) if self.state.nodes else (frozenset(), frozenset())
        edges = list(enumerate(self.state.edges))
        self._near = [e for e, ends in edges if at in ends]
        self._kin = [e for e, (a, b) in edges if e not in self.shape.quiet
                     and ((a in self._up and b in self._up) or (a in self._down and b in self._down))]  # fmt: skip
        self._say()
        self.update()

    def _say(self) -> None:
        if not self.state.nodes:
            self.setAccessibleName("Lineage, empty")
            return
        self.setAccessibleName(f"Lineage: {len(self.state.nodes):,} models from left to right")
        self.setAccessibleDescription(self.sentence(self.at))

    def sentence(self, at: int) -> str:
        """A node in words."""
        node, nodes = self.state.nodes[at], self.state.nodes
        sources = [nodes[a].title for a in self.shape.sources(at)]
        made, used = f", made from {', '.join(sources)}" if sources else "", len(self.shape.made_of(at))
        marks = ", starred" if node.star else ""
        marks += ", fits the filter" if node.is_hit else ""
        score = f", {node.score}" if node.score else ""
        return plain(f"{node.title}, {node.detail}{score}{made}, used in {used}{marks}", 600)

    # Painting ------------------------------------------------------------------------------------------------

    def paintEvent(self, event: QPaintEvent) -> None:
        """What touches the area that is to be painted: edges, then boxes."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        area = _scaled(QRectF(event.rect()), 1 / self.scale)
        if self.state.edges:
            self._paint_edges(painter, area)
        painter.setFont(self._font())
        nodes = self.shape.nodes_in(area).tolist()
        if self.scale < NAMES:
            nodes = self._paint_blocks(painter, nodes)
        for at in nodes:
            self._paint_node(painter, at)
        painter.end()

    def _font(self) -> QFont:
        font = self.font()
        if font.pointSizeF() > 0:
            font.setPointSizeF(font.pointSizeF() * max(self.scale, 0.55))
        return font

    def _paint_edges(self, painter: QPainter, area: QRectF) -> None:
        colours = theme()
        faint = QColor(colours.dim)
        if len(self.state.nodes) > 60 and colours.name != "contrast":
            faint.setAlpha(90)
        direct = {s for e in self._near for s in self.shape.ways[e]}
        kin = {s for e in self._kin for s in self.shape.ways[e]} - direct
        visible = self.shape.segments_in(area).tolist()
        if self.scale < BOTH_LINES:
            painter.setRenderHint(QPainter.RenderHint.Antialiasing, self.scale >= NAMES)
            painter.setPen(QPen(faint, 0.0))
            lines = self._far_lines()
            painter.drawLines([lines[s] for s in visible])
            painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        else:
            self._draw(painter, [s for s in visible if s not in kin and s not in direct], QPen(faint, 1.0))
        self._draw(painter, kin, QPen(QColor(colours.accent), 1.0))
        self._draw(painter, direct, QPen(QColor(colours.accent), 2.0))

    def _draw(self, painter: QPainter, segments: Iterable[int], pen: QPen) -> None:
        pen.setCosmetic(True)
        painter.save()
        painter.scale(self.scale, self.scale)
        painter.setPen(pen)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        for segment in segments:
            painter.drawPath(self.shape.path(segment))
        painter.restore()

    def _far_lines(self) -> list[QLineF]:
        """All segments as straight lines, made once for a scale."""
        if self._lines is None or self._lines[0] != self.scale:
            s = self.scale
            self._lines = s, [QLineF(a * s, b * s, c * s, d * s) for a, b, c, d in self.shape.segments]
        return self._lines[1]

    def _paint_blocks(self, painter: QPainter, nodes: list[int]) -> list[int]:
        """Runs that nothing is to be said about, all at once from afar; returns the others."""
        state, near = self.state.nodes, self._up | self._down
        plain_ones = {
            n for n in nodes if state[n].id and n not in near and not state[n].is_hit and not state[n].is_focus
        }
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(theme().disabled))
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)
        painter.drawRects([self.box(n) for n in plain_ones])
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        return [n for n in nodes if n not in plain_ones]

    def _paint_node(self, painter: QPainter, at: int) -> None:
        node, box, colours = self.state.nodes[at], self.box(at), theme()
        here = at == self.at
        kin = at in self._up or at in self._down
        edge = (colours.selection if (here and self.hasFocus()) or node.is_hit else
                colours.accent if node.is_focus or here or (kin and self.scale < NAMES) else colours.line)  # fmt: skip
        thick = 2.5 if here or node.is_focus or node.is_hit else 1.0
        painter.setPen(QPen(QColor(edge), thick, Qt.PenStyle.SolidLine if node.id else Qt.PenStyle.DashLine))
        painter.setBrush(QColor(colours.raised if node.id else colours.panel))
        if self.scale < NAMES:
            self._paint_block(painter, at, box)
            return
        painter.drawRoundedRect(box, 5 * self.scale, 5 * self.scale)
        self._write(painter, at, box)

    def _paint_block(self, painter: QPainter, at: int, box: QRectF) -> None:
        """A box from afar: no text, filled where it matters."""
        node, colours = self.state.nodes[at], theme()
        marked = colours.selection if node.is_hit or (at == self.at and self.hasFocus()) else (
            colours.accent if node.is_focus or at == self.at else "")  # fmt: skip
        if marked:
            painter.setBrush(QColor(marked))
            box = box.adjusted(-1, -1, 1, 1)
        elif node.id:
            painter.setBrush(QColor(colours.disabled))
        painter.drawRect(box)

    def _write(self, painter: QPainter, at: int, box: QRectF) -> None:
        inner = box.adjusted(8 * self.scale, 4 * self.scale, -8 * self.scale, -4 * self.scale)
        lines = self._texts.get(at)
        if lines is None:
            lines = self._texts[at] = self._elided(painter.fontMetrics(), at, round(inner.width()))
        high = inner.height() / len(lines)
        for line, text in enumerate(lines):
            painter.setPen(QColor(theme().dim if line else theme().text))
            painter.drawText(QRectF(inner.x(), inner.y() + line * high, inner.width(), high), _LEFT, text)

    def _elided(self, metrics: QFontMetrics, at: int, wide: int) -> tuple[str, ...]:
        """A node's lines as they fit."""
        node = self.state.nodes[at]
        title = metrics.elidedText(plain(f"★ {node.title}" if node.star else node.title, 200),
                                   Qt.TextElideMode.ElideMiddle, wide)  # fmt: skip
        detail = f"{node.score} · {node.detail}" if node.score else node.detail
        more = metrics.elidedText(plain(detail, 200), Qt.TextElideMode.ElideRight, wide)
        return (title, more) if self.scale >= BOTH_LINES else (title,)

    # Mouse ---------------------------------------------------------------------------------------------------

    def _node_at(self, position: QPointF) -> int:
        return self.shape.node_at(position / self.scale)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """A press may become a click or a pull."""
        if event.button() == Qt.MouseButton.LeftButton:
            self._pressed, self._pulling = event.globalPosition(), False

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Pull the map."""
        if self._pressed is None or not event.buttons() & Qt.MouseButton.LeftButton:
            return
        by = (event.globalPosition() - self._pressed).toPoint()
        if self._pulling or by.manhattanLength() >= QApplication.startDragDistance():
            self._pulling, self._pressed = True, event.globalPosition()
            self.setCursor(Qt.CursorShape.ClosedHandCursor)
            self.dragged.emit(by)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        """A click goes to a node and chooses its run."""
        clicked = self._pressed is not None and not self._pulling
        self._pressed, self._pulling = None, False
        self.unsetCursor()
        at = self._node_at(event.position())
        if clicked and at >= 0:
            self.go(at)
            self._choose()

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        """A double click shows a run's relatives alone."""
        at = self._node_at(event.position())
        if at >= 0 and self.state.nodes[at].id:
            self.opened.emit(self.state.nodes[at].id)

    def wheelEvent(self, event: QWheelEvent) -> None:
        """The wheel scrolls, with Ctrl it zooms."""
        if event.modifiers() & Qt.KeyboardModifier.ControlModifier:
            self.zoomWanted.emit(STEP ** (event.angleDelta().y() / 120), event.position())
            event.accept()
        else:
            event.ignore()

    def event(self, event: QEvent) -> bool:
        """Every box says what it is, from afar too."""
        if isinstance(event, QHelpEvent):
            at = self._node_at(QPointF(event.pos()))
            if at >= 0:
                QToolTip.showText(event.globalPos(), tip(self.sentence(at)), self)
            else:
                QToolTip.hideText()
            return True
        return super().event(event)

    # Keys ----------------------------------------------------------------------------------------------------

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Left goes to what a model was made from, right to what was made of it; see `resources/help/runs.md`."""
        if not self.state.nodes or not self._on_key(event):
            super().keyPressEvent(event)

    def _on_key(self, event: QKeyEvent) -> bool:
        keys, key = Qt.Key, Qt.Key(event.key())
        if key in (keys.Key_Left, keys.Key_Right):
            near = self.shape.sources(self.at) if key == keys.Key_Left else self.shape.made_of(self.at)
            self.go(min(near, key=lambda n: abs(self.shape.y[n] - self.shape.y[self.at]), default=self.at))
        elif key in _STEPS:
            order = self.shape.column(self.at)
            self.go(order[min(max(order.index(self.at) + _STEPS[key], 0), len(order) - 1)])
        elif key in (keys.Key_Home, keys.Key_End):
            pick = min if key == keys.Key_Home else max
            self.go(pick(range(len(self.state.nodes)), key=lambda n: (self.shape.x[n], self.shape.y[n])))
        elif key in (keys.Key_N, keys.Key_F3):
            self.next_hit(-1 if event.modifiers() & Qt.KeyboardModifier.ShiftModifier else 1)
        elif event.text() in _ZOOMS:
            self.zoomWanted.emit(_ZOOMS[event.text()], None)
        elif key in (keys.Key_Return, keys.Key_Enter, keys.Key_Space):
            self._choose()
        else:
            return False
        return True

    def hits(self) -> list[int]:
        """Nodes that fit the filter, from left to right and top to bottom."""
        found = [i for i, n in enumerate(self.state.nodes) if n.is_hit]
        return sorted(found, key=lambda n: (self.shape.x[n], self.shape.y[n]))

    def next_hit(self, step: int) -> None:
        """Go to the next (1) or the last (-1) node that fits the filter."""
        hits = self.hits()
        if hits:
            spots = {n: (self.shape.x[n], self.shape.y[n]) for n in (*hits, self.at)}
            beyond = [n for n in hits[::step] if (spots[n] > spots[self.at] if step > 0 else spots[n] < spots[self.at])]
            self.go((beyond or hits[::step])[0])

    def _choose(self) -> None:
        run = self.state.nodes[self.at].id
        if run:
            self.chosen.emit(run)

    def changeEvent(self, event: QEvent) -> None:
        """Other letters, other boxes."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange:
            self.set_state(self.state)

    def focusInEvent(self, event: QFocusEvent) -> None:
        """Show the cursor."""
        super().focusInEvent(event)
        self.update()

    def focusOutEvent(self, event: QFocusEvent) -> None:
        """Hide it."""
        super().focusOutEvent(event)
        self.update()


_STEPS = {Qt.Key.Key_Up: -1, Qt.Key.Key_Down: 1, Qt.Key.Key_PageUp: -_PAGE, Qt.Key.Key_PageDown: _PAGE}
_ZOOMS = {"+": STEP, "=": STEP, "-": 1 / STEP, "0": 0.0, "1": 1.0}


def _scaled(box: QRectF, by: float) -> QRectF:
    return QRectF(box.x() * by, box.y() * by, box.width() * by, box.height() * by)
