"""The overlap views in tabs: where the task vectors agree, fight and share weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QContextMenuEvent, QKeyEvent
from PySide6.QtWidgets import QTabWidget, QVBoxLayout, QWidget

from widgets.plots.bars_view import BarsView
from widgets.plots.frame import PlotFrame
from widgets.plots.heat_view import HeatView
from widgets.plots.histogram_view import HistogramView
from widgets.plots.levels import RoleControls
from widgets.plots.selected import Marks
from widgets.plots.selection_bar import SelectionBar
from widgets.plots.signs_view import SignFrame
from widgets.plots.state import Bars, Heat, Histogram, UpSet
from widgets.plots.upset_view import UpSetView

View = Heat | Bars | UpSet | Histogram

_VIEWS: tuple[tuple[str, str, Callable[[], QWidget]], ...] = (
    ("cosine", "Cosine", HeatView), ("layers", "By layer", HeatView), ("signs", "Signs", SignFrame),
    ("masks", "Masks", UpSetView), ("roles", "Weight roles", BarsView), ("sizes", "Magnitudes", HistogramView),
)  # fmt: skip
_WITH_CONTROLS = ("masks", "roles")

Maker = Callable[[], tuple[QWidget, PlotFrame]]
"""Makes a page and the frame that is somewhere in it."""


class OverlapPanel(QWidget):
    """One tab for each view, made when it is first shown: all of them at once would take a fifth of a second.

    Attributes:
        controls: Sliders above masks and roles, of the views that were made.

    Signals:
        pairChosen: (expert index, expert index, layer name or "") of a cell that was clicked.
        cellChosen: (expert index, layer name) of a cell about one expert.
        roleChosen: (layer name, index of the part) of a segment of the weight roles.
        expertChosen: Index of an expert whose histogram was chosen.
        combinationChosen: Bits of the experts whose masks meet.
        densityDragged: (density, gesture).
        densityReleased: (gesture).
        viewChanged: Id of the tab on show; only that one needs numbers.
        told: A sentence worth a notification.
        strictnessMoved: (index of lambda, gesture).
        cutMoved: (k of Consensus, gesture).
        consensusWanted: Use Consensus with this k.
        weightingChosen: Whether the sign conflict is weighted by magnitude.
    """

    pairChosen = Signal(int, int, str)
    cellChosen = Signal(int, str)
    roleChosen = Signal(str, int)
    expertChosen = Signal(int)
    combinationChosen = Signal(int)
    densityDragged = Signal(float, str)
    densityReleased = Signal(str)
    viewChanged = Signal(str)
    told = Signal(str)
    strictnessMoved = Signal(int, str)
    cutMoved = Signal(int, str)
    consensusWanted = Signal(int)
    weightingChosen = Signal(bool)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("overlap")
        self._tabs = QTabWidget()
        self._tabs.setDocumentMode(True)
        self._tabs.tabBar().setDrawBase(False)  # a line above the tabs, which they would cut into pieces
        self._makers: dict[str, Maker] = {}
        self._rooms: dict[str, QVBoxLayout] = {}
        self._frames: dict[str, PlotFrame] = {}
        self._marks = Marks()
        self.controls: dict[str, RoleControls] = {}
        for name, title, view in _VIEWS:
            self.add_page(name, title, partial(self._framed, name, view))
        self._tabs.currentChanged.connect(self._turned)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        self.bar = SelectionBar()
        layout.addWidget(self.bar)
        layout.addWidget(self._tabs)

    def _framed(self, name: str, make: Callable[[], QWidget]) -> tuple[QWidget, PlotFrame]:
        """A view of our own in its frame, connected."""
        made = make()
        frame = made if isinstance(made, PlotFrame) else PlotFrame(made)
        if name in _WITH_CONTROLS:
            self._add_controls(name, frame)
        if isinstance(frame, SignFrame):
            frame.weightingChosen.connect(self.weightingChosen)
        self._connect(name, frame.view)
        return frame, frame

    def _connect(self, name: str, view: Any) -> None:
        if name == "cosine":
            view.cellChosen.connect(lambda r, c: self.pairChosen.emit(r, c, ""))
        elif name == "layers":
            view.cellChosen.connect(
                lambda r, c: self.pairChosen.emit(*view.state.row_experts[r], view.state.columns[c])
            )
        elif name == "signs":
            view.cellChosen.connect(lambda r, c: self.cellChosen.emit(r, view.state.columns[c]))
        elif name == "masks":
            view.combinationChosen.connect(self.combinationChosen)
        elif name == "roles":
            view.partChosen.connect(lambda c, part: self.roleChosen.emit(view.state.columns[c], part))
            view.cutDragged.connect(self.cutMoved)
        elif name == "sizes":
            view.expertChosen.connect(self.expertChosen)
            view.densityDragged.connect(self.densityDragged)
            view.densityReleased.connect(self.densityReleased)

    def _add_controls(self, name: str, frame: PlotFrame) -> None:
        """Sliders above the plot."""
        controls = self.controls[name] = RoleControls(with_cut=name == "roles")
        frame.add_controls(controls)
        controls.strictnessMoved.connect(self.strictnessMoved)
        controls.cutMoved.connect(self.cutMoved)
        controls.consensusWanted.connect(self.consensusWanted)

    def add_page(self, name: str, title: str, make: Maker) -> None:
        """Add a tab at the end, whose view is made when it is first shown."""
        self._makers[name] = make
        page = QWidget()
        room = self._rooms[name] = QVBoxLayout(page)
        room.setContentsMargins(0, 0, 0, 0)
        self._tabs.addTab(page, title)

    def _turned(self, _: int) -> None:
        """Tell first, so that its numbers are on their way, and make the view on show if it is not there yet."""
        self.viewChanged.emit(self.current)
        self.frame(self.current)

    def set_marks(self, marks: Marks) -> None:
        """Show the same selection in every view that can."""
        self._marks = marks
        for frame in self._frames.values():
            _mark(frame, marks)

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        """What can be done with the selection."""
        self.bar.menu().popup(event.globalPos())

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Escape selects nothing."""
        if event.key() == Qt.Key.Key_Escape and self.bar.state.text:
            self.bar.clearRequested.emit()
        else:
            super().keyPressEvent(event)

    @property
    def current(self) -> str:
        """Id of the tab on show."""
        return list(self._makers)[self._tabs.currentIndex()]

    def show_view(self, name: str) -> None:
        """Bring a tab to the front."""
        self._tabs.setCurrentIndex(list(self._makers).index(name))

    def frame(self, name: str) -> PlotFrame:
        """The frame of a view; it is made, if nobody wanted it before."""
        if name not in self._frames:
            page, frame = self._makers[name]()
            frame.told.connect(self.told)
            self._frames[name] = frame
            self._rooms[name].addWidget(page)
            _mark(frame, self._marks)
        return self._frames[name]

    def set_state(self, name: str, state: View) -> None:
        """Show something in a view."""
        self.frame(name).set_state(state)


def _mark(frame: PlotFrame, marks: Marks) -> None:
    if hasattr(frame.view, "set_marks"):
        frame.view.set_marks(marks)
