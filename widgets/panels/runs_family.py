"""A map of merges of merges: models from left to right in layers, zoomed, pulled, searched and walked by keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QPoint, QPointF, QSize, Qt, Signal
from PySide6.QtWidgets import QButtonGroup, QHBoxLayout, QScrollArea, QStackedWidget, QToolButton, QVBoxLayout, QWidget

from widgets.common.text import PlainLabel
from widgets.panels.family_canvas import STEP, FamilyCanvas
from widgets.panels.panel_parts import dim, squeezed
from widgets.panels.runs_state import Family

if TYPE_CHECKING:
    from PySide6.QtGui import QResizeEvent

_SCOPES = (("kin", "Relatives", "Only what led to the run chosen and what came of it"),
           ("all", "All", "Every run that was made of a run or used in one"))  # fmt: skip
_LEAST_AT_FIRST = 0.1


class FamilyArea(QScrollArea):
    """Scrolls a canvas that is as large as its map; a smaller one is in the middle."""

    def __init__(self, canvas: FamilyCanvas) -> None:
        super().__init__()
        self._canvas = canvas
        self.setFrameShape(QScrollArea.Shape.NoFrame)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.setWidget(canvas)

    def refit(self) -> None:
        """The canvas takes the size that its map has at its scale."""
        self._canvas.resize(self._canvas.shape.size(self._canvas.scale))

    def fitting(self) -> float:
        """The scale at which everything is seen, at most 100 %."""
        whole, seen = self._canvas.shape.size(1.0), self.maximumViewportSize()
        return min(1.0, (seen.width() - 2) / max(whole.width(), 1), (seen.height() - 2) / max(whole.height(), 1))

    def zoom(self, scale: float, where: QPointF) -> None:
        """Another scale; the point `where` of the canvas stays where it is seen."""
        before = self._canvas.scale
        seen = where - QPointF(self.horizontalScrollBar().value(), self.verticalScrollBar().value())
        self._canvas.set_scale(scale)
        self.refit()
        there = where * (self._canvas.scale / before) - seen
        self.horizontalScrollBar().setValue(round(there.x()))
        self.verticalScrollBar().setValue(round(there.y()))

    def pull(self, by: QPoint) -> None:
        """The mouse pulls the map."""
        self.horizontalScrollBar().setValue(self.horizontalScrollBar().value() - by.x())
        self.verticalScrollBar().setValue(self.verticalScrollBar().value() - by.y())


class FamilyView(QWidget):
    """The map with a line of tools above it, and a hint in its place while there is none.

    Signals:
        chosen: Number of a run, by click or Enter.
        opened: Number of a run whose relatives are wanted.
        scopeWanted: "kin" or "all".
    """

    chosen = Signal(int)
    opened = Signal(int)
    scopeWanted = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.canvas = FamilyCanvas()
        self.area = FamilyArea(self.canvas)
        self._empty = PlainLabel("", "dim", wrap=True)
        self._empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._pages = QStackedWidget()
        self._pages.addWidget(self._empty)
        self._pages.addWidget(self.area)
        self._whole = layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addLayout(self._make_tools())
        layout.addWidget(self._pages, 1)
        self._is_fitted = True
        self.canvas.chosen.connect(self.chosen)
        self.canvas.opened.connect(self.opened)
        self.canvas.moved.connect(self._follow)
        self.canvas.dragged.connect(self.area.pull)
        self.canvas.zoomWanted.connect(self._zoom)
        self.set_state(Family())

    def _make_tools(self) -> QHBoxLayout:
        bar = QHBoxLayout()
        bar.setSpacing(4)
        self._scopes = QButtonGroup(self)
        for at, (name, title, hint) in enumerate(_SCOPES):
            button = self._button(title, hint, f"family-{name}")
            button.setCheckable(True)
            self._scopes.addButton(button, at)
            bar.addWidget(button)
        self._scopes.idClicked.connect(lambda at: self.scopeWanted.emit(_SCOPES[at][0]))
        self._summary = squeezed(dim(PlainLabel("")))
        bar.addSpacing(8)
        bar.addWidget(self._summary, 1)
        self._hits = dim(PlainLabel(""))
        bar.addWidget(self._hits)
        self._seek = [self._button("‹", "The one before that fits the filter (Shift+N)", "family-before"),
                      self._button("›", "The next one that fits the filter (N)", "family-next")]  # fmt: skip
        for button, step in zip(self._seek, (-1, 1), strict=True):
            button.clicked.connect(lambda _=False, s=step: self.canvas.next_hit(s))
            bar.addWidget(button)
        bar.addSpacing(8)
        self._tools = [self._button("−", "Smaller (− or Ctrl+wheel)", "family-out"),
                       self._button("100 %", "Actual size (1)", "family-actual"),
                       self._button("+", "Larger (+ or Ctrl+wheel)", "family-in"),
                       self._button("Fit", "Show the whole map (0)", "family-fit")]  # fmt: skip
        for button, factor in zip(self._tools, (1 / STEP, 1.0, STEP, 0.0), strict=True):
            button.clicked.connect(lambda _=False, f=factor: self._zoom(f, None))
            bar.addWidget(button)
        return bar

    @staticmethod
    def _button(title: str, hint: str, name: str) -> QToolButton:
        button = QToolButton()
        button.setText(title)
        button.setToolTip(hint)
        button.setAccessibleName(hint.split(" (")[0])
        button.setAutoRaise(True)
        button.setObjectName(name)
        button.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        return button

    def set_state(self, state: Family) -> None:
        """Show another map; the view stays where it is when only marks are new."""
        old = self.canvas.state
        self.canvas.set_state(state)
        self._empty.setText(state.empty)
        self._pages.setCurrentIndex(1 if state.nodes else 0)
        self._scopes.button(0 if state.scope == "kin" else 1).setChecked(True)
        self._scopes.button(0).setEnabled(bool(state.focus))
        self._show_words()
        if [(n.layer, n.place, n.id) for n in old.nodes] != [(n.layer, n.place, n.id) for n in state.nodes]:
            self._is_fitted = True
            self._refit()
        self._follow()

    def show_run(self, run: int) -> bool:
        """Put the cursor on a run; False where another map is wanted because this one is about another run."""
        state = self.canvas.state
        at = next((i for i, n in enumerate(state.nodes) if n.id == run), -1)
        if at < 0 or (state.scope == "kin" and state.focus != run):
            return False
        self._scopes.button(0).setEnabled(True)
        if at != self.canvas.at:
            self.canvas.go(at)
        return True

    def _show_words(self) -> None:
        nodes = self.canvas.state.nodes
        runs = sum(1 for n in nodes if n.id)
        words = [f"{runs:,} {'run' if runs == 1 else 'runs'} · {len(nodes) - runs:,} from elsewhere"] if nodes else []
        if self.canvas.state.more:
            words.append(f"{self.canvas.state.more:,} more are not drawn")
        if self.canvas.shape.quiet:
            words.append("lines of models from elsewhere show when you choose one")
        self._summary.setText(" · ".join(words))
        self._summary.setToolTip(" · ".join(words))
        hits = sum(n.is_hit for n in nodes)
        self._hits.setText(f"{hits:,} {'fits' if hits == 1 else 'fit'} the filter" if hits else "")
        for button in self._seek:
            button.setVisible(bool(hits))
        for button in self._tools:
            button.setEnabled(bool(nodes))

    def resizeEvent(self, event: QResizeEvent) -> None:
        """A map that is fitted stays fitted."""
        super().resizeEvent(event)
        if self._is_fitted:
            self._refit()

    def _refit(self) -> None:
        self._whole.activate()
        self._zoom(0.0, None, least=_LEAST_AT_FIRST)

    def _zoom(self, factor: float, where: QPointF | None, least: float = 0.0) -> None:
        self._is_fitted = factor == 0.0
        middle = QPointF(self.canvas.box(self.canvas.at).center()) if self.canvas.state.nodes else QPointF()
        scale = max(self.area.fitting(), least) if factor == 0.0 else 1.0 if factor == 1.0 else (
            self.canvas.scale * factor)  # fmt: skip
        self.area.zoom(scale, middle if where is None else where)
        if where is None:
            self._follow()
        self._tools[1].setText(f"{self.canvas.scale:.0%}".replace("%", " %"))

    def _follow(self) -> None:
        if self.canvas.state.nodes:
            box = self.canvas.box(self.canvas.at).toRect()
            room = QSize(box.width(), box.height()).boundedTo(self.area.viewport().size() / 2)
            self.area.ensureVisible(box.center().x(), box.center().y(), room.width(), room.height())
