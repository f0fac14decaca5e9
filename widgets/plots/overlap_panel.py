"""The overlap views in tabs: where the task vectors agree, fight and share weights."""

from __future__ import annotations

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
from widgets.plots.state import Bars, Heat, Histogram, UpSet
from widgets.plots.upset_view import UpSetView

View = Heat | Bars | UpSet | Histogram


class OverlapPanel(QWidget):
    """One tab for each view.

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

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("overlap")
        self._tabs = QTabWidget()
        self._tabs.setDocumentMode(True)
        self._frames: dict[str, PlotFrame] = {}
        views: tuple[tuple[str, str, QWidget], ...] = (
            ("cosine", "Cosine", HeatView()), ("layers", "By layer", HeatView()), ("signs", "Signs", HeatView()),
            ("masks", "Masks", UpSetView()), ("roles", "Weight roles", BarsView()),
            ("sizes", "Magnitudes", HistogramView()),
        )  # fmt: skip
        for name, title, view in views:
            frame = PlotFrame(view)
            frame.told.connect(self.told)
            self._frames[name] = frame
            self._tabs.addTab(frame, title)
        self._connect()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        self.bar = SelectionBar()
        layout.addWidget(self.bar)
        layout.addWidget(self._tabs)

    def _connect(self) -> None:
        frames = self._frames
        frames["cosine"].view.cellChosen.connect(lambda r, c: self.pairChosen.emit(r, c, ""))
        frames["layers"].view.cellChosen.connect(self._pair_and_layer)
        frames["signs"].view.cellChosen.connect(
            lambda r, c: self.cellChosen.emit(r, frames["signs"].view.state.columns[c])
        )
        frames["masks"].view.combinationChosen.connect(self.combinationChosen)
        frames["roles"].view.partChosen.connect(
            lambda c, part: self.roleChosen.emit(frames["roles"].view.state.columns[c], part)
        )
        frames["roles"].view.cutDragged.connect(self.cutMoved)
        frames["sizes"].view.expertChosen.connect(self.expertChosen)
        self._add_controls()
        frames["sizes"].view.densityDragged.connect(self.densityDragged)
        frames["sizes"].view.densityReleased.connect(self.densityReleased)
        self._tabs.currentChanged.connect(lambda _: self.viewChanged.emit(self.current))

    def _add_controls(self) -> None:
        """Sliders above masks and roles; a menu on every view."""
        self.controls = {name: RoleControls(with_cut=name == "roles") for name in ("masks", "roles")}
        for name, controls in self.controls.items():
            self._frames[name].add_controls(controls)
            controls.strictnessMoved.connect(self.strictnessMoved)
            controls.cutMoved.connect(self.cutMoved)
            controls.consensusWanted.connect(self.consensusWanted)

    def add_page(self, name: str, title: str, page: QWidget, frame: PlotFrame) -> None:
        """Add a tab at the end: a view in its frame, which is somewhere in the page."""
        frame.told.connect(self.told)
        self._frames[name] = frame
        self._tabs.addTab(page, title)

    def set_marks(self, marks: Marks) -> None:
        """Show the same selection in every view that can."""
        for frame in self._frames.values():
            if hasattr(frame.view, "set_marks"):
                frame.view.set_marks(marks)

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
        return list(self._frames)[self._tabs.currentIndex()]

    def show_view(self, name: str) -> None:
        """Bring a tab to the front."""
        self._tabs.setCurrentIndex(list(self._frames).index(name))

    def frame(self, name: str) -> PlotFrame:
        """The frame of a view."""
        return self._frames[name]

    def set_state(self, name: str, state: View) -> None:
        """Show something in a view."""
        self._frames[name].set_state(state)

    def _pair_and_layer(self, row: int, column: int) -> None:
        state = self._frames["layers"].view.state
        first, second = state.row_experts[row]
        self.pairChosen.emit(first, second, state.columns[column])
