"""The overlap views in the hand: clicks and drags, what is under the mouse, what is copied, and what fits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from PySide6.QtCore import QEvent, QPoint, QPointF, Qt
from PySide6.QtGui import QMouseEvent
from PySide6.QtWidgets import QApplication, QWidget
from pytestqt.qtbot import QtBot

from widgets.common.theme import apply_theme
from widgets.plots.bars_view import BarsView
from widgets.plots.frame import PlotFrame
from widgets.plots.heat_view import HeatView
from widgets.plots.histogram_view import HistogramView
from widgets.plots.overlap_panel import OverlapPanel
from widgets.plots.ramp import Ramp
from widgets.plots.selected import Marks
from widgets.plots.state import Bars, Heat, Histogram, UpSet
from widgets.plots.upset_view import UpSetView

LONG = tuple(f"{'ABCDEFGHIJKL'[t]} a name of forty letters and a digit ....{t:02d}" for t in range(12))
SQUARE = Heat(title="Cosine", rows=LONG, columns=LONG, values=np.full((12, 12), 0.5), low=-1.0, diverging=True)
BARS = Bars(title="Roles", columns=("0", "1"), parts=("a", "b"), values=np.array([[0.5, 0.5], [0.25, 0.75]]),
            colours=("#446688", "#884466"), part_experts=((0,), (1,)), levels=(1, 1))  # fmt: skip
SETS = UpSet(title="Masks", sets=("a", "b"), counts=np.array([4, 3, 2, 1]))
SIZES = Histogram(title="Sizes", names=("a", "b"), edges=np.logspace(-4, -1, 4), zeros=np.zeros(2),
                  counts=np.array([[1000, 100, 10], [10, 100, 1000]]), thresholds=np.zeros(0))  # fmt: skip


@pytest.fixture(autouse=True)
def _theme(qapp: QApplication) -> Iterator[None]:
    apply_theme(qapp, "dark")
    yield
    apply_theme(qapp, "dark")


def shown(qtbot: QtBot, view: QWidget, state: object, wide: int = 900) -> None:
    qtbot.addWidget(view)
    view.resize(wide, 320)
    view.set_state(state)  # type: ignore[attr-defined]  # every view has it
    with qtbot.waitExposed(view):
        view.show()


def drag(port: QWidget, start: QPoint, way: int) -> None:
    """Press, move to the right and release."""
    none, left = Qt.MouseButton.NoButton, Qt.MouseButton.LeftButton
    steps = [(QEvent.Type.MouseButtonPress, 0, left, left), (QEvent.Type.MouseMove, way // 2, none, left),
             (QEvent.Type.MouseMove, way, none, left), (QEvent.Type.MouseButtonRelease, way, left, none)]  # fmt: skip
    for kind, across, button, buttons in steps:
        spot = QPointF(start + QPoint(across, 0))
        away = QPointF(port.mapToGlobal(spot))
        QApplication.sendEvent(port, QMouseEvent(kind, spot, away, button, buttons, Qt.KeyboardModifier.NoModifier))


@pytest.mark.parametrize(("make", "state", "signal"), [
    (HeatView, SQUARE, "cellChosen"), (BarsView, BARS, "partChosen"), (UpSetView, SETS, "combinationChosen"),
])  # fmt: skip
def test_a_click_chooses_and_neither_a_drag_nor_the_right_button_does(
    qtbot: QtBot, make: type[QWidget], state: object, signal: str
) -> None:
    view = make()
    shown(qtbot, view, state)
    chosen: list[object] = []
    getattr(view, signal).connect(lambda *what: chosen.append(what))
    port = (view.canvas if isinstance(view, UpSetView) else view.plot).viewport()  # type: ignore[attr-defined]  # one of three views
    spot = QPoint(port.width() * 2 // 5, port.height() // 2)
    drag(port, spot, 40)
    qtbot.mouseClick(port, Qt.MouseButton.RightButton, pos=spot)
    assert chosen == []
    view.fit()  # type: ignore[attr-defined]  # every view has it
    qtbot.mouseClick(port, Qt.MouseButton.LeftButton, pos=spot)
    assert len(chosen) == 1


def test_a_click_on_a_line_of_the_magnitudes_may_mark_it(qtbot: QtBot) -> None:
    """Taking a line out of the scene while its click is handled ended the program."""
    view = HistogramView()
    shown(qtbot, view, SIZES)
    chosen: list[int] = []
    view.expertChosen.connect(lambda t: (chosen.append(t), view.set_marks(Marks(experts=frozenset({t})))))
    before, box = list(view._curves), view.plot.getPlotItem().getViewBox()
    spot = view.plot.mapFromScene(box.mapViewToScene(QPointF(-3.5, 3.0)))
    qtbot.mouseClick(view.plot.viewport(), Qt.MouseButton.LeftButton, pos=spot)
    assert chosen == [0] and view._curves == before and all(curve.scene() is not None for curve in before)
    assert [curve.opts["pen"].width() for curve in view._curves] == [4, 1]


def test_the_magnitudes_under_the_mouse_are_told(qtbot: QtBot) -> None:
    view = HistogramView()
    shown(qtbot, view, SIZES)
    assert view.sentence(-2.5).splitlines() == ["|τ| from 0.001 to 0.01", "A a: 100 weights", "B b: 100 weights"]
    assert view.sentence(-4.5) == view.sentence(0.0) == "" == HistogramView().sentence(0.0)
    place = view.plot.getPlotItem().getViewBox().mapViewToScene(QPointF(-3.5, 1.0))
    view.plot.scene().sigMouseMoved.emit(place)
    assert "1,000 weights" in view.plot.toolTip()


def test_csv_is_for_programs_and_the_table_for_people(qtbot: QtBot) -> None:
    frame = PlotFrame(HeatView())
    qtbot.addWidget(frame)
    signed = Heat(title="x", rows=("a",), columns=("l", "m"), values=np.array([[-0.001234567, np.nan]]), low=-1.0)
    frame.set_state(signed)
    assert frame.csv().splitlines() == [",l,m", "a,-0.001234567,"]
    assert frame.table()[1] == (("a", "0.00", "–"),)  # no minus before a zero
    frame.set_state(replace(signed, unit="%"))
    assert frame.csv().splitlines() == [",l (%),m (%)", "a,-0.1234567,"]
    bars, sets = PlotFrame(BarsView()), PlotFrame(UpSetView())
    for other, state, line in ((bars, BARS, "1,25,75"), (sets, SETS, "a + b,1,10")):
        qtbot.addWidget(other)
        other.set_state(state)
        assert other.csv().splitlines()[-1] == line


@pytest.mark.parametrize("wide", [1180, 1340, 1417])
def test_all_twelve_columns_are_named_and_no_tick_crosses_a_number(qtbot: QtBot, wide: int) -> None:
    view = HeatView()
    shown(qtbot, view, SQUARE, wide)
    item = view.plot.getPlotItem()
    for side in ("top", "left"):
        assert [text[0] for _, text in item.getAxis(side)._tickLevels[0]] == list("ABCDEFGHIJKL")
        assert item.getAxis(side).style["tickLength"] == 0


def test_numbers_in_cells_are_drawn_at_any_zoom(qtbot: QtBot) -> None:
    view = HeatView()
    shown(qtbot, view, SQUARE)
    for _ in range(2):
        with_texts = view.grab().toImage()
        view._texts.hide()
        assert view.grab().toImage() != with_texts
        view._texts.show()
        qtbot.keyClick(view, Qt.Key.Key_Plus)
    assert len(view._texts.cells) == 144 and view._texts.cells[0].text == "0.50"


def test_the_scale_says_where_numbers_go_beyond_its_colours() -> None:
    ramp, wide = Ramp(), Heat(title="x", rows=("a",), columns=("l", "m"), values=np.array([[1.0, 0.1]]), low=-0.25,
                              high=0.25, diverging=True)  # fmt: skip
    ramp.set_state(wide)
    assert ramp._words() == ["−0.25", "0", "≥ 0.25"]
    ramp.set_state(replace(wide, values=np.array([[-1.0, 0.25]])))
    assert ramp._words() == ["≤ −0.25", "0", "0.25"]


def test_the_zoom_of_the_combinations_stays_when_their_counts_change(qtbot: QtBot) -> None:
    view = UpSetView()
    shown(qtbot, view, SETS)
    qtbot.keyClick(view, Qt.Key.Key_Plus)
    left, right = view.bars.getViewBox().viewRange()[0]
    view.set_state(replace(SETS, counts=np.array([4, 30, 2, 1])))
    assert view.bars.getViewBox().viewRange()[0] == [left, right]
    assert view.bars.getViewBox().viewRange()[1][1] > 80.0  # percent: the bars have room
    view.set_state(UpSet(title="Masks", sets=("a", "b", "c"), counts=np.arange(8)))
    assert view.bars.getViewBox().viewRange()[0] != [left, right]


def test_views_are_made_when_they_are_shown_and_marked_then(qtbot: QtBot) -> None:
    panel = OverlapPanel()
    qtbot.addWidget(panel)
    assert not panel.findChildren(PlotFrame)
    panel.set_marks(Marks(experts=frozenset({1})))
    made: list[tuple[str, int]] = []
    panel.viewChanged.connect(lambda name: made.append((name, len(panel.findChildren(PlotFrame)))))
    panel.show_view("masks")
    assert made == [("masks", 0)] and len(panel.findChildren(PlotFrame)) == 1  # told before it is made
    assert panel.frame("masks").view._marks.experts == {1} and set(panel.controls) == {"masks"}
