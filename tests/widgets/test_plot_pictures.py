"""What goes into saved and copied pictures: the plot and what is selected, never where the keyboard is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import QEvent, QPoint, QPointF, Qt
from PySide6.QtGui import QEnterEvent, QGuiApplication, QHelpEvent, QImage, QKeyEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QWidget
from pytestqt.qtbot import QtBot

from tests.widgets.test_plot_hands import BARS, SETS, SIZES, SQUARE
from widgets.common.theme import apply_theme
from widgets.plots.bars_view import BarsView
from widgets.plots.bitmap_panel import BitmapPanel
from widgets.plots.bitmap_state import Bitmap
from widgets.plots.frame import PlotFrame
from widgets.plots.heat_view import HeatView
from widgets.plots.histogram_view import HistogramView
from widgets.plots.lines_view import LinesView
from widgets.plots.points_view import PointsView
from widgets.plots.scatter_view import Scatter, ScatterView
from widgets.plots.selected import Marks
from widgets.plots.spectrum_view import Spectrum, SpectrumView, nearest_line
from widgets.plots.sweep_values import Line, Lines, Points
from widgets.plots.upset_view import UpSetView

RIGHT, UP, DOWN = Qt.Key.Key_Right, Qt.Key.Key_Up, Qt.Key.Key_Down
LINES = Lines(title="x", lines=(Line(name="a", x=np.arange(3.0), y=np.arange(3.0)),), stops=(0.0, 1.0, 2.0),
              words=("a", "b", "c"))  # fmt: skip
POINTS = Points(title="x", xy=np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 3.0]]), values=np.arange(3.0), texts=("",) * 3,
                words=("a", "b", "c"))  # fmt: skip
RUNS = Scatter(ids=np.array([7, 8, 9]), x=np.array([1.0, 2.0, 3.0]), y=np.array([10.0, 30.0, 20.0]), x_label="Seconds",
               y_label="Score (%)", front=np.array([True, True, False]), names=("one", "<b>two</b>", "three"),
               notes=("", "★ starred, tags: good", ""))  # fmt: skip
SPECTRUM = Spectrum(names=("first", "second"), values=np.array([np.logspace(0, -2, 20), np.logspace(-1, -5, 20)]),
                    effective=np.array([9.0, 3.0]), energy=np.array([4, 2]), overlap=np.eye(2), rank=4)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A view with something on show, and the keys that put its cursor somewhere."""

    make: Callable[[], QWidget]
    state: Any
    keys: tuple[Qt.Key, ...] = (RIGHT,)


