"""How the desk looks: nothing is cut off, silenced rows are grey, only what differs is painted again."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PySide6.QtCore import QPoint, QRect, Qt
from PySide6.QtGui import QColor, QFont, QFontMetrics, QImage, QPixmap
from PySide6.QtWidgets import QAbstractButton, QApplication, QLabel, QWidget

from tests.widgets.desk_states import make_state
from widgets.common.colours import expert_colour
from widgets.common.theme import Scheme, apply_theme
from widgets.desk.canvas import MergeCanvas
from widgets.desk.inks import inks, mix
from widgets.desk.sizes import apart, short_tensor, spans, spread
from widgets.desk.state import Column, DeskState, Face

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytestqt.qtbot import QtBot


@pytest.fixture
def app() -> Iterator[QApplication]:
    made = QApplication.instance()
    assert isinstance(made, QApplication)
    font = made.font()
    yield made
    made.setFont(font)
    apply_theme(made, "dark")


def shown(qtbot: QtBot, state: DeskState, width: int, height: int, face: Face = "faders") -> MergeCanvas:
    canvas = MergeCanvas()
    qtbot.addWidget(canvas)
    canvas.resize(width, height)
    canvas.show()
    canvas.setState(state)
    canvas.setFace(face)
    QApplication.processEvents()
    return canvas


def picture(canvas: MergeCanvas, scale: float = 1.0) -> QImage:
    pixels = QPixmap(int(canvas.width() * scale), int(canvas.height() * scale))
    pixels.setDevicePixelRatio(scale)
    canvas.render(pixels)
    return pixels.toImage()


def cut_texts(canvas: MergeCanvas) -> list[str]:
    """Controls with less room than their text needs, and headings that do not fit their column."""
    found = []
    for widget in canvas.findChildren(QWidget):
        if widget.isVisible() and isinstance(widget, QAbstractButton) and widget.text():
            need, have = widget.sizeHint(), widget.size()
            if need.width() > have.width() or need.height() > have.height():
                found.append(widget.text())
        elif widget.isVisible() and isinstance(widget, QLabel) and widget.sizeHint().width() > widget.width():
            found.append(widget.text())
    table = canvas._board.table
    for column in range(table.model().columnCount()):
        label = table.heading.label(column)
        if (
            QFontMetrics(table.heading.font()).horizontalAdvance(label) > table.columnWidth(column) + 4
            and len(label) < 8
        ):
            found.append(f"column {label}")
    return found


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("width", [900, 1600])
@pytest.mark.parametrize("scheme", ["dark", "light", "contrast"])
def test_no_text_is_cut(qtbot: QtBot, app: QApplication, scheme: Scheme, width: int, size: int) -> None:
    font = QFont(app.font())
    font.setPointSizeF(font.pointSizeF() * size)
    app.setFont(font)
    apply_theme(app, scheme)
    canvas = shown(qtbot, make_state(12, 34, expanded=("3",)), width * size, 900 * size)
    assert cut_texts(canvas) == []
    table = canvas._board.table
    style = table.painter.number_style(table.columnWidth(5))
    assert style in ("full", "short"), "two digits are readable in the narrowest column"
    for head in canvas._board.heads.heads():
        inside = head.rect()
        for control in (head.mute, head.solo, head.gain):
            assert not control.isVisibleTo(head) or inside.contains(control.geometry())
    image = picture(canvas)
    assert image.size() == canvas.size() and len(colours_in(image, image.rect(), step=7)) > 20


def colours_in(image: QImage, box: QRect, step: int = 1) -> set[int]:
    xs, ys = range(box.left(), box.right() + 1, step), range(box.top(), box.bottom() + 1, step)
    return {image.pixel(x, y) for x in xs for y in ys if image.valid(x, y)}


def cell_in(canvas: MergeCanvas, expert: str, column: int) -> QRect:
    box = canvas.cellRect(expert, column)
    return QRect(canvas.mapFromGlobal(box.topLeft()), box.size())


def test_long_names_are_elided_and_whole_in_the_tooltip(qtbot: QtBot, app: QApplication) -> None:
    canvas = shown(qtbot, make_state(12, 12), 900, 900)
    head = canvas._board.heads.heads()[8]
    assert len(head.row.name) > 38 and head.row.name in head.toolTip()
    assert head.fontMetrics().horizontalAdvance(head.row.name) > head._name.width() > 0


def test_muted_rows_are_grey_and_say_so(qtbot: QtBot, app: QApplication) -> None:
    canvas = shown(qtbot, make_state(2, 4, muted=(1,), value=1.5), 900, 500)
    heard = colours_in(picture(canvas), cell_in(canvas, "e0", 2).adjusted(3, 3, -6, -3))
    muted = colours_in(picture(canvas), cell_in(canvas, "e1", 2).adjusted(3, 3, -6, -3))
    fill = mix(expert_colour(0), inks().panel, 0.86).rgb()
    own = mix(expert_colour(1), inks().panel, 0.86).rgb()
    assert fill in heard and own not in muted
    assert max(QColor(c).saturation() for c in muted) < 90 < max(QColor(c).saturation() for c in heard)
    model = canvas._board.model
    said = model.data(model.index(model.top + 1, 2), Qt.ItemDataRole.AccessibleTextRole)
    assert said.startswith("chat, layer 1, coefficient 1.50, default 1") and said.endswith("muted")
    assert canvas._board.heads.heads()[1].mute.isChecked()


def test_fader_height_follows_the_value(qtbot: QtBot, app: QApplication) -> None:
    state = make_state(1, 4, value=0.5)
    canvas = shown(qtbot, state, 900, 500)
    fill = mix(expert_colour(0), inks().panel, 0.86).rgb()

    def height(value: float) -> int:
        canvas.setState(replace(state, values=np.full_like(state.values, value), conflict=None))
        QApplication.processEvents()
        image, box = picture(canvas), cell_in(canvas, "e0", 2)
        return sum(image.pixel(box.center().x(), y) == fill for y in range(box.top(), box.bottom()))

    low, high = height(0.5), height(1.5)
    assert high + 2 == pytest.approx(3 * (low + 2), abs=3), "the cap hides two pixels of the fill"
    at = canvas.mapFromGlobal(canvas.faderPoint("e0", 2, 1.5))
    assert picture(canvas).pixel(at) == inks().text.rgb(), "the cap is where faderPoint says"


@pytest.mark.parametrize("face", ["faders", "curve", "numbers", "heat"])
def test_every_face_shows_a_change_and_lines_up(qtbot: QtBot, app: QApplication, face: Face) -> None:
    state = make_state(3, 8)
    canvas = shown(qtbot, state, 900, 600, face)
    before = picture(canvas, 2.0)
    values = np.array(state.values)
    values[1, 4] += 0.35
    canvas.setState(replace(state, values=values))
    QApplication.processEvents()
    assert picture(canvas, 2.0) != before
    table, strip = canvas._board.table, canvas._board.strip
    for column in range(10):
        left = table.viewport().mapToGlobal(QPoint(table.columnViewportPosition(column), 0)).x()
        assert left == strip.viewport().mapToGlobal(QPoint(strip.columnViewportPosition(column), 0)).x()
        assert left == canvas.cellRect("e0", column).left()


def test_one_column_has_a_curve_too(qtbot: QtBot, app: QApplication) -> None:
    full = make_state(2, 0)
    state = replace(full, columns=full.columns[:1], values=full.values[:, :1], mixed=None, conflict=None, metrics=())
    canvas = shown(qtbot, state, 600, 400, "curve")
    at = canvas.mapFromGlobal(canvas.faderPoint("e0", 0, float(state.values[0, 0])))
    assert picture(canvas).pixel(at) not in (inks().panel.rgb(), inks().hair.rgb())


def test_only_cells_that_differ_are_painted(qtbot: QtBot, app: QApplication, monkeypatch: pytest.MonkeyPatch) -> None:
    state = make_state(8, 32)
    canvas = shown(qtbot, state, 1600, 900)
    painted: list[tuple[int, int]] = []
    for view in (canvas._board.table, canvas._board.strip):
        paint = view.painter.paint_cell
        monkeypatch.setattr(
            view.painter, "paint_cell",
            lambda p, cell, row, column, paint=paint: (painted.append((row, column)), paint(p, cell, row, column))[1],
        )  # fmt: skip
    values, change = np.array(state.values), np.array(state.metrics[0].values)
    values[5, 17] += 0.1
    change[17] = 0.001
    metrics = (replace(state.metrics[0], values=change), *state.metrics[1:])
    canvas.setState(replace(state, values=values, metrics=metrics))
    QApplication.processEvents()
    assert sorted(painted) == [(0, 17), (8, 17)]


def test_metric_cells_are_marked_when_they_are_estimates_or_stale(qtbot: QtBot, app: QApplication) -> None:
    state = make_state(3, 4)
    canvas = shown(qtbot, state, 900, 600)
    model = canvas._board.model
    assert model.data(model.index(1, 2)).startswith("≈")
    before = picture(canvas)
    stale = tuple(replace(m, quality="stale") for m in state.metrics)
    canvas.setState(replace(state, metrics=stale))
    QApplication.processEvents()
    assert picture(canvas) != before
    assert "Out of date" in model.data(model.index(0, 2), Qt.ItemDataRole.ToolTipRole)


def test_a_theme_change_reaches_everything(qtbot: QtBot, app: QApplication) -> None:
    apply_theme(app, "dark")
    state = make_state(3, 6, muted=(1,))
    canvas = shown(qtbot, state, 900, 600)
    apply_theme(app, "light")
    QApplication.processEvents()
    assert picture(canvas) == picture(shown(qtbot, state, 900, 600))


def test_everything_has_an_accessible_name(qtbot: QtBot, app: QApplication) -> None:
    canvas = shown(qtbot, make_state(2, 4), 900, 600)
    focusable = [w for w in canvas.findChildren(QWidget) if w.isVisible() and w.focusPolicy() & Qt.FocusPolicy.TabFocus]
    nameless = [w for w in focusable if not w.accessibleName() and w is not canvas._board.table.heading]
    assert len(focusable) > 10 and not nameless


@given(st.lists(st.integers(1, 90), min_size=1, max_size=40), st.integers(1, 3000), st.integers(20, 200))
def test_columns_share_the_room(least: list[int], room: int, most: int) -> None:
    sizes = spread(least, room, most)
    assert all(size >= small for size, small in zip(sizes, least, strict=True))
    assert sum(sizes) <= max(room, sum(least))
    if sum(least) < room < sum(max(most, small) for small in least):
        assert sum(sizes) == room, "no gap at the right while columns may grow"


@given(st.lists(st.floats(0, 400), max_size=12))
def test_letters_of_curves_keep_apart(wanted: list[float]) -> None:
    places = apart(sorted(wanted), 15.0, 8.0, 392.0)
    assert all(b - a >= 15.0 - 1e-6 for a, b in pairwise(places))
    assert all(8.0 - 1e-6 <= place <= 392.0 + 1e-6 for place in places)
    if all(b - a >= 15.0 for a, b in pairwise(sorted(wanted))):
        assert np.allclose(places, np.clip(sorted(wanted), 8.0, 392.0), atol=15.0)


def test_headings_of_open_layers_and_tensors() -> None:
    columns = make_state(1, 4, expanded=("1", "2")).columns
    assert spans(columns) == [(0, 0), (1, 1), *[(2, 4)] * 3, *[(5, 7)] * 3, (8, 8), (9, 9)]
    assert short_tensor("model.layers.0.self_attn.q_proj.weight") == "q_proj"
    assert short_tensor("encoder.0.norm.bias") == "norm.bias"
    assert all(a.depth <= b.depth for a, b in pairwise(columns)) and isinstance(columns[0], Column)
