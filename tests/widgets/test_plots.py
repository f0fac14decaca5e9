"""The overlap views: numbers as drawn, keyboard, tables, files."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QImage
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from widgets.common.theme import apply_theme
from widgets.plots.bars_view import BarsView
from widgets.plots.colour_maps import image
from widgets.plots.frame import PlotFrame
from widgets.plots.heat_view import HeatView
from widgets.plots.histogram_view import HistogramView
from widgets.plots.selected import Marks
from widgets.plots.state import Bars, Heat, Histogram, UpSet
from widgets.plots.upset_view import UpSetView

HEAT = Heat(title="Cosine", rows=("A <b>x</b>", "B"), columns=("A", "B", "C"),
            values=np.array([[1.0, -0.5, np.nan], [0.25, 1.0, 0.0]]), low=-1.0, diverging=True)  # fmt: skip


@pytest.fixture(autouse=True)
def _theme(qapp: QApplication) -> None:
    apply_theme(qapp, "dark")


def test_heat_walks_with_the_keyboard_and_tells_cells(qtbot: QtBot) -> None:
    view = HeatView()
    qtbot.addWidget(view)
    view.resize(500, 300)
    view.set_state(HEAT)
    view.show()
    seen: list[tuple[int, int]] = []
    view.cellChosen.connect(lambda r, c: seen.append((r, c)))
    for key in (Qt.Key.Key_Right, Qt.Key.Key_Right, Qt.Key.Key_Down, Qt.Key.Key_Down, Qt.Key.Key_Return):
        qtbot.keyClick(view, key)
    assert seen == [(1, 1)]
    assert view.sentence(0, 1) == "A <b>x</b>, B: −0.50" and view.sentence(0, 2).endswith("–")


def test_heat_finds_the_cell_under_the_mouse(qtbot: QtBot) -> None:
    view = HeatView()
    qtbot.addWidget(view)
    view.resize(600, 400)
    view.set_state(HEAT)
    with qtbot.waitExposed(view):
        view.show()
    box = view.plot.getPlotItem().getViewBox()
    for r in range(2):
        for c in range(3):
            spot = view.plot.mapFromScene(box.mapViewToScene(type(box.viewRect().center())(c + 0.4, r + 0.6)))
            assert view.cell_at(spot.toPointF() if hasattr(spot, "toPointF") else spot) == (r, c)


def test_colours_are_centred_and_nothing_has_its_own() -> None:
    made = image(np.array([[-1.0, 0.0, 1.0, np.nan]]), -1.0, 1.0, diverging=True, is_dark=True, nothing="#123456")
    assert tuple(made[0, 3]) == (0x12, 0x34, 0x56)
    assert len({tuple(c) for c in made[0]}) == 4
    assert made[0, 0][2] > made[0, 0][0] and made[0, 2][0] > made[0, 2][2]  # blue below, orange above


def test_bars_know_their_parts(qtbot: QtBot) -> None:
    view = BarsView()
    qtbot.addWidget(view)
    state = Bars(title="Roles", columns=("0", "1"), parts=("none", "one"), values=np.array([[0.25, 0.5], [0.1, 0.9]]),
                 colours=("#888888", "#00ff00"), dropped=frozenset({0}))  # fmt: skip
    view.set_state(state)
    assert view.part_at(0.1, 10.0) == (0, 0) and view.part_at(0.0, 60.0) == (0, 1)
    assert view.part_at(0.0, 90.0) == (-1, -1) and view.part_at(0.5, 10.0) == (-1, -1)
    assert view.sentence(1, 1) == "1, one: 90.0 %"


def test_upset_orders_by_size_and_leaves_the_empty_set_out(qtbot: QtBot) -> None:
    view = UpSetView()
    qtbot.addWidget(view)
    state = UpSet(title="Masks", sets=("code", "chat"), counts=np.array([70, 5, 20, 5]))
    view.set_state(state)
    chosen: list[int] = []
    view.combinationChosen.connect(chosen.append)
    qtbot.keyClick(view, Qt.Key.Key_Return)
    qtbot.keyClick(view, Qt.Key.Key_Right)
    qtbot.keyClick(view, Qt.Key.Key_Return)
    assert chosen == [2, 1] and state.name(3) == "code + chat"
    assert view.sentence(0) == "only chat: 20 weights, 20.0 %"


def test_threshold_line_is_the_density(qtbot: QtBot) -> None:
    view = HistogramView()
    qtbot.addWidget(view)
    edges = np.array([1e-4, 1e-3, 1e-2, 1e-1])
    state = Histogram(title="|τ|", names=("code",), edges=edges, counts=np.array([[60, 30, 10]]),
                      thresholds=np.array([1e-2]), density=0.1)  # fmt: skip
    view.set_state(state)
    assert view.density_at(-2.0) == pytest.approx(0.1) and view.density_at(-3.0) == pytest.approx(0.4)
    with qtbot.waitSignal(view.densityDragged) as caught:
        qtbot.keyClick(view, Qt.Key.Key_Left)
    assert caught.args == [pytest.approx(0.12), ""]


def test_frame_has_a_table_twin_and_writes_files(qtbot: QtBot, tmp_path: Path) -> None:
    frame = PlotFrame(HeatView())
    qtbot.addWidget(frame)
    frame.resize(700, 320)
    frame.set_state(HEAT)
    with qtbot.waitExposed(frame):
        frame.show()
    rows = list(csv.reader(io.StringIO(frame.csv())))
    assert rows == [["", "A", "B", "C"], ["A <b>x</b>", "1", "-0.5", ""], ["B", "0.25", "1", "0"]]
    assert frame.table()[1][0] == ("A <b>x</b>", "1.00", "−0.50", "–")
    for kind in ("png", "svg", "csv"):
        assert frame.write(str(tmp_path / f"plot.{kind}"), kind, 2.0)
    assert QImage(str(tmp_path / "plot.png")).width() >= 1200
    assert b"<svg" in (tmp_path / "plot.svg").read_bytes()
    told: list[str] = []
    frame.told.connect(told.append)
    assert not frame.write(str(tmp_path / "nowhere" / "plot.csv"), "csv")
    assert "could not be written" in told[0]


def test_frame_says_what_to_do_when_there_is_nothing(qtbot: QtBot) -> None:
    frame = PlotFrame(HeatView())
    qtbot.addWidget(frame)
    frame.set_state(Heat(title="Cosine"))
    assert "two experts" in frame._empty.text() and frame._pages.currentIndex() == 0


def test_an_empty_histogram_takes_a_selection(qtbot: QtBot) -> None:
    view = HistogramView()
    qtbot.addWidget(view)
    view.set_marks(Marks(experts=frozenset({0}), layers=frozenset({"1"})))
    assert view._marks.experts == {0}


def test_the_line_of_k_is_dragged_with_the_mouse(qtbot: QtBot) -> None:
    view = BarsView()
    qtbot.addWidget(view)
    view.resize(600, 400)
    state = Bars(title="Roles", columns=("0", "1"), parts=("nobody's", "only A", "everybody's"),
                 values=np.array([[0.2, 0.3, 0.5], [0.1, 0.2, 0.7]]), colours=("#888888", "#00ff00", "#0000ff"),
                 levels=(0, 1, 2), cut=1)  # fmt: skip
    view.set_state(state)
    with qtbot.waitExposed(view):
        view.show()
    box, viewport = view.plot.getPlotItem().getViewBox(), view.plot.viewport()

    def spot(x: float, y: float) -> QPoint:
        return view.plot.mapFromScene(box.mapViewToScene(QPointF(x, y)))

    seen: list[tuple[int, str]] = []
    view.cutDragged.connect(lambda k, gesture: seen.append((k, gesture)))
    qtbot.mousePress(viewport, Qt.MouseButton.LeftButton, pos=spot(0.0, 20.0))
    qtbot.mouseMove(viewport, spot(0.0, 52.0))
    qtbot.mouseRelease(viewport, Qt.MouseButton.LeftButton, pos=spot(0.0, 52.0))
    assert [k for k, _ in seen] == [2] and seen[0][1]
    chosen: list[tuple[int, int]] = []
    view.partChosen.connect(lambda c, p: chosen.append((c, p)))
    qtbot.mouseClick(viewport, Qt.MouseButton.LeftButton, pos=spot(1.0, 50.0))
    assert chosen == [(1, 2)] and len(seen) == 1