CASES = {
    "heat": Case(HeatView, SQUARE), "bars": Case(BarsView, BARS, (RIGHT, UP)), "sets": Case(UpSetView, SETS),
    "sizes": Case(HistogramView, SIZES, (DOWN,)), "lines": Case(LinesView, LINES), "points": Case(PointsView, POINTS),
    "runs": Case(ScatterView, RUNS), "spectrum": Case(SpectrumView, SPECTRUM, (RIGHT, DOWN)),
    "tensor": Case(BitmapPanel, Bitmap(tensor="t", rows=40, columns=60, names=("a", "b")), (RIGHT,)),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _theme(qapp: QApplication) -> Iterator[None]:
    apply_theme(qapp, "dark")
    yield
    apply_theme(qapp, "dark")


def framed(qtbot: QtBot, case: Case) -> PlotFrame:
    frame = PlotFrame(case.make())
    qtbot.addWidget(frame)
    frame.resize(900, 340)
    frame.set_state(case.state)
    with qtbot.waitExposed(frame):
        frame.show()
    frame.activateWindow()
    QTest.qWait(30)
    return frame


def plot_of(view: Any) -> QImage:
    """What is on the screen."""
    return (view.canvas if hasattr(view, "canvas") else view.plot).grab().toImage()  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", CASES)
def test_pictures_leave_the_cursor_out(qtbot: QtBot, tmp_path: Path, name: str) -> None:
    case = CASES[name]
    frame = framed(qtbot, case)
    view = frame.view
    seen, picture, drawing = plot_of(view), frame.picture(), frame.svg()
    view.setFocus()
    qtbot.waitUntil(lambda: QApplication.focusWidget() is not None)
    for key in case.keys:
        QTest.keyClick(QApplication.focusWidget(), key)
    QTest.qWait(20)
    with_cursor = plot_of(view)
    assert with_cursor != seen, "the case puts no cursor on the screen"
    if name == "tensor":  # its read-out, beside the plot, says where the cursor is
        assert frame.picture().copy(0, 0, 400, 200) == picture.copy(0, 0, 400, 200)
    else:
        assert frame.picture() == picture and frame.svg() == drawing
        frame.copy()
        assert QGuiApplication.clipboard().image() == frame.picture(2.0)
    assert plot_of(view) == with_cursor, "the cursor is there again"


def test_what_is_selected_stays_in_a_picture(qtbot: QtBot) -> None:
    experts = tuple((t,) for t in range(12))
    frame = framed(qtbot, Case(HeatView, replace(SQUARE, row_experts=experts, column_experts=experts)))
    before = frame.picture()
    frame.view.set_marks(Marks(experts=frozenset({1, 2})))
    assert frame.picture() != before


def test_a_picture_of_the_table_has_no_chosen_cell_and_the_choice_stays(qtbot: QtBot) -> None:
    frame = framed(qtbot, CASES["heat"])
    frame.keyPressEvent(key_press(Qt.Key.Key_T))
    frame._table.clearSelection()
    frame._table.setCurrentIndex(frame._table.model().index(-1, -1))
    before = frame.picture()
    frame._table.setCurrentCell(1, 2)
    assert frame.picture() == before
    assert (frame._table.currentRow(), frame._table.currentColumn()) == (1, 2) and frame._table.selectedIndexes()


def key_press(key: Qt.Key) -> Any:
    return QKeyEvent(QEvent.Type.KeyPress, key, Qt.KeyboardModifier.NoModifier)


# Lines of the spectrum ---------------------------------------------------------------------------------------------


def spot(view: Any, x: float, y: float) -> QPoint:
    box = view.plot.getPlotItem().getViewBox()
    return view.plot.mapFromScene(box.mapViewToScene(QPointF(x, y)))  # type: ignore[no-any-return]


def test_a_click_on_a_line_of_the_spectrum_chooses_its_expert(qtbot: QtBot) -> None:
    view = framed(qtbot, CASES["spectrum"]).view
    chosen: list[int] = []
    view.expertChosen.connect(lambda t: (chosen.append(t), view.set_marks(Marks(experts=frozenset({t})))))
    port, logs, before = view.plot.viewport(), view.logs(), list(view._curves)
    for t in (0, 1):
        between = (logs[t, 7] + logs[t, 8]) / 2  # on the line, on none of its points
        QTest.mouseClick(port, Qt.MouseButton.LeftButton, pos=spot(view, 8.5, between))
    assert chosen == [0, 1] and [c.opts["pen"].width() for c in view._curves] == [2, 4] and view._curves == before
    QTest.mouseClick(port, Qt.MouseButton.LeftButton, pos=spot(view, 12.0, (logs[0, 11] + logs[1, 11]) / 2))
    QTest.mouseClick(port, Qt.MouseButton.RightButton, pos=spot(view, 8.5, logs[0, 7]))
    assert chosen == [0, 1]
    view.setFocus()
    for key in (UP, Qt.Key.Key_Return):
        QTest.keyClick(view, key)
    assert chosen == [0, 1, 0] and "first" in view.accessibleDescription()


def test_the_nearest_line_is_found_between_its_points_and_beside_its_end() -> None:
    logs = np.array([[0.0, -1.0, -2.0, np.nan], [0.0, -3.0, -3.0, -3.0]])
    pixel = (0.1, 0.1)
    assert nearest_line(logs, (0.5, -0.5), pixel, 5) == 0
    assert nearest_line(logs, (3.0, -2.9), pixel, 5) == 1
    assert nearest_line(logs, (2.2, -2.0), pixel, 5) == 0  # its last point
    assert nearest_line(logs, (3.0, -1.0), pixel, 5) == -1
    assert nearest_line(np.array([[1.0]]), (0.0, 1.1), pixel, 5) == 0
    assert nearest_line(np.full((1, 3), np.nan), (0.0, 1.1), pixel, 5) == -1


# Runs as points ----------------------------------------------------------------------------------------------------


def test_a_run_under_the_mouse_is_told_with_name_values_star_and_tags(qtbot: QtBot) -> None:
    view = framed(qtbot, CASES["runs"]).view
    port = view.plot.viewport()
    QTest.mouseMove(port, spot(view, 2.0, 30.0) + QPoint(6, 5))
    tooltip = view.plot.toolTip()
    for words in ("Run 8: ", "Seconds: 2", "Score (%): 30", "★ starred, tags: good", "Pareto front"):
        assert words in tooltip, words
    assert "<b>two" not in tooltip  # plain text
    QTest.mouseMove(port, spot(view, 1.5, 28.0))
    assert view.plot.toolTip() == ""
    chosen: list[tuple[int, bool]] = []
    view.chosen.connect(lambda run, add: chosen.append((run, add)))
    QTest.mouseClick(port, Qt.MouseButton.LeftButton, pos=spot(view, 3.0, 20.0) - QPoint(7, 0))
    QTest.mouseClick(port, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.ControlModifier, spot(view, 1.0, 10.0))
    assert chosen == [(9, False), (7, True)]
    assert RUNS.table()[1][1] == ("8", "2", "30", "yes", "<b>two</b>", "★ starred, tags: good")


def rested(view: Any, x: float, y: float, qtbot: QtBot) -> str:
    """Let the mouse rest on a point, whose place moves as long as the axes find their width; what is told of it."""

    def is_told() -> bool:
        QTest.mouseMove(view.plot.viewport(), spot(view, x, y) + QPoint(5, 5))
        QTest.mouseMove(view.plot.viewport(), spot(view, x, y))
        return bool(view.plot.toolTip())

    qtbot.waitUntil(is_told)
    told: str = view.plot.toolTip()
    return told


@pytest.mark.parametrize(("case", "at"), [("runs", (2.0, 30.0)), ("points", (1.0, 1.0))])
def test_a_plot_that_moves_under_a_resting_mouse_is_told_anew(qtbot: QtBot, case: str, at: tuple[float, float]) -> None:
    frame = framed(qtbot, CASES[case])
    rested(frame.view, *at, qtbot)
    box = frame.view.plot.getPlotItem().getViewBox()
    box.setRange(xRange=(-50, -40), padding=0)
    assert frame.view.plot.toolTip() == ""
    frame.view.fit()
    assert frame.view.plot.toolTip()
    frame.resize(frame.width() * 2, frame.height())  # as when the axes find their width
    qtbot.waitUntil(lambda: frame.view.plot.toolTip() == "")


@pytest.mark.parametrize(
    ("case", "at", "none"), [("runs", (2.0, 30.0), Scatter()), ("points", (1.0, 1.0), Points(title=""))]
)
def test_a_point_that_comes_under_a_resting_mouse_is_told_and_one_that_goes_is_not(
    qtbot: QtBot, case: str, at: tuple[float, float], none: Any
) -> None:
    view = framed(qtbot, CASES[case]).view
    port, state, told = view.plot.viewport(), view.state, rested(view, *at, qtbot)
    view.set_state(none)
    assert view.plot.toolTip() == ""
    view.set_state(state)
    assert view.plot.toolTip() == told
    place = spot(view, *at)
    QApplication.sendEvent(port, QEvent(QEvent.Type.Leave))
    assert view.plot.toolTip() == ""
    for event in (QHelpEvent(QEvent.Type.ToolTip, place, QPoint()),
                  QEnterEvent(QPointF(place), QPointF(place), QPointF(place))):  # fmt: skip
        view.eventFilter(port, event)  # without what Qt makes of it: a window for the tool tip
        assert view.plot.toolTip() == told
        QApplication.sendEvent(port, QEvent(QEvent.Type.Leave))


def test_the_cursor_stays_on_its_point_when_others_come_before_it(qtbot: QtBot) -> None:
    view = framed(qtbot, Case(PointsView, replace(POINTS, ids=(2, 4, 6)))).view
    QTest.keyClick(view, Qt.Key.Key_Right)  # wherever the mouse is
    view.move_to(1)
    xy = np.array([[-1.0, 1.0], *POINTS.xy])
    view.set_state(replace(POINTS, ids=(1, 2, 4, 6), xy=xy, values=np.arange(4.0), words=("new", "a", "b", "c")))
    chosen: list[int] = []
    view.chosen.connect(chosen.append)
    QTest.keyClick(view, Qt.Key.Key_Return)
    assert chosen == [2] and view.plot.toolTip() == "b"
    view.set_state(replace(POINTS, ids=(1, 2, 6)))
    assert view.plot.toolTip() == "" and view._at == -1


def test_a_cell_whose_number_comes_while_the_mouse_rests_on_it_is_told_anew(qtbot: QtBot) -> None:
    view = framed(qtbot, CASES["heat"]).view
    view._move_to(0, 1)
    before = view.plot.toolTip()
    view.set_state(replace(SQUARE, values=SQUARE.values / 2))
    assert view.plot.toolTip() not in ("", before)
