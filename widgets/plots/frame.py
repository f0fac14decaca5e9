"""What every plot has around it: a title, what it means, fit, copy, picture, CSV and a table twin."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from PySide6.QtCore import QBuffer, QByteArray, QIODevice, QPoint, QRectF, Qt, Signal
from PySide6.QtGui import QColor, QImage, QKeyEvent, QKeySequence, QPainter, QPaintEvent, QPen
from PySide6.QtSvg import QSvgGenerator
from PySide6.QtWidgets import (
    QApplication,
    QFileDialog,
    QHBoxLayout,
    QMenu,
    QStackedWidget,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from engine.files.spreadsheet import SafeWriter
from widgets.common import clip
from widgets.common.pieces import icon_button
from widgets.common.text import ElidedLabel, PlainLabel
from widgets.common.theme import theme
from widgets.plots.posing import posed
from widgets.plots.state import Table, legible


class PlotFrame(QWidget):
    """A plot with its tools; shows what to do while there is nothing to plot.

    Signals:
        told: A sentence worth a notification ("Copied").
    """

    told = Signal(str)

    def __init__(self, view: QWidget, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.view: Any = view
        self._title, self._meaning = PlainLabel("", "section"), ElidedLabel("", "dim")
        self._empty = PlainLabel("", "dim", wrap=True)
        self._empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._empty.setFocusPolicy(Qt.FocusPolicy.StrongFocus)  # it is all there is to be heard then
        self._table = QTableWidget()
        self._table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        self._table.setTabKeyNavigation(False)  # Tab leaves the table
        self._table.verticalHeader().hide()
        self._has_focus = False
        self._pages = QStackedWidget()
        for page in (self._empty, view, self._table):
            self._pages.addWidget(page)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(10, 6, 10, 8)
        layout.setSpacing(4)
        self._head = self._bar()
        layout.addLayout(self._head)
        layout.addWidget(self._pages, 1)
        self._layout = layout
        app = QApplication.instance()
        if isinstance(app, QApplication):
            app.focusChanged.connect(self._on_focus)

    def _bar(self) -> QHBoxLayout:
        bar = QHBoxLayout()
        bar.addWidget(self._title)
        bar.addSpacing(8)
        bar.addWidget(self._meaning, 1)
        fit, copy = (
            icon_button("fit", "Show all (0)", name="plot-fit"),
            icon_button("copy", "Copy (Ctrl+C)", name="plot-copy"),
        )
        save, table = (
            icon_button("export", "Save…", name="plot-save"),
            icon_button("numbers", "As a table (T)", name="plot-table"),
        )
        table.setCheckable(True)
        fit.clicked.connect(lambda: self.view.fit())
        copy.clicked.connect(self.copy)
        save.clicked.connect(lambda: self._save_menu(save))
        table.toggled.connect(lambda _: self._turn())
        self._as_table = table
        self._tools = (fit, copy, save, table)
        for button in self._tools:
            bar.addWidget(button)
        return bar

    def add_controls(self, controls: QWidget) -> None:
        """Put something between the title and the plot."""
        self._layout.insertWidget(1, controls)

    def add_choice(self, choice: QWidget) -> None:
        """Put something between what the plot means and its tools."""
        self._head.insertWidget(self._head.indexOf(self._meaning) + 1, choice)

    def set_state(self, state: Any) -> None:
        """Show another value of the view's kind."""
        self.view.set_state(state)
        self._title.setText(state.title)
        self._meaning.setText(state.meaning)
        self._empty.setText(state.empty)
        self._table.setAccessibleName(f"{state.title}, table")
        self._turn()

    def _turn(self) -> None:
        """The page that fits: the hint, the plot or the table."""
        state = self.view.state
        is_empty = state.is_empty if hasattr(state, "is_empty") else not self.table()[1]  # a table takes its time
        for button in self._tools:
            button.setEnabled(not is_empty)
        self._meaning.setVisible(not is_empty)
        if is_empty:
            self._pages.setCurrentIndex(0)
        elif self._as_table.isChecked():
            self._fill(*self.table())
            self._pages.setCurrentIndex(2)
        else:
            self._pages.setCurrentIndex(1)

    def table(self) -> Table:
        """What the plot shows, as a table."""
        made: Table = self.view.state.table()
        return made

    def _fill(self, head: tuple[str, ...], body: tuple[tuple[str, ...], ...]) -> None:
        self._table.setColumnCount(len(head))
        self._table.setRowCount(len(body))
        set_heads(self._table, head)
        for r, cells in enumerate(body):
            for c, text in enumerate(cells):
                item = QTableWidgetItem(text)
                item.setTextAlignment(side_of(c))
                self._table.setItem(r, c, item)
        self._table.resizeColumnsToContents()

    # Where the keyboard is -----------------------------------------------------------------------------------

    def _on_focus(self, _: QWidget | None, now: QWidget | None) -> None:
        """Note when the view, a part of it or the hint has the keyboard; the table shows that itself."""
        has_focus = now is not None and now is not self._table and self._pages.isAncestorOf(now)
        if has_focus != self._has_focus:
            self._has_focus = has_focus
            self.update()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Ctrl+C copies, T turns to the table, Escape back to the plot."""
        can = self._as_table.isEnabled()
        if event.matches(QKeySequence.StandardKey.Copy) and can:
            self.copy()
        elif event.key() == Qt.Key.Key_T and not event.modifiers() and can:
            self._as_table.toggle()
            (self._table if self._as_table.isChecked() else self.view).setFocus(Qt.FocusReason.OtherFocusReason)
        elif event.key() == Qt.Key.Key_Escape and self._as_table.isChecked():
            self._as_table.setChecked(False)
            self.view.setFocus(Qt.FocusReason.OtherFocusReason)
        else:
            super().keyPressEvent(event)

    def paintEvent(self, event: QPaintEvent) -> None:
        """A ring around the view that has the keyboard."""
        super().paintEvent(event)
        if self._has_focus:
            painter = QPainter(self)
            painter.setRenderHint(QPainter.RenderHint.Antialiasing, True)
            painter.setPen(QPen(QColor(theme().accent), 2))
            painter.drawRoundedRect(QRectF(self._pages.geometry()).adjusted(-3, -3, 3, 3), 4, 4)
            painter.end()

    # Taking it elsewhere -------------------------------------------------------------------------------------

    def csv(self) -> str:
        """The table's numbers as CSV, with all their digits and with signs that programs read."""
        out, state = io.StringIO(), self.view.state
        head, body = state.numbers() if hasattr(state, "numbers") else self.table()
        SafeWriter(out, "\r\n").writerows([head, *([legible(cell) for cell in line] for line in body)])
        return out.getvalue()

    def picture(self, scale: float = 1.0) -> QImage:
        """The plot as pixels, without the cursor."""
        page = self._page()
        image = QImage(page.size() * scale, QImage.Format.Format_ARGB32_Premultiplied)
        image.setDevicePixelRatio(scale)
        image.fill(self.palette().base().color())
        painter = QPainter(image)
        with posed(self.view, self._table):
            page.render(painter, QPoint(0, 0))
        painter.end()
        return image

    def svg(self) -> bytes:
        """The plot as a drawing, without the cursor."""
        page, out = self._page(), QByteArray()
        buffer = QBuffer(out)
        buffer.open(QIODevice.OpenModeFlag.WriteOnly)
        made = QSvgGenerator()
        made.setOutputDevice(buffer)
        made.setViewBox(QRectF(page.rect()))
        painter = QPainter(made)
        with posed(self.view, self._table):
            page.render(painter, QPoint(0, 0))
        painter.end()
        return bytes(out.data())

    def _page(self) -> QWidget:
        return self._pages.currentWidget() or self

    def copy(self) -> None:
        """Picture and table to the clipboard."""
        clip.copy(self.csv(), self.picture(2.0))
        self.told.emit("Copied the plot as a picture and as CSV.")

    def _save_menu(self, button: QWidget) -> None:
        menu = QMenu(self)
        for label, scale in (("PNG", 1.0), ("PNG, 2×", 2.0), ("PNG, 3×", 3.0), ("PNG, 4×", 4.0)):
            menu.addAction(label).triggered.connect(lambda _=False, s=scale: self._save("png", s))
        menu.addAction("SVG").triggered.connect(lambda _=False: self._save("svg", 1.0))
        menu.addAction("CSV").triggered.connect(lambda _=False: self._save("csv", 1.0))
        menu.exec(button.mapToGlobal(button.rect().bottomLeft()))

    def _save(self, kind: str, scale: float) -> None:
        path, _ = QFileDialog.getSaveFileName(self, "Save plot", f"{self._title.text() or 'plot'}.{kind}", f"*.{kind}")
        if path:
            self.write(path if path.endswith(f".{kind}") else f"{path}.{kind}", kind, scale)

    def write(self, path: str, kind: str, scale: float = 1.0) -> bool:
        """Write a file; says what happened either way."""
        try:
            if kind == "png":
                if not self.picture(scale).save(path):
                    raise OSError("the picture could not be written")
            else:
                with open(path, "wb") as file:
                    file.write(self.svg() if kind == "svg" else self.csv().encode())
        except OSError as error:
            self.told.emit(f"{path} could not be written: {error.strerror or error}. Choose another folder.")
            return False
        self.told.emit(f"Saved {path}.")
        return True


def set_heads(table: QTableWidget, heads: Sequence[str]) -> None:
    """Write the heads of a table of a name and numbers, each above its text."""
    for column, text in enumerate(heads):
        item = QTableWidgetItem(text)
        item.setTextAlignment(side_of(column))
        table.setHorizontalHeaderItem(column, item)


def side_of(column: int) -> Qt.AlignmentFlag:
    """Names stand left, numbers right."""
    first = Qt.AlignmentFlag.AlignLeft if column == 0 else Qt.AlignmentFlag.AlignRight
    return first | Qt.AlignmentFlag.AlignVCenter
