"""The header of one expert's row: chip, name, mute, solo, gain, norm, score and badge."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QPoint, QRect, QRectF, QSize, Qt, Signal, SignalInstance
from PySide6.QtGui import QColor, QContextMenuEvent, QFont, QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QResizeEvent
from PySide6.QtWidgets import QWidget

from widgets.common.format import NORM
from widgets.desk.button import DeskButton
from widgets.desk.gain_box import GainBox
from widgets.desk.inks import expert_line, inks, paint_chip, small
from widgets.desk.state import ExpertRow, MetricRow
from widgets.desk.wording import expert_tip, number, one_line, plain, quality_text, significant

_MARKS = {"ok": "✓", "info": "i", "warning": "!", "error": "✕"}


class RowHead(QWidget):
    """Shows an `ExpertRow`; asks for changes by signals.

    Signals:
        muteClicked, soloClicked: (wanted state).
        gainEdited: (gain, gesture).
        gainFinished, gainCancelled: (gesture).
        menuRequested: (global position).
        handleDragged: (global y) while the handle is dragged; handleDropped: (global y) at its end.
        handleCancelled: Esc while dragging.
        moveRequested: (-1 up, +1 down) by keyboard.
        chosen: (Shift held) the name was clicked: select the row.
        leaveRequested: (row step): a key asks to go on to the cells (0) or another row's header.
    """

    muteClicked = Signal(bool)
    soloClicked = Signal(bool)
    gainEdited = Signal(float, str)
    gainFinished = Signal(str)
    gainCancelled = Signal(str)
    menuRequested = Signal(QPoint)
    handleDragged = Signal(int)
    handleDropped = Signal(int)
    handleCancelled = Signal()
    moveRequested = Signal(int)
    chosen = Signal(bool)
    leaveRequested = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.row = ExpertRow(id="", name="")
        self.is_current = False
        self._dragging = False
        self._handle, self._chip, self._name, self._badge, self._norm, self._score = (QRect() for _ in range(6))
        self.mute = DeskButton("M", "Mute", self, tight=True)
        self.solo = DeskButton("S", "Solo", self, tight=True)
        self.gain = GainBox(self)
        for button, signal in ((self.mute, self.muteClicked), (self.solo, self.soloClicked)):
            button.setCheckable(True)
            button.clicked.connect(lambda down, signal=signal: self._ask(signal, down))
        self.restyle()
        self.gain.edited.connect(self.gainEdited)
        self.gain.finished.connect(self.gainFinished)
        self.gain.cancelled.connect(self.gainCancelled)
        self.setMouseTracking(True)

    def _ask(self, signal: SignalInstance, down: bool) -> None:
        """Ask for a change; the buttons show what the owner makes of it."""
        signal.emit(down)
        self.mute.setChecked(self.row.muted)
        self.solo.setChecked(self.row.soloed)

    def restyle(self) -> None:
        """Take over the theme's colours and the size of the font."""
        self.mute.lit, self.solo.lit = inks().error, inks().selection
        for control in (self.mute, self.solo, self.gain):
            control.setFont(small(self.font()))
        self._arrange()

    def changeEvent(self, event: QEvent) -> None:
        """Follow the font."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange:
            self.restyle()

    def setRow(self, row: ExpertRow) -> None:
        """Show an expert."""
        if row == self.row:
            return
        self.row = row
        name = one_line(row.name)
        for button, down, word in ((self.mute, row.muted, "Mute"), (self.solo, row.soloed, "Solo")):
            button.setChecked(down)
            button.setAccessibleName(f"{word} {name}")
            button.setToolTip(plain(f"{word} {name} ({word[0]})"))
        self.gain.setValue(row.gain)
        self.gain.setAccessibleName(f"Gain of {name}, {number(row.gain)}")
        self.gain.setToolTip(plain(f"Gain of the whole row: {name}\nDrag, double-click to type, Del for 1."))
        self.setAccessibleName(f"Row {row.letter}, {name}")
        self.setAccessibleDescription(", ".join(t for t in (row.badge_text, row.score_text) if t))
        self.setToolTip(expert_tip(row))
        self._arrange()
        self.update()

    def setCurrent(self, current: bool) -> None:
        """Mark the row as the one with the keyboard's cell."""
        if current != self.is_current:
            self.is_current = current
            self.update()

    def sizeHint(self) -> QSize:
        """Room for the second line and a name of about 16 letters."""
        line = self.fontMetrics().height()
        return QSize(line * 13, line * 3)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Lay out for one, two or three lines."""
        self._arrange()

    def _arrange(self) -> None:
        line, pad = self.fontMetrics().height(), max(3, self.fontMetrics().height() // 4)
        button, gain = self.mute.sizeHint(), self.gain.sizeHint()
        height, width = self.height(), self.width()
        two = height >= line + button.height() + 3 * pad
        three = height >= 2 * line + button.height() + 5 * pad and (self.row.norm is not None or self.row.score_text)
        block = line + (pad + button.height() if two else 0) + (pad + line if three else 0)
        top = max(pad // 2, min((height - block) // 2, line))
        chip = line + 2
        self._handle = QRect(0, 0, line * 3 // 4, height)
        left = self._handle.right() + 2
        self._chip = QRect(left, top - 1, chip, chip)
        badge = line if self.row.badge else 0
        self._badge = QRect(width - pad - badge, top, badge, line)
        inner = self._chip.right() + pad + 2
        if two:
            self._name = QRect(inner, top, width - inner - badge - 2 * pad, line)
            y = self._chip.bottom() + pad
            self._put_controls(inner, y, button, gain)
            beyond = QRect(self.gain.geometry().right() + pad + 1, y, 0, button.height())
            beyond.setRight(width - pad)
            under = QRect(inner, y + button.height() + pad, width - inner - pad, line)
        else:
            start = width - badge - 2 * pad - 2 * button.width() - 2
            self._name = QRect(inner, top, start - pad - inner, line)
            self._put_controls(start, (height - button.height()) // 2, button, QSize(0, 0))
            beyond = under = QRect()
        self._norm, self._score = (under, under) if three else (beyond, QRect())
        self.gain.setVisible(two)

    def _put_controls(self, x: int, y: int, button: QSize, gain: QSize) -> None:
        self.mute.setGeometry(x, y, button.width(), button.height())
        self.solo.setGeometry(x + button.width() + 2, y, button.width(), button.height())
        self.gain.setGeometry(x + 2 * button.width() + 6, y, gain.width(), button.height())

    def paintEvent(self, event: QPaintEvent) -> None:
        """Everything except the buttons."""
        colours, painter, row = inks(), QPainter(self), self.row
        painter.fillRect(self.rect(), colours.raised if self.is_current else colours.panel)
        if self.is_current:
            painter.fillRect(QRect(0, 0, 3, self.height()), expert_line(row.index))
        painter.fillRect(QRect(0, self.height() - 1, self.width(), 1), colours.hair)
        self._paint_handle(painter)
        painter.setFont(small(self.font(), 0.92))
        paint_chip(painter, QRectF(self._chip), row.index, row.letter, row.silenced)
        font = QFont(self.font())
        font.setBold(self.is_current)
        painter.setFont(font)
        painter.setPen(colours.dim if row.silenced else colours.text)
        self._elided(painter, self._name, one_line(row.name), Qt.TextElideMode.ElideMiddle)
        if row.badge is not None and self._badge.width() > 0:
            font.setBold(True)
            painter.setFont(font)
            painter.setPen(colours.severity(row.badge))
            painter.drawText(self._badge, Qt.AlignmentFlag.AlignCenter, _MARKS[row.badge])
        self._paint_facts(painter)

    def _paint_facts(self, painter: QPainter) -> None:
        """Norm and score: under the buttons when there is a third line, else the shorter one beside them."""
        norm = f"{NORM} {significant(self.row.norm)}" if self.row.norm is not None else ""
        score = one_line(self.row.score_text)
        painter.setFont(small(self.font()))
        painter.setPen(inks().dim)
        if not self._score.isEmpty():
            gap = "   " if norm and score else ""
            self._elided(painter, self._score, norm + gap + score)
        elif not self._norm.isEmpty():
            fits = painter.fontMetrics().horizontalAdvance(norm) <= self._norm.width()
            if fits:
                self._elided(painter, self._norm, norm, side=Qt.AlignmentFlag.AlignRight)

    @staticmethod
    def _elided(
        painter: QPainter, box: QRect, text: str, mode: Qt.TextElideMode = Qt.TextElideMode.ElideRight,
        side: Qt.AlignmentFlag = Qt.AlignmentFlag.AlignLeft,
    ) -> None:  # fmt: skip
        shown = painter.fontMetrics().elidedText(text, mode, box.width())
        painter.drawText(box, side | Qt.AlignmentFlag.AlignVCenter | Qt.TextFlag.TextDontClip, shown)

    def _paint_handle(self, painter: QPainter) -> None:
        """Six dots."""
        colour: QColor = inks().dim if self.underMouse() else inks().faint
        centre = self._handle.center()
        for y in (-4, 0, 4):
            for x in (-1, 2):
                painter.fillRect(QRect(centre.x() + x + 1, centre.y() + y, 2, 2), colour)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Begin to move the row at its handle, or select it."""
        if event.button() != Qt.MouseButton.LeftButton:
            return
        if self._handle.contains(event.position().toPoint()):
            self._dragging = True
            self.setFocus()
        else:
            self.chosen.emit(bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier))

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Follow the pointer with the row's new place."""
        over = self._handle.contains(event.position().toPoint())
        self.setCursor(Qt.CursorShape.SizeVerCursor if over or self._dragging else Qt.CursorShape.ArrowCursor)
        if self._dragging:
            self.handleDragged.emit(event.globalPosition().toPoint().y())

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        """Put the row down."""
        if self._dragging:
            self._dragging = False
            self.handleDropped.emit(event.globalPosition().toPoint().y())

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        """Ask for the row's menu."""
        self.menuRequested.emit(event.globalPos())

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Arrows walk along the header's controls and rows; Alt+arrows move the row; Esc drops it."""
        key, alt = event.key(), bool(event.modifiers() & Qt.KeyboardModifier.AltModifier)
        if key == Qt.Key.Key_Escape and self._dragging:
            self._dragging = False
            self.handleCancelled.emit()
        elif key in (Qt.Key.Key_Up, Qt.Key.Key_Down):
            step = -1 if key == Qt.Key.Key_Up else 1
            (self.moveRequested if alt else self.leaveRequested).emit(step)
        elif key in (Qt.Key.Key_Left, Qt.Key.Key_Right, Qt.Key.Key_Escape):
            self._walk(key)
        elif key == Qt.Key.Key_Menu:
            self.menuRequested.emit(self.mapToGlobal(self._name.bottomLeft()))
        else:
            super().keyPressEvent(event)

    def _walk(self, key: int) -> None:
        """Mute, solo, gain, and on to the cells."""
        stops: list[QWidget] = [self.mute, self.solo, self.gain] if self.gain.isVisible() else [self.mute, self.solo]
        here = next((i for i, w in enumerate(stops) if w.hasFocus()), -1)
        if key == Qt.Key.Key_Left:
            stops[max(0, here - 1)].setFocus(Qt.FocusReason.TabFocusReason)
        elif key == Qt.Key.Key_Right and here + 1 < len(stops):
            stops[here + 1].setFocus(Qt.FocusReason.TabFocusReason)
        else:
            self.leaveRequested.emit(0)


