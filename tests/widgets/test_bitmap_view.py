"""The tensor view without an application: where pixels are, what is asked for, what is kept, files and tables."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QColor, QImage
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from engine.analyse.bitmap import NOBODY, TILE, Reading, Summary
from widgets.common.theme import apply_theme
from widgets.plots.bitmap_panel import BitmapPanel
from widgets.plots.bitmap_state import Bitmap, colour_table, ink_of, legend
from widgets.plots.bitmap_tiles import TileStore
from widgets.plots.bitmap_view import BitmapView
from widgets.plots.frame import PlotFrame
from widgets.plots.spectrum_view import Spectrum, SpectrumView
from widgets.plots.tensor_bar import TensorBar

NAMES = ("chat", "code <b>", "m" * 40)
STATE = Bitmap(title="Owner", key="k|owner:-1", tensor="w", rows=1000, columns=3000, names=NAMES,
               grid=(("rows", "0–999"), (("0–9", "chat"),)), meaning="Who.")  # fmt: skip


@pytest.fixture(autouse=True)
def _theme(qapp: QApplication) -> None:
    apply_theme(qapp, "light")


@pytest.fixture
def view(qtbot: QtBot) -> BitmapView:
    made = BitmapView()
    qtbot.addWidget(made)
    made.resize(600, 300)
    made.set_state(STATE)
    with qtbot.waitExposed(made):
        made.show()
    return made


def test_zoom_keeps_the_weight_under_the_mouse_and_fit_shows_all(view: BitmapView) -> None:
    assert view.scale == pytest.approx(0.2) and view.level == 2
    spot = QPointF(400, 160)
    before = view.weight_at(spot)
    for _ in range(6):
        view.zoom(1.6, spot)
        assert np.abs(np.subtract(view.weight_at(spot), before)).max() <= 1
    assert view.level == 0 and view.weight_at(QPointF(-5, -5)) != (0, 0)
    view.pan(10_000, 10_000)
    assert view.weight_at(QPointF(1, 1)) == (0, 0)
    view.fit()
    assert view.scale == pytest.approx(0.2) and view.weight_at(QPointF(599, 151)) == (505, 2995)


def test_it_asks_for_what_is_on_the_screen_and_only_for_that(view: BitmapView, qtbot: QtBot) -> None:
    asked: list[tuple[tuple[int, int, int], ...]] = []
    view.tilesWanted.connect(asked.append)
    view.ask()  # what was asked when it appeared may have been asked before anybody listened
    qtbot.waitUntil(lambda: bool(asked), timeout=2000)
    assert set(asked[-1]) == {(2, 0, c) for c in range(3)}
    view.put((2, 0, 0), np.zeros((250, 256), np.uint8), is_sample=True)
    assert (2, 0, 0) in view.missing()
    view.put((2, 0, 0), np.zeros((250, 256), np.uint8))
    assert (2, 0, 0) not in view.missing()
    view.look_at(500, 1500, 2.0)
    assert all(level == 0 for level, _, _ in view.missing()) and len(view.missing()) <= 6
    assert (0, 500 // TILE, 1500 // TILE) in view.missing()[:3]


def test_pixels_have_the_colours_of_their_codes_also_from_coarser_tiles(view: BitmapView) -> None:
    codes = np.full((250, 256), 1, np.uint8)
    codes[:, :128] = 0
    view.put((2, 0, 0), codes)
    shot = view.grab().toImage()

    def pixel(image: QImage, row: int, column: int) -> str:
        spot = view.spot(row + 0.5, column + 0.5)
        return QColor(image.pixel(QPoint(int(spot.x()), int(spot.y())))).name()

    assert pixel(shot, 500, 200) == ink_of(0).name() and pixel(shot, 500, 800) == ink_of(1).name()
    view.look_at(500, 512, 4.0)
    close = view.grab().toImage()
    assert pixel(close, 500, 508) == ink_of(0).name() and pixel(close, 500, 516) == ink_of(1).name()
    view.put((0, 500 // TILE, 512 // TILE), np.full((256, 256), NOBODY, np.uint8))
    assert pixel(view.grab().toImage(), 500, 516) not in (ink_of(0).name(), ink_of(1).name())


def test_another_key_forgets_the_tiles_and_memory_is_bounded(view: BitmapView) -> None:
    view.put((0, 0, 0), np.zeros((TILE, TILE), np.uint8))
    view.set_state(Bitmap(title="x", key="other", tensor="w", rows=1000, columns=3000, names=NAMES))
    assert len(view.store) == 0 and view.store.bytes == 0
    store = TileStore(most_bytes=1 << 20)
    store.recolour(colour_table(STATE))
    for i in range(100):
        store.put((0, 0, i), np.full((TILE, TILE), i % 3, np.uint8))
        assert store.image((0, 0, i)) is not None
        store.put((0, 1, i), np.zeros((TILE, TILE), np.uint8))
        assert store.bytes <= (1 << 20) + 5 * TILE * TILE
    assert (0, 0, 0) not in store and (0, 1, 99) in store


@pytest.mark.parametrize("mode", ["kept", "sign", "magnitude", "conflict"])
def test_colours_go_from_low_to_high_and_nothing_has_its_own(mode: str) -> None:
    state = Bitmap(key="k", names=NAMES, mode=mode, low=1, high=255)
    table = colour_table(state)
    assert len(set(table[1:].tolist())) > 100 and table[0] == QColor("#e3e7ed").rgb()
    assert len(legend(state)) >= 2 and all(text for text, _, _ in legend(state))


def test_the_panel_reads_out_every_expert_and_exports(qtbot: QtBot, tmp_path: Path) -> None:
    panel = BitmapPanel()
    frame = PlotFrame(panel)
    qtbot.addWidget(frame)
    frame.resize(900, 320)
    frame.set_state(Bitmap())
    assert frame.table() == ((), ()) and "Drop a model" in frame.view.state.empty
    state = Bitmap(title="Owner", key="k|owner:-1", tensor="w", rows=1000, columns=3000, names=NAMES, mask="trimmed",
                   summary=Summary((0.5, 0.2, 0.1), (0.25, 0.5, 0.125, 0.125), (0.1, 0.2, 0.3), 0.4),
                   grid=STATE.grid, meaning="Who.")  # fmt: skip
    frame.set_state(state)
    frame.show()
    panel.put((2, 0, 0), np.full((250, 256), 1, np.uint8))
    panel.canvas.move_to(12, 34)
    panel.set_reading(Reading(12, 34, 0.5, (0.6, 0.5, 0.4), (0.1, 0.0, -0.1), (True, False, True), 1, 0, 0.55))
    words = panel.sentence()
    for part in ("row 12", "column 34", "block of 4 × 4: B code <b>", "base +0.5", "merged +0.55", "owner A",
                 "chat 25.0 % +0.6 +0.1 kept", "code <b> 50.0 % +0.5 0 trimmed"):  # fmt: skip
        assert part in words, (part, words)
    assert list(csv.reader(io.StringIO(frame.csv()))) == [["rows", "0–999"], ["0–9", "chat"]]
    assert frame.write(str(tmp_path / "a.png"), "png", 4.0) and QImage(str(tmp_path / "a.png")).width() > 3000
    assert frame.write(str(tmp_path / "a.svg"), "svg") and (tmp_path / "a.svg").stat().st_size > 1000


def test_the_bar_filters_by_any_part_and_ignores_what_is_no_tensor(qtbot: QtBot) -> None:
    bar = TensorBar(with_modes=True)
    qtbot.addWidget(bar)
    bar.set_tensors([("a.q", "0 · attn · a.q"), ("a.up", "0 · mlp · a.up")], "a.q")
    chosen: list[str] = []
    bar.tensorChosen.connect(chosen.append)
    completer = bar.tensors.completer()
    completer.setCompletionPrefix("MLP")
    assert completer.completionCount() == 1
    bar.tensors.setEditText("0 · mlp · a.up")
    completer.activated.emit("0 · mlp · a.up")
    assert chosen[-1] == "a.up"
    bar.tensors.setEditText("nonsense")
    qtbot.keyClick(bar.tensors.lineEdit(), Qt.Key.Key_Tab)
    bar.tensors.lineEdit().editingFinished.emit()
    assert bar.tensors.currentText() == "0 · mlp · a.up"


def test_the_spectrum_walks_by_keyboard_and_has_a_table(qtbot: QtBot) -> None:
    view = SpectrumView()
    qtbot.addWidget(view)
    values = np.array([[4.0, 2.0, 1.0], [3.0, 3e-9, 0.0]])
    view.set_state(Spectrum(title="S", names=("a", "b"), values=values, effective=np.array([2.5, 1.0]),
                            energy=np.array([2, 1]), overlap=np.eye(2), rank=2))  # fmt: skip
    qtbot.keyClick(view, Qt.Key.Key_Right)
    qtbot.keyClick(view, Qt.Key.Key_Right)
    assert view.sentence() == "Direction 2\nA a: 2\nB b: 3e-09"
    assert np.isnan(view.logs()[1, 1:]).all() and view.logs()[0, 0] == pytest.approx(np.log10(4))
    head, body = view.state.table()
    assert len(head) == len(body[0]) == 3 + 2 + 3 and body[0][:3] == ("A a", "2.5", "2")


def test_letters_are_made_once_and_moved_with_the_picture(view: BitmapView) -> None:
    codes = np.full((TILE, TILE), NOBODY, np.uint8)
    codes[::2, ::2] = 1
    view.put((0, 0, 0), codes)
    view.look_at(10, 20, 20.0)
    view.grab()
    held = {cell: image for cell, (_, image) in view.letters._blocks.items()}
    assert held and all(cell[0] == (0, 0, 0) for cell in held)
    view.pan(-3, -5)
    view.grab()
    again = view.letters._blocks
    assert all(again[cell][1] is image for cell, image in held.items())

    def inked(row: int, column: int) -> bool:
        """Whether a cell has more than one colour."""
        spot, shot = view.spot(row + 0.5, column + 0.5).toPoint(), view.grab().toImage()
        around = [shot.pixel(spot + QPoint(x, y)) for x in range(-6, 7) for y in range(-6, 7)]
        return len(set(around)) > 1

    assert inked(12, 22) and not inked(13, 22) and not inked(12, 23)
    view.put((0, 0, 0), codes[::-1].copy())
    assert inked(13, 22) and not inked(12, 22)
    view.zoom(1.5)
    view.grab()
    assert all(image is not held.get(cell) for cell, (_, image) in view.letters._blocks.items())
    view.set_state(Bitmap(title="x", key="k|sign", tensor="w", rows=1000, columns=3000, names=NAMES, mode="kept"))
    view.put((0, 0, 0), codes)
    assert not inked(12, 22)


def test_a_panel_that_was_told_nothing_yet_paints(qtbot: QtBot) -> None:
    panel = BitmapPanel()
    qtbot.addWidget(panel)
    panel.resize(600, 400)
    with qtbot.captureExceptions() as caught:
        panel.show()
        panel.grab()
    assert not caught
