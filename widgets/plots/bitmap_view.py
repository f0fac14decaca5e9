"""A matrix as pixels: wheel zooms about the cursor, dragging pans, keys do both; drawn from tiles only."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from PySide6.QtCore import QEvent, QPointF, QRectF, QSize, Qt, QTimer, Signal
from PySide6.QtGui import QColor, QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QPen, QResizeEvent, QWheelEvent
from PySide6.QtWidgets import QWidget

from engine.analyse.bitmap import TILE, levels_of
from widgets.common.theme import theme
from widgets.plots import bitmap_marks as marks
from widgets.plots.bitmap_letters import FROM_SCALE, Letters
from widgets.plots.bitmap_state import Bitmap, colour_table
from widgets.plots.bitmap_tiles import Place, TileStore

_LARGEST = 64.0
_ASK_MS = 12


class BitmapView(QWidget):
    """Draws a `Bitmap` from the tiles it was given and asks for those it lacks.

    Signals:
        tilesWanted: (places, middle first) that are on the screen and not known exactly.
        cursorMoved: (row, column) of the weight under the mouse or keyboard cursor, (-1, -1) for none.
        weightChosen: (row, column), by click or Enter.
        moved: The picture was panned or zoomed.
    """

    tilesWanted = Signal(object)
    cursorMoved = Signal(int, int)
    weightChosen = Signal(int, int)
    moved = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.state = Bitmap()
        self.store = TileStore()
        self.letters = Letters()
        self.scale = 1.0
        self.left, self.top = 0.0, 0.0
        self._cursor = (-1, -1)
        self._grip: QPointF | None = None
        self._dragged = False
        self._fitted = True
        self._sample: Place | None = None
        self.is_posing = False
        self._ask = QTimer(self, interval=_ASK_MS, singleShot=True)
        self._ask.timeout.connect(self._request)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setMouseTracking(True)
        self.setMinimumSize(160, 96)
        self.setSizePolicy(self.sizePolicy().Policy.Expanding, self.sizePolicy().Policy.Expanding)

    def sizeHint(self) -> QSize:
        """Room for a picture."""
        return QSize(640, 300)

    def set_state(self, state: Bitmap) -> None:
        """Show another matrix or mode; the place stays while the matrix is the same."""
        before, self.state = self.state, state
        if state.key != before.key:
            self.store.clear()
            self._sample = None
        self.store.recolour(colour_table(state))
        if (state.tensor, state.rows, state.columns) != (before.tensor, before.rows, before.columns):
            self._cursor = (-1, -1)
            self.fit()
        self.update()
        self.ask()

    def put(self, place: Place, codes: np.ndarray, *, is_sample: bool = False) -> None:
        """Take a tile; a sample is drawn until exact tiles are there."""
        if is_sample:
            self._sample = place
        elif place == self._sample:
            self._sample = None
        self.store.put(place, codes)
        self.update()

    def forget_samples(self) -> None:
        """Drop the sampled picture; what is asked for next is exact."""
        if self._sample is not None:
            self.store.drop(self._sample)
            self._sample = None
        self.ask()

    # Where things are ----------------------------------------------------------------------------------------

    @property
    def level(self) -> int:
        """The level whose pixels are just not smaller than those of the screen."""
        finest = math.floor(math.log2(max(1 / (self.scale * self.devicePixelRatioF()), 1e-9)) + 1e-9)
        return min(max(finest, 0), levels_of(self.state.rows, self.state.columns) - 1)

    def fit(self) -> None:
        """Show all of it."""
        self._fitted = True
        self._set(self._fit_scale(), self.state.columns / 2, self.state.rows / 2)

    def _fit_scale(self) -> float:
        rows, columns = max(self.state.rows, 1), max(self.state.columns, 1)
        return min(self.width() / columns, self.height() / rows, _LARGEST)

    def look_at(self, row: float, column: float, scale: float | None = None) -> None:
        """Bring a weight to the middle, at so many pixels for each weight."""
        self._fitted = False
        self._set(self.scale if scale is None else scale, column, row)

    def pan(self, right: float, down: float) -> None:
        """Move the picture by logical pixels."""
        self._fitted = False
        self.left, self.top = self.left - right / self.scale, self.top - down / self.scale
        self._hold()

    def zoom(self, factor: float, about: QPointF | None = None) -> None:
        """Larger or smaller, keeping the weight under a point where it is."""
        spot = about or QPointF(self.width() / 2, self.height() / 2)
        x, y = self.left + spot.x() / self.scale, self.top + spot.y() / self.scale
        self.scale = min(max(self.scale * factor, min(self._fit_scale(), 1.0)), _LARGEST)
        self._fitted = self.scale <= self._fit_scale() and factor < 1
        self.left, self.top = x - spot.x() / self.scale, y - spot.y() / self.scale
        self._hold()

    def _set(self, scale: float, x: float, y: float) -> None:
        self.scale = max(scale, 1e-6)
        self.left, self.top = x - self.width() / 2 / self.scale, y - self.height() / 2 / self.scale
        self._hold()

    def _hold(self) -> None:
        """Keep the picture on the screen: centred where there is more room than picture."""
        for name, size, room in (("left", self.state.columns, self.width()), ("top", self.state.rows, self.height())):
            most = size - room / self.scale
            setattr(self, name, most / 2 if most <= 0 else min(max(getattr(self, name), 0.0), most))
        self.moved.emit()
        self.update()
        self.ask()

    def weight_at(self, point: QPointF) -> tuple[int, int]:
        """The weight under a point, (-1, -1) outside."""
        row, column = (
            math.floor(self.top + point.y() / self.scale),
            math.floor(self.left + point.x() / self.scale),
        )
        inside = 0 <= row < self.state.rows and 0 <= column < self.state.columns
        return (row, column) if inside else (-1, -1)

    def spot(self, row: float, column: float) -> QPointF:
        """Where the upper left corner of a weight is."""
        return QPointF((column - self.left) * self.scale, (row - self.top) * self.scale)

    def visible(self, level: int) -> Iterator[Place]:
        """Tiles of a level that are on the screen, the middle ones first."""
        size = (TILE << level) * self.scale
        rows, columns = -(-self.state.rows // (TILE << level)), -(-self.state.columns // (TILE << level))
        tops = range(max(0, int(self.top * self.scale / size)),
                     min(rows, math.ceil((self.top * self.scale + self.height()) / size)))  # fmt: skip
        lefts = range(max(0, int(self.left * self.scale / size)),
                      min(columns, math.ceil((self.left * self.scale + self.width()) / size)))  # fmt: skip
        middle = ((tops.start + tops.stop - 1) / 2, (lefts.start + lefts.stop - 1) / 2)
        places = [(level, r, c) for r in tops for c in lefts]
        yield from sorted(places, key=lambda p: abs(p[1] - middle[0]) + abs(p[2] - middle[1]))

    def missing(self) -> tuple[Place, ...]:
        """Tiles on the screen that are not known exactly."""
        if not self.state.key:
            return ()
        return tuple(p for p in self.visible(self.level) if p not in self.store or p == self._sample)

    def ask(self) -> None:
        """Ask again soon for what is missing."""
        if not self._ask.isActive():
            self._ask.start()

    def _request(self) -> None:
        if wanted := self.missing():
            self.tilesWanted.emit(wanted)

    def code_at(self, row: int, column: int) -> int | None:
        """The code of the pixel that a weight is in, at the level on show; None while it is not known."""
        level = self.level
        down, across = row >> level, column >> level
        codes = self.store.codes((level, down // TILE, across // TILE))
        return None if codes is None else int(codes[down % TILE, across % TILE])

    # Drawing -------------------------------------------------------------------------------------------------

    def paintEvent(self, event: QPaintEvent) -> None:
        """Tiles, letters where they fit, crosshair, overview."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), QColor(theme().window))
        level = self.level
        for place in self.visible(level):
            self._draw_tile(painter, place)
        if level == 0 and self.scale >= FROM_SCALE and self.state.mode in ("owner", "sign"):
            self.letters.draw(self, painter)
        if not self.is_posing:
            marks.crosshair(self, painter)
        if not self._fitted and self.scale > self._fit_scale() * 1.05:
            marks.overview(self, painter)
        if self.hasFocus() and not self.is_posing:
            painter.setPen(QPen(QColor(theme().accent), 2))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRect(self.rect().adjusted(1, 1, -1, -1))

    def _target(self, place: Place) -> QRectF:
        """Where a tile is drawn."""
        level, down, across = place
        size = TILE << level
        bottom = min((down + 1) * size, self.state.rows)
        right = min((across + 1) * size, self.state.columns)
        return QRectF(self.snapped(down * size, across * size), self.snapped(bottom, right))

    def snapped(self, row: int, column: int) -> QPointF:
        """A corner on a whole pixel of the screen, so that tiles join without seams and are drawn fast."""
        ratio, spot = self.devicePixelRatioF(), self.spot(row, column)
        return QPointF(round(spot.x() * ratio) / ratio, round(spot.y() * ratio) / ratio)

    def _draw_tile(self, painter: QPainter, place: Place) -> None:
        """The tile, or the part of a coarser one that covers it."""
        target = self._target(place)
        image = self.store.image(place)
        if image is not None:
            level, down, across = place
            size = TILE << level
            exact = QRectF(0, 0, min(size, self.state.columns - across * size) / (1 << level),
                           min(size, self.state.rows - down * size) / (1 << level))  # fmt: skip
            painter.drawImage(target, image, exact)
            return
        level, down, across = place
        for coarser in range(level + 1, levels_of(self.state.rows, self.state.columns)):
            shift = coarser - level
            image = self.store.image((coarser, down >> shift, across >> shift))
            if image is not None:
                side = TILE / (1 << shift)
                left = (across - (across >> shift << shift)) * side
                top = (down - (down >> shift << shift)) * side
                unit = self.scale * (1 << coarser)
                source = QRectF(left, top, target.width() / unit, target.height() / unit)
                painter.drawImage(target, image, source)
                return
        painter.fillRect(target, QColor(theme().panel))

    # Mouse and keys ------------------------------------------------------------------------------------------

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Zoom about the mouse."""
        self.zoom(1.25 ** (event.angleDelta().y() / 120), event.position())
        event.accept()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Take hold of the picture."""
        self.setFocus(Qt.FocusReason.MouseFocusReason)
        if event.button() == Qt.MouseButton.LeftButton:
            self._grip, self._dragged = event.position(), False

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Drag it, or move the cursor."""
        if self._grip is not None:
            step = event.position() - self._grip
            if self._dragged or step.manhattanLength() > 3:
                self._dragged, self._grip = True, event.position()
                self.setCursor(Qt.CursorShape.ClosedHandCursor)
                self.pan(step.x(), step.y())
            return
        self.move_to(*self.weight_at(event.position()))

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        """Let go; without a drag it was a click on a weight."""
        was_click, self._grip = self._grip is not None and not self._dragged, None
        self.update()
        self.unsetCursor()
        cell = self.weight_at(event.position())
        if was_click and cell != (-1, -1):
            self.move_to(*cell)
            self.weightChosen.emit(*cell)

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        """Closer."""
        self.zoom(2.0, event.position())

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Arrows move the cursor (Shift: far), + and − zoom about it, 0 shows all, Home the first, Enter chooses."""
        steps = {Qt.Key.Key_Up: (-1, 0), Qt.Key.Key_Down: (1, 0), Qt.Key.Key_Left: (0, -1), Qt.Key.Key_Right: (0, 1)}
        key, row, column = event.key(), *self._cursor
        about = None if row < 0 else self.spot(row + 0.5, column + 0.5)
        if key in steps and self.state.rows:
            self._step(*steps[Qt.Key(key)], far=bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier))
        elif key in (Qt.Key.Key_Plus, Qt.Key.Key_Equal):
            self.zoom(1.6, about)
        elif key == Qt.Key.Key_Minus:
            self.zoom(1 / 1.6, about)
        elif key == Qt.Key.Key_0:
            self.fit()
        elif key == Qt.Key.Key_Home and self.state.rows:
            self.move_to(0, 0)
            self._follow()
        elif key in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and row >= 0:
            self.weightChosen.emit(row, column)
        else:
            super().keyPressEvent(event)

    def _step(self, down: int, right: int, *, far: bool) -> None:
        """Move the cursor by one pixel of the level on show, or by sixteen."""
        size = (1 << self.level) * (16 if far else 1)
        row, column = self._cursor
        if row < 0:
            middle = self.weight_at(QPointF(self.width() / 2, self.height() / 2))
            self.move_to(*middle)
        else:
            self.move_to(
                min(max(row + down * size, 0), self.state.rows - 1),
                min(max(column + right * size, 0), self.state.columns - 1),
            )
        self._follow()

    def _follow(self) -> None:
        """Keep the cursor on the screen."""
        spot, edge = self.spot(self._cursor[0] + 0.5, self._cursor[1] + 0.5), 12.0
        right = min(max(spot.x(), edge), self.width() - edge) - spot.x()
        down = min(max(spot.y(), edge), self.height() - edge) - spot.y()
        if right or down:
            self.pan(right, down)

    def move_to(self, row: int, column: int) -> None:
        """Put the cursor on a weight, (-1, -1) for nowhere."""
        if (row, column) != self._cursor:
            self._cursor = (row, column)
            self.update()
            self.cursorMoved.emit(row, column)

    @property
    def cursor_weight(self) -> tuple[int, int]:
        """The weight under the cursor, (-1, -1) for none."""
        return self._cursor

    def leaveEvent(self, event: QEvent) -> None:
        """The mouse's cursor goes, the keyboard's stays."""
        if not self.hasFocus():
            self.move_to(-1, -1)
        super().leaveEvent(event)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Stay fitted."""
        if self._fitted:
            self.fit()
        else:
            self._hold()
        super().resizeEvent(event)

    def changeEvent(self, event: QEvent) -> None:
        """Follow the theme."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange:
            self.store.recolour(colour_table(self.state))
            self.update()