class MetricHead(QWidget):
    """The header of a pinned row: title, "≈" or "stale", and an (i) with the explanation."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._metric: MetricRow | None = None

    def setMetric(self, metric: MetricRow) -> None:
        """Show a metric."""
        before = self._metric
        self._metric = metric
        if before is None or (before.title, before.quality, before.tooltip) != (
            metric.title, metric.quality, metric.tooltip,
        ):  # fmt: skip
            self.setAccessibleName(f"Merged model, {one_line(metric.title)}")
            self.setAccessibleDescription(one_line(f"{metric.tooltip} {quality_text(metric)}"))
            self.setToolTip(plain("\n".join(t for t in (metric.title, metric.tooltip, quality_text(metric)) if t)))
            self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Title at the left, mark and (i) at the right."""
        if self._metric is None:
            return
        colours, painter, metric = inks(), QPainter(self), self._metric
        painter.fillRect(self.rect(), colours.band)
        line = self.fontMetrics().height()
        icon = QRectF(self.width() - line * 1.3, (self.height() - line * 0.9) / 2, line * 0.9, line * 0.9)
        note = {"exact": "", "estimate": "≈ estimate", "stale": "updating"}[metric.quality]
        painter.setFont(small(self.font()))
        painter.setPen(colours.dim)
        room = painter.fontMetrics().horizontalAdvance(note)
        painter.drawText(
            QRectF(icon.left() - room - 6, 0, room + 2, self.height()), Qt.AlignmentFlag.AlignVCenter, note
        )
        if metric.tooltip:
            painter.setRenderHint(QPainter.RenderHint.Antialiasing, True)
            painter.drawEllipse(icon.adjusted(1, 1, -1, -1))
            painter.setFont(small(self.font(), 0.7))
            painter.drawText(icon, Qt.AlignmentFlag.AlignCenter, "i")
        font = QFont(self.font())
        font.setItalic(metric.quality == "estimate")
        painter.setFont(font)
        painter.setPen(colours.dim if metric.quality == "stale" else colours.text)
        box = QRect(line * 3 // 4 + 2, 0, int(icon.left()) - room - line - 6, self.height())
        shown = painter.fontMetrics().elidedText(one_line(metric.title), Qt.TextElideMode.ElideRight, box.width())
        painter.drawText(box, Qt.AlignmentFlag.AlignVCenter | Qt.TextFlag.TextDontClip, shown)
