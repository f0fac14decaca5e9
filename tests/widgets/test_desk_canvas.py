"""The desk under real mouse and key events: what it asks for, and that nothing else changes."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PySide6.QtCore import QEvent, QMimeData, QPoint, QPointF, Qt, QUrl
from PySide6.QtGui import QContextMenuEvent, QDropEvent, QGuiApplication, QMouseEvent, QWheelEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QLineEdit, QMenu, QWidget

from tests.widgets.desk_states import Owner, make_state
from widgets.common.text import PlainLabel
from widgets.common.theme import apply_theme
from widgets.desk.canvas import MergeCanvas
from widgets.desk.state import DeskState
from widgets.desk.top_bar import TopBar

if TYPE_CHECKING:
    from pytestqt.qtbot import QtBot

_SHIFT, _CTRL, _ALT, _NONE = (
    Qt.KeyboardModifier.ShiftModifier, Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.AltModifier,
    Qt.KeyboardModifier.NoModifier,
)  # fmt: skip
_Kind = QEvent.Type
_PRESS, _MOVE, _RELEASE = _Kind.MouseButtonPress, _Kind.MouseMove, _Kind.MouseButtonRelease
_DOUBLE = _Kind.MouseButtonDblClick


def shown(qtbot: QtBot, state: DeskState, width: int = 780, height: int = 640) -> tuple[MergeCanvas, Owner]:
    app = QApplication.instance()
    assert isinstance(app, QApplication)
    apply_theme(app, "dark")
    canvas = MergeCanvas()
    qtbot.addWidget(canvas)
    canvas.resize(width, height)
    with qtbot.waitExposed(canvas):
        canvas.show()
    canvas.activateWindow()
    owner = Owner(canvas, state)
    QApplication.processEvents()
    return canvas, owner


def mouse(kind: QEvent.Type, at: QPoint, keys: Qt.KeyboardModifier = _NONE, target: QWidget | None = None) -> QWidget:
    """A mouse event at a global position, to the widget under it or to the one that holds the mouse."""
    widget = target or QApplication.widgetAt(at)
    assert widget is not None
    button = Qt.MouseButton.NoButton if kind == _MOVE else Qt.MouseButton.LeftButton
    held = Qt.MouseButton.NoButton if kind == _RELEASE else Qt.MouseButton.LeftButton
    local = QPointF(widget.mapFromGlobal(at))
    QApplication.sendEvent(widget, QMouseEvent(kind, local, QPointF(at), button, held, keys))
    return widget


def drag(path: list[QPoint], keys: Qt.KeyboardModifier = _NONE, *, release: bool = True) -> QWidget:
    widget = mouse(_PRESS, path[0], keys)
    for first, second in pairwise(path):
        for share in (0.34, 0.67, 1.0):
            mouse(_MOVE, first + QPoint(*(round(share * d) for d in (second - first).toTuple())), keys, widget)
    if release:
        mouse(_RELEASE, path[-1], keys, widget)
    return widget


def press(key: Qt.Key | str, keys: Qt.KeyboardModifier = _NONE) -> None:
    widget = QApplication.focusWidget()
    assert widget is not None
    if isinstance(key, str):
        QTest.keyClicks(widget, key)
    else:
        QTest.keyClick(widget, key, keys)


@pytest.fixture
def desk(qtbot: QtBot) -> tuple[MergeCanvas, Owner]:
    return shown(qtbot, make_state(4, 12, value=0.5))


def test_a_drag_is_one_gesture_and_reaches_the_value_under_the_pointer(
    desk: tuple[MergeCanvas, Owner], qtbot: QtBot
) -> None:
    canvas, owner = desk
    finished: list[str] = []
    canvas.gestureFinished.connect(finished.append)
    drag([canvas.faderPoint("e1", 3, 0.5), canvas.faderPoint("e1", 3, 1.2)])
    assert owner.value("e1", 3) == pytest.approx(1.2, abs=0.03)
    assert len(owner.edits) == 3
    gestures = {gesture for *_, gesture in owner.edits}
    assert len(gestures) == 1 and "" not in gestures and finished == list(gestures)
    assert owner.edits[-1][2].startswith("Set chat layer 2 to ")
    values = np.array(owner.state.values)
    values[1, 3] = 0.5
    assert (values == 0.5).all(), "only the dragged fader moves"


def test_shift_is_ten_times_finer_and_ctrl_snaps(desk: tuple[MergeCanvas, Owner]) -> None:
    canvas, owner = desk
    start, end = canvas.faderPoint("e0", 0, 0.5), canvas.faderPoint("e0", 0, 1.5)
    widget = mouse(_PRESS, start)
    mouse(_MOVE, end, _SHIFT, widget)
    fine = owner.value("e0", 0) - 0.5
    assert 0.08 < fine < 0.12
    mouse(_MOVE, end + QPoint(0, -9), _CTRL, widget)
    mouse(_RELEASE, end, _CTRL, widget)
    assert owner.value("e0", 0) / 0.05 == pytest.approx(round(owner.value("e0", 0) / 0.05))


def test_escape_takes_a_drag_back(desk: tuple[MergeCanvas, Owner]) -> None:
    canvas, owner = desk
    cancelled: list[str] = []
    canvas.gestureCancelled.connect(cancelled.append)
    widget = drag([canvas.faderPoint("e0", 2, 0.5), canvas.faderPoint("e0", 2, 0.9)], release=False)
    assert owner.value("e0", 2) > 0.8
    press(Qt.Key.Key_Escape)
    assert len(cancelled) == 1 and owner.value("e0", 2) == 0.5
    count = len(owner.edits)
    mouse(_MOVE, canvas.faderPoint("e0", 2, 1.5), target=widget)
    mouse(_RELEASE, canvas.faderPoint("e0", 2, 1.5), target=widget)
    assert len(owner.edits) == count, "after Esc the held button does nothing more"


def test_selected_faders_move_together_and_keep_their_differences(qtbot: QtBot) -> None:
    canvas, owner = shown(qtbot, make_state(4, 12))
    cells = [("e2", c) for c in (4, 5, 6)]
    before = [owner.value(*c) for c in cells]
    canvas.setSelectedCells(cells)
    drag([canvas.faderPoint("e2", 5, before[1]), canvas.faderPoint("e2", 5, before[1] + 0.3)])
    moved = [owner.value(*c) - b for c, b in zip(cells, before, strict=True)]
    assert moved[0] == pytest.approx(0.3, abs=0.03) and np.ptp(moved) < 1e-9
    assert canvas.selectedCells() == tuple(cells)


def test_a_drag_over_the_top_stops_at_the_range(desk: tuple[MergeCanvas, Owner]) -> None:
    canvas, owner = desk
    drag([canvas.faderPoint("e0", 1, 0.5), canvas.faderPoint("e0", 1, 2.0) - QPoint(0, 300)])
    assert owner.value("e0", 1) == 2.0


def test_alt_paints_and_ctrl_draws_a_ramp(desk: tuple[MergeCanvas, Owner]) -> None:
    canvas, owner = desk
    drag([canvas.faderPoint("e0", 2, 1.0), canvas.faderPoint("e0", 8, 1.0)], _ALT)
    assert np.allclose(owner.state.values[0, 2:9], 1.0, atol=0.03)
    assert owner.value("e0", 1) == 0.5 and owner.value("e0", 9) == 0.5
    drag([canvas.faderPoint("e3", 0, 0.2), canvas.faderPoint("e3", 6, 1.4)], _CTRL)
    assert np.allclose(owner.state.values[3, :7], np.linspace(0.2, 1.4, 7), atol=0.04)
    assert owner.value("e3", 7) == 0.5


def test_links_tie_experts_and_mirror_two(qtbot: QtBot) -> None:
    canvas, owner = shown(qtbot, make_state(3, 6, value=0.5, muted=(2,)))
    canvas.setLinks(frozenset({"experts"}))
    drag([canvas.faderPoint("e0", 2, 0.5), canvas.faderPoint("e0", 2, 1.0)])
    assert owner.value("e1", 2) == pytest.approx(owner.value("e0", 2), abs=1e-6) and owner.value("e0", 2) > 0.9
    assert owner.value("e2", 2) == 0.5, "silenced rows follow no link"
    canvas.setLinks(frozenset({"sum"}))
    drag([canvas.faderPoint("e0", 4, 0.5), canvas.faderPoint("e0", 4, 0.8)])
    assert owner.value("e0", 4) + owner.value("e1", 4) == pytest.approx(1.0)


def test_mouse_selects_rows_columns_and_boxes(desk: tuple[MergeCanvas, Owner]) -> None:
    canvas, owner = desk
    told: list[object] = []
    canvas.selectionChanged.connect(told.append)
    canvas.setFace("numbers")
    QApplication.processEvents()
    first, last = canvas.cellRect("e0", 1).center(), canvas.cellRect("e1", 3).center()
    drag([first, last])
    box = {(e, c) for e in ("e0", "e1") for c in (1, 2, 3)}
    assert set(canvas.selectedCells()) == box and set(told[-1]) == box
    mouse(_RELEASE, first, target=mouse(_PRESS, canvas.cellRect("e3", 8).center(), _CTRL))
    assert set(canvas.selectedCells()) == box | {("e3", 8)}
    assert not owner.edits
    count = len(told)
    canvas.setSelectedCells([("e2", 2)])
    assert len(told) == count and canvas.selectedCells() == (("e2", 2),)


def test_keys_of_the_table(desk: tuple[MergeCanvas, Owner]) -> None:
    canvas, owner = desk
    canvas.setSelectedCells([("e1", 4)])
    canvas._board.focus_cells()
    press(Qt.Key.Key_Right)
    press(Qt.Key.Key_Right, _SHIFT)
    assert canvas.selectedCells() == (("e1", 5), ("e1", 6))
    press("+")
    press("+")
    assert owner.value("e1", 5) == owner.value("e1", 6) == pytest.approx(0.52)
    assert owner.edits[0][3] == owner.edits[1][3] != "", "quick steps are one undo step"
    press(Qt.Key.Key_Minus, _CTRL)
    assert owner.value("e1", 5) == pytest.approx(0.42)
    press(Qt.Key.Key_Delete)
    assert owner.value("e1", 6) == 1.0 and owner.edits[-1][3] == ""
    press(Qt.Key.Key_Space, _CTRL)
    assert set(canvas.selectedCells()) == {(f"e{r}", c) for r in range(4) for c in (5, 6)}
    press(Qt.Key.Key_Escape)
    assert canvas.selectedCells() == ()
    press(Qt.Key.Key_A, _CTRL)
    assert len(canvas.selectedCells()) == owner.state.values.size


def test_typing_enters_values_and_moves_on(desk: tuple[MergeCanvas, Owner]) -> None:
    canvas, owner = desk
    canvas.setSelectedCells([("e0", 3)])
    canvas._board.focus_cells()
    press("0")
    editor = QApplication.focusWidget()
    assert isinstance(editor, QLineEdit) and editor.text() == "0"
    QTest.keyClicks(editor, ",73")
    QTest.keyClick(editor, Qt.Key.Key_Return)
    assert owner.value("e0", 3) == 0.73
    assert canvas.selectedCells() == (("e1", 3),), "Enter goes down"
    press(Qt.Key.Key_F2)
    editor = QApplication.focusWidget()
    assert isinstance(editor, QLineEdit) and editor.text() == "0.50"
    editor.setText("nonsense")
    QTest.keyClick(editor, Qt.Key.Key_Return)
    assert owner.value("e1", 3) == 0.5 and QApplication.focusWidget() is editor, "what is no number stays open"
    editor.setText("-0.25")
    QTest.keyClick(editor, Qt.Key.Key_Tab)
    assert owner.value("e1", 3) == -0.25 and canvas.selectedCells() == (("e1", 4),)


def test_typing_into_a_selection_fills_it(desk: tuple[MergeCanvas, Owner]) -> None:
    canvas, owner = desk
    cells = [("e0", 3), ("e0", 4), ("e2", 4)]
    canvas.setSelectedCells(cells)
    canvas._board.focus_cells()
    press(".")
    editor = QApplication.focusWidget()
    assert isinstance(editor, QLineEdit)
    QTest.keyClicks(editor, "9")
    QTest.keyClick(editor, Qt.Key.Key_Return)
    assert [owner.value(*c) for c in cells] == [0.9] * 3 and len(owner.edits) == 1
    assert set(canvas.selectedCells()) == set(cells)


def test_double_click_resets_on_the_track_and_types_on_the_number(desk: tuple[MergeCanvas, Owner]) -> None:
    canvas, owner = desk
    mouse(_DOUBLE, canvas.faderPoint("e0", 5, 0.9))
    assert owner.value("e0", 5) == 1.0 and len(owner.edits) == 1
    cell = canvas.cellRect("e0", 6)
    mouse(_DOUBLE, QPoint(cell.center().x(), cell.bottom() - 6))
    assert isinstance(QApplication.focusWidget(), QLineEdit) and len(owner.edits) == 1


def test_wheel_steps_only_focused_selected_cells(desk: tuple[MergeCanvas, Owner]) -> None:
    canvas, owner = desk

    def turn(at: QPoint, keys: Qt.KeyboardModifier = _NONE) -> None:
        widget = QApplication.widgetAt(at)
        assert widget is not None
        event = QWheelEvent(QPointF(widget.mapFromGlobal(at)), QPointF(at), QPoint(), QPoint(0, 120),
                            Qt.MouseButton.NoButton, keys, Qt.ScrollPhase.NoScrollPhase, False)  # fmt: skip
        QApplication.sendEvent(widget, event)

    canvas.setSelectedCells([("e1", 4)])
    canvas.focusSelectionBox()
    turn(canvas.cellRect("e1", 4).center())
    assert not owner.edits, "without the focus the wheel scrolls"
    canvas._board.focus_cells()
    turn(canvas.cellRect("e2", 4).center())
    assert not owner.edits, "beside the selection the wheel scrolls"
    turn(canvas.cellRect("e1", 4).center())
    turn(canvas.cellRect("e1", 4).center(), _SHIFT)
    turn(canvas.cellRect("e1", 4).center(), _CTRL)
    assert owner.value("e1", 4) == pytest.approx(0.611)


def test_copy_paste_and_fill(desk: tuple[MergeCanvas, Owner]) -> None:
    canvas, owner = desk
    QGuiApplication.clipboard().setText("0.1;0.2;\n-0,3;0.4;9")
    canvas.setSelectedCells([("e2", 12)])
    canvas._board.focus_cells()
    press(Qt.Key.Key_V, _CTRL)
    assert owner.state.values[2:4, 12:14].tolist() == [[0.1, 0.2], [-0.3, 0.4]] and len(owner.edits) == 1
    canvas.setSelectedCells([("e2", 12), ("e2", 13), ("e3", 12), ("e3", 13)])
    press(Qt.Key.Key_C, _CTRL)
    assert QGuiApplication.clipboard().text() == "0.1\t0.2\n-0.3\t0.4\n"
    press(Qt.Key.Key_D, _CTRL)
    assert owner.state.values[2:4, 12:14].tolist() == [[0.1, 0.1], [-0.3, -0.3]]
    QGuiApplication.clipboard().setText("no numbers")
    count = len(owner.edits)
    press(Qt.Key.Key_V, _CTRL)
    assert len(owner.edits) == count


def test_mute_solo_gain_links_and_groups_by_key(desk: tuple[MergeCanvas, Owner]) -> None:
    canvas, _ = desk
    told: list[tuple[object, ...]] = []
    canvas.muteToggled.connect(lambda *a: told.append(("mute", *a)))
    canvas.soloToggled.connect(lambda *a: told.append(("solo", *a)))
    canvas.gainEdited.connect(lambda *a: told.append(("gain", *a)))
    canvas.groupingChanged.connect(lambda *a: told.append(("group", *a)))
    canvas.rowsReordered.connect(lambda *a: told.append(("order", *a)))
    canvas.columnExpandToggled.connect(lambda *a: told.append(("open", *a)))
    canvas.setGrouping("layer")
    canvas.setSelectedCells([("e1", 4), ("e2", 4)])
    canvas._board.focus_cells()
    for key, keys in ((Qt.Key.Key_M, _NONE), (Qt.Key.Key_S, _NONE), (Qt.Key.Key_G, _NONE), (Qt.Key.Key_G, _SHIFT),
                      (Qt.Key.Key_Down, _ALT), (Qt.Key.Key_E, _NONE)):  # fmt: skip
        press(key, keys)
    assert told == [("mute", "e1", True), ("mute", "e2", True), ("solo", "e1", True), ("solo", "e2", True),
                    ("group", "region"), ("group", "layer x kind"), ("order", ("e0", "e2", "e1", "e3")),
                    ("open", "3")]  # fmt: skip
    told.clear()
    head = canvas._board.heads.heads()[2]
    mouse(_RELEASE, canvas.mutePoint("e2"), target=mouse(_PRESS, canvas.mutePoint("e2")))
    head.gain.setFocus()
    press("+")
    assert not head.mute.isChecked(), "the button shows the state, not the click"
    assert told[0] == ("mute", "e2", True) and told[1] == ("gain", "e2", 1.01, "Set gain of math to 1.01", "")
    for text, end, count in (("1.5", Qt.Key.Key_Return, 3), ("9", Qt.Key.Key_Escape, 3)):
        press(text[0])
        QTest.keyClicks(QApplication.focusWidget(), text[1:])
        press(end)
        assert QApplication.focusWidget() is head.gain and len(told) == count
    assert told[2][2] == 1.5


@pytest.mark.qt_log_ignore("does not support raise|grabbing")
def test_a_right_click_offers_commands_and_shapes(desk: tuple[MergeCanvas, Owner]) -> None:
    canvas, owner = desk
    asked: list[str] = []
    canvas.shapeRequested.connect(asked.append)
    canvas.setShapes([("v", "V & more", "Full at both ends.")])
    canvas.setSelectedCells([("e1", 4), ("e1", 5)])
    viewport, at = canvas._board.table.viewport(), canvas.cellRect("e1", 5).center()

    def choose(word: str) -> None:
        reason = QContextMenuEvent.Reason.Mouse
        QApplication.sendEvent(viewport, QContextMenuEvent(reason, viewport.mapFromGlobal(at), at))
        menu = QApplication.activePopupWidget()
        assert isinstance(menu, QMenu)
        next(a for a in menu.actions() if a.text().startswith(word)).trigger()
        menu.close()

    choose("Reset")
    assert [owner.value("e1", c) for c in (4, 5, 6)] == [1.0, 1.0, 0.5]
    choose("V && more")
    assert asked == ["v"]
    told: list[object] = []
    canvas.cellMenuRequested.connect(lambda cells, _: told.append(cells))
    reason = QContextMenuEvent.Reason.Mouse
    QApplication.sendEvent(viewport, QContextMenuEvent(reason, viewport.mapFromGlobal(at), at))
    assert told == [(("e1", 4), ("e1", 5))] and QApplication.activePopupWidget() is None


def test_gain_drag_is_one_gesture(desk: tuple[MergeCanvas, Owner]) -> None:
    canvas, _ = desk
    told: list[tuple[object, ...]] = []
    finished: list[str] = []
    canvas.gainEdited.connect(lambda *a: told.append(a))
    canvas.gestureFinished.connect(finished.append)
    box = canvas._board.heads.heads()[0].gain
    at = box.mapToGlobal(box.rect().center())
    drag([at, at - QPoint(0, 40)])
    assert told[-1][1] == pytest.approx(1.4) and {t[3] for t in told} == set(finished) and len(finished) == 1


def test_rows_are_reordered_by_their_handle(desk: tuple[MergeCanvas, Owner]) -> None:
    canvas, _ = desk
    orders: list[object] = []
    canvas.rowsReordered.connect(orders.append)
    heads = canvas._board.heads.heads()
    start = heads[0].mapToGlobal(QPoint(4, heads[0].height() // 2))
    drag([start, heads[2].mapToGlobal(QPoint(4, heads[2].height() - 4))])
    assert orders == [("e1", "e2", "e0", "e3")]


@pytest.mark.qt_log_ignore("does not support raise")  # the tooltip that tells why
def test_fixed_coefficients_do_not_move(qtbot: QtBot) -> None:
    canvas, owner = shown(qtbot, make_state(2, 4, value=0.5, fixed="This method has no coefficients."))
    drag([canvas.faderPoint("e0", 2, 0.5), canvas.faderPoint("e0", 2, 1.0)])
    press("+")
    press("0")
    press(Qt.Key.Key_Delete)
    assert not owner.edits and not isinstance(QApplication.focusWidget(), QLineEdit)


def test_curve_points_drag_bend_and_type(desk: tuple[MergeCanvas, Owner]) -> None:
    canvas, owner = desk
    owner.state = replace(owner.state, values=owner.state.values + np.arange(4)[:, None] * 0.2)
    canvas.setState(owner.state)
    canvas.setFace("curve")
    QApplication.processEvents()
    drag([canvas.faderPoint("e2", 4, 0.9), canvas.faderPoint("e2", 4, 1.4)])
    assert owner.value("e2", 4) == pytest.approx(1.4, abs=0.02) and owner.value("e2", 3) == pytest.approx(0.9)
    drag([canvas.faderPoint("e1", 8, 0.7), canvas.faderPoint("e1", 8, 0.2)], _SHIFT)
    values = owner.state.values[1]
    assert values[8] == pytest.approx(0.2, abs=0.02) and values[8] < values[7] < values[6] < 0.7 and values[2] == 0.7
    assert len({gesture for *_, gesture in owner.edits}) == 2
    press("0")
    editor = QApplication.focusWidget()
    assert isinstance(editor, QLineEdit)
    QTest.keyClicks(editor, ".33")
    QTest.keyClick(editor, Qt.Key.Key_Return)
    assert owner.value("e1", 8) == 0.33
    press("+")
    assert owner.value("e1", 8) == pytest.approx(0.34)


def test_files_dropped_on_the_canvas_and_on_a_row(desk: tuple[MergeCanvas, Owner]) -> None:
    canvas, _ = desk
    dropped: list[tuple[object, str]] = []
    canvas.filesDropped.connect(lambda *a: dropped.append(a))
    canvas.setDropText(lambda paths, target: f"{target} {len(paths)}" if paths[0].endswith(".safetensors") else "")
    head = canvas._board.heads.heads()[2]
    places = {"canvas": canvas.rect().center(), "row:e2": head.mapTo(canvas, head.rect().center())}

    def drop(name: str, at: QPoint) -> bool:
        mime = QMimeData()
        mime.setUrls([QUrl.fromLocalFile(name), QUrl("https://example.org/x.safetensors")])
        event = QDropEvent(QPointF(at), Qt.DropAction.CopyAction, mime, Qt.MouseButton.LeftButton, _NONE)
        event.ignore()
        canvas._offer(event)
        says = canvas._overlay.text if canvas._overlay.isVisible() else ""
        canvas.dropEvent(event)
        assert not canvas._overlay.isVisible()
        return bool(says) and event.isAccepted()

    for target, at in places.items():
        assert drop("/m/a.safetensors", at)
        assert dropped[-1] == (["/m/a.safetensors"], target)
    assert not [w for w in canvas.findChildren(QWidget) if w.acceptDrops()], "every drop reaches the canvas"
    assert not drop("/m/a.txt", places["canvas"]) and len(dropped) == 2


def test_the_selection_box_tells_and_shows_errors(desk: tuple[MergeCanvas, Owner]) -> None:
    canvas, _ = desk
    typed: list[str] = []
    done: list[str] = []
    canvas.selectionTyped.connect(typed.append)
    canvas.selectionCommitted.connect(done.append)
    canvas._board.focus_cells()
    press("/")
    box = QApplication.focusWidget()
    assert isinstance(box, QLineEdit)
    QTest.keyClicks(box, "chat")
    canvas.setSelectionText("something else")
    assert box.text() == "chat", "the box is not overwritten while somebody types"
    canvas.setSelectionError("No such expert.", "Did you mean chat?")
    assert canvas._bar.error.isVisible() and "Did you mean chat?" in canvas._bar.error.toolTip()
    canvas.setSelectionError("")
    assert not canvas._bar.error.isVisible()
    QTest.keyClick(box, Qt.Key.Key_Return)
    assert typed[-1] == "chat" and done == ["chat"] and QApplication.focusWidget() is canvas._board.table


def test_selection_survives_opening_a_layer(desk: tuple[MergeCanvas, Owner]) -> None:
    canvas, _ = desk
    canvas.setSelectedCells([("e1", 3), ("e1", 4)])
    opened = make_state(4, 12, value=0.5, expanded=("3",))
    canvas.setState(opened)
    assert [opened.columns[c].key[:2] for _, c in canvas.selectedCells()] == [
        ("2", None), ("3", "attn"), ("3", "mlp"), ("3", "norm"),
    ]  # fmt: skip


def test_the_empty_desk_offers_files_and_the_demo(qtbot: QtBot) -> None:
    canvas, _ = shown(qtbot, DeskState())
    with qtbot.waitSignal(canvas.openFilesRequested):
        QTest.mouseClick(canvas._empty.open, Qt.MouseButton.LeftButton)
    with qtbot.waitSignal(canvas.openDemoRequested):
        QTest.mouseClick(canvas._empty.demo, Qt.MouseButton.LeftButton)
    canvas.setState(make_state(2, 3))
    assert canvas._board.isVisible() and not canvas._empty.isVisible()


def test_bar_leaves_its_words_out_where_there_is_no_room(qtbot: QtBot) -> None:
    """A window 1000 px wide has 460 for the desk beside its panels."""
    around = QWidget()
    qtbot.addWidget(around)
    bar = TopBar(around)
    around.show()
    narrow, words = bar.minimumSizeHint().width(), [w for w in bar.findChildren(PlainLabel) if w.text() != "Select"]
    bar.resize(narrow, 80)
    assert narrow <= 480 and len(words) == 2 and all(w.isHidden() for w in words)
    assert bar.minimumSizeHint().width() == narrow
    bar.resize(narrow + 300, 80)
    assert not any(w.isHidden() for w in words)
