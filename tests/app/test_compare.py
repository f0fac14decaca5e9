"""The compare layout in the real window: two desks, one selection, holding, adopting, scores with intervals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import QMimeData, QPoint, Qt, QUrl
from PySide6.QtGui import QDragEnterEvent, QDropEvent, QGuiApplication
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QWidget
from pytestqt.qtbot import QtBot

from app import compare_state, recording
from app.compare_controller import NOW, CompareController
from app.demo import demo_recipe
from app.desk import Desk
from app.runs_controller import RunsController
from app.scoring import Board
from engine.compare.table import score_table
from engine.evaluate.measures import Outcome
from engine.evaluate.metrics import wilson
from engine.evaluate.mix import Measured
from engine.evaluate.score import Score
from engine.evaluate.task import load_task
from engine.history.recipes import canonical
from engine.recipe.recipe import ModelRef, Recipe, Rule
from tests.app.models import write_family
from tests.engine.history_kills import facts
from widgets.common.recipe_drag import recipe_mime
from widgets.compare.targets import DropTargets

Settled = Callable[[Desk], None]


@pytest.fixture
def compare(desk: Desk, tmp_path: Path, settled: Settled, qtbot: QtBot) -> CompareController:
    """A desk with three experts, a pin "before" and a change since."""
    base, experts = write_family(tmp_path, called=("code", "chat", "math"))
    desk.shelf.drop([str(p) for p in (base, *experts)], "canvas")
    settled(desk)
    store = desk.workspace.store
    store.pin("before")
    first = store.recipe.experts[0]
    store.apply(store.recipe.with_rules([Rule(value=0.25, expert=first.id, layer="1")]), "Set")
    qtbot.wait(120)
    found = desk.findChild(CompareController)
    assert isinstance(found, CompareController)
    return found


def opened(desk: Desk, compare: CompareController, qtbot: QtBot) -> None:
    desk.window.activateWindow()  # no window manager does it here
    desk.window.commands.trigger("view.compare")
    assert compare.is_open
    qtbot.wait(120)


def outcome(correct: np.ndarray) -> Outcome:
    return Outcome(np.zeros(len(correct), np.int64), np.stack([correct, ~correct], 1).astype(np.uint8))


def score(correct: np.ndarray) -> Score:
    k, n = int(correct.sum()), len(correct)
    low, high = wilson(k, n)
    return Score(task="t", split="val", metric="accuracy", value=k / n, low=low, high=high, correct=k, count=n)


def test_two_desks_show_both_recipes_on_one_scale(desk: Desk, compare: CompareController, qtbot: QtBot) -> None:
    shown, narrow = [n for n, d in desk.window.docks.items() if not d.isHidden()], desk.window.minimumSizeHint().width()
    desk.window.resize(narrow + 40, 700)
    size = desk.window.size()
    opened(desk, compare, qtbot)
    page, columns = compare.page, [c.label for c in desk.desk.columns]
    at = columns.index("1")
    assert compare.names == (NOW, "before") and page.state.names[:2] == (NOW, "before")
    left, right = page.left.state, page.right.state
    assert left.values[0, at] == 0.25 and right.values[0, at] == 1.0
    assert (left.low, left.high) == (right.low, right.high)
    assert [m.high for m in left.metrics] == [m.high for m in right.metrics] and left.fixed and right.fixed
    heat = page.state.heat
    assert heat.diverging and heat.low == -heat.high and heat.values[0, at] == -0.75
    assert np.count_nonzero(heat.values) == 1 and heat.text(0, at) == "−0.75" and heat.columns[at] == "1"
    assert ("code · 1", "0.25", "1") in page.state.changes.body
    assert not any(not desk.window.docks[n].isHidden() for n in ("models", "scores")), "the side panels make room"
    page.swap.click()
    assert page.state.heat.text(0, at) == "+0.75" and compare.names == ("before", NOW)
    QTest.keyClick(desk.window, Qt.Key.Key_K, Qt.KeyboardModifier.ControlModifier)
    assert not compare.is_open and desk.window.pages.currentWidget() is desk.window.canvas
    assert [n for n, d in desk.window.docks.items() if not d.isHidden()] == shown
    qtbot.wait(60)
    assert desk.window.size() == size, "the layout leaves no trace in the window's size"


def test_there_is_one_selection_and_one_scroll(desk: Desk, compare: CompareController, qtbot: QtBot) -> None:
    opened(desk, compare, qtbot)
    page, ids = compare.page, [e.id for e in desk.workspace.recipe.experts]
    table = page.left.board.table
    table.setFocus()
    table.choose_box((0, 1), (1, 2))
    wanted = {(ids[r], c) for r in (0, 1) for c in (1, 2)}
    assert set(desk.window.canvas.selectedCells()) == set(page.right.cells()) == wanted
    assert np.argwhere(page.heat.view.chosen).tolist() == [[0, 1], [0, 2], [1, 1], [1, 2]]
    page.heat.view.cellChosen.emit(2, 3)
    assert set(page.left.cells()) == set(desk.window.canvas.selectedCells()) == {(ids[2], 3)}
    current = desk.overlap.links.current
    assert current is not None and current.places.experts == (ids[2],)
    desk.overlap.links.clear()
    assert not page.left.cells() and not page.right.cells() and not page.heat.view.chosen.any()
    desk.desk.set_grouping("tensor")
    qtbot.wait(150)
    across = [twin.bars()[0] for twin in (page.left, page.right)]
    assert across[0].maximum() > 0 and len(page.left.state.columns) == len(page.heat.view.state.columns)
    across[0].setValue(across[0].maximum() // 2)
    assert across[1].value() == pytest.approx(across[0].value(), abs=2), "the desks may be a pixel apart in width"
    across[1].setValue(across[1].maximum())
    assert across[0].value() == across[0].maximum()


def test_the_desks_are_only_looked_at(
    desk: Desk, compare: CompareController, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr("widgets.desk.mouse.QToolTip.showText", lambda _, text, *__: told.append(text))
    opened(desk, compare, qtbot)
    page, store = compare.page, desk.workspace.store
    recipe, index = store.recipe, store.undo_stack.index()
    table = page.left.board.table
    table.setFocus()
    table.choose_box((0, 0), (1, 3))
    for key in (Qt.Key.Key_Plus, Qt.Key.Key_Delete, Qt.Key.Key_M, Qt.Key.Key_S, Qt.Key.Key_5, Qt.Key.Key_Return):
        QTest.keyClick(table, key)
    QTest.keyClick(table, Qt.Key.Key_D, Qt.KeyboardModifier.ControlModifier)
    head = page.left.board.heads.heads()[0]
    QTest.mouseClick(head, Qt.MouseButton.LeftButton, pos=head.mute.geometry().center())
    fader = table.fader((0, 0))
    QTest.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=QPoint(table.box((0, 0)).center().x(),
                                                                             round(fader.y_of(0.3))))  # fmt: skip
    assert told and set(told) == {compare_state.FIXED}
    assert store.recipe == recipe and store.undo_stack.index() == index


def test_holding_shows_b_and_changes_nothing(desk: Desk, compare: CompareController, qtbot: QtBot) -> None:
    store, canvas, window = desk.workspace.store, desk.window.canvas, desk.window
    recipe, index, at = store.recipe, store.undo_stack.index(), [c.label for c in desk.desk.columns].index("1")
    canvas.setSelectedCells([(recipe.experts[1].id, at)])
    window.activateWindow()
    canvas.setFocus()
    qtbot.wait(30)
    QTest.keyPress(canvas.table, Qt.Key.Key_Backslash)
    assert compare.holding.is_on and canvas._state.values[0, at] == 1.0 and canvas._state.fixed
    assert "before" in compare.holding._veil.text and compare.holding._veil.isVisible()
    desk.desk.refresh()
    qtbot.wait(30)
    assert canvas._state.values[0, at] == 1.0, "what is measured meanwhile does not end it"
    QTest.keyRelease(canvas.table, Qt.Key.Key_Backslash)
    assert not compare.holding.is_on and canvas._state.values[0, at] == 0.25 and not canvas._state.fixed
    assert canvas.selectedCells() == ((recipe.experts[1].id, at),) and not compare.holding._veil.isVisible()
    QTest.keyPress(canvas.table, Qt.Key.Key_Backslash)
    QTest.keyClick(canvas.table, Qt.Key.Key_M)
    assert not compare.holding.is_on and store.recipe.muted == (), "another key ends it and does nothing else"
    QTest.keyRelease(canvas.table, Qt.Key.Key_Backslash)
    QTest.mousePress(compare.holding.button, Qt.MouseButton.LeftButton)
    assert canvas._state.values[0, at] == 1.0
    QTest.mouseRelease(compare.holding.button, Qt.MouseButton.LeftButton)
    assert canvas._state.values[0, at] == 0.25
    assert store.recipe == recipe and store.undo_stack.index() == index
    opened(desk, compare, qtbot)
    QTest.keyPress(window, Qt.Key.Key_Backslash)
    page = compare.page
    assert page.left.state.values[0, at] == 1.0 and page.left.mark.accessibleName() == "Mix B"
    QTest.keyRelease(window, Qt.Key.Key_Backslash)
    assert page.left.state.values[0, at] == 0.25 and page.left.mark.accessibleName() == "Mix A"


def test_adopting_is_one_step(desk: Desk, compare: CompareController, qtbot: QtBot) -> None:
    opened(desk, compare, qtbot)
    store = desk.workspace.store
    recipe, index = store.recipe, store.undo_stack.index()
    compare.page.adopt.click()
    qtbot.wait(120)
    assert store.recipe == store.pins["before"] and store.undo_stack.index() == index + 1
    assert store.undo_stack.undoText() == "Adopt before" and not compare.page.adopt.isEnabled()
    assert not np.any(compare.page.state.heat.values)
    store.undo_stack.undo()
    qtbot.wait(120)
    assert store.recipe == recipe and compare.page.adopt.isEnabled()
    store.reset(Recipe(), None)
    qtbot.wait(150)
    assert not compare.is_open and desk.window.pages.currentWidget() is desk.window.welcome, "an emptied desk"


def test_scores_come_with_paired_intervals(
    desk: Desk, compare: CompareController, qtbot: QtBot, settled: Settled, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = np.arange(200)
    answers = {True: rows < 120, False: (rows < 112) | (rows == 199)}
    asked: list[Recipe] = []

    def measure(recipe: Recipe, *_: object, **__: object) -> Measured:
        asked.append(recipe)
        correct = answers[bool(recipe.rules)]
        return Measured({"t": score(correct)}, {"t": outcome(correct)})

    monkeypatch.setattr("engine.evaluate.mix.measure_recipe", measure)
    opened(desk, compare, qtbot)
    page = compare.page
    assert page.state.scores.is_empty and not page.score.isEnabled() and "Ctrl+T" in page.state.score_hint
    task = load_task(Path(demo_recipe().tasks[0].path))
    desk.workspace.scoring.board = Board(tasks={"t": replace(task, name="t")})
    for recipe in (desk.workspace.recipe, desk.workspace.store.pins["before"]):
        compare.scores.note(recipe, {"t": score(answers[bool(recipe.rules)])})
    compare.refresh()
    (loose,) = page.state.scores.lines
    assert "separate samples" in loose.how and loose.interval and loose.verdict == "not told apart"
    page.score.click()
    assert compare.scores.is_running
    settled(desk)
    qtbot.wait(120)
    (line,) = page.state.scores.lines
    assert len(asked) == 2 and (line.first, line.difference) == ("60.0 % [53.1, 66.5]", "+3.5 points")
    assert "McNemar" in line.how and "8 are right only in A, 1 only in B" in line.how and line.better == "A"
    assert line.ends is not None and loose.ends is not None and line.ends[2] - line.ends[0] < 8 < loose.ends[2]
    assert not page.score.isEnabled() and page.scores.view.table.item(0, 6).text() == "A better"
    page.scores.copy()
    assert "+3.5 points" in QGuiApplication.clipboard().text() and "McNemar" in page.scores.csv()
    compare.swap()
    (line,) = page.state.scores.lines
    assert (line.difference, line.better) == ("−3.5 points", "B"), "what is known is not measured again"
    store = desk.workspace.store
    store.apply(store.recipe.with_muted(store.recipe.experts[1].id, True), "Mute")
    qtbot.wait(150)
    assert page.score.isEnabled(), "another mix has other rows"


def test_lower_is_better_points_the_other_way() -> None:
    a, b = (Score(task="t", split="val", metric="perplexity", value=v, low=v - 1, high=v + 1, correct=0, count=9)
            for v in (20.0, 30.0))  # fmt: skip
    (line,) = compare_state.score_list(score_table({"t": a}, {"t": b})).lines
    assert line.difference.startswith("−10") and line.better == "A" and line.ends is not None and line.ends[0] > 0


def test_runs_with_other_experts_and_clashing_handles(
    desk: Desk, compare: CompareController, qtbot: QtBot, settled: Settled, tmp_path: Path
) -> None:
    recipe = desk.workspace.recipe
    code, chat, math = recipe.experts
    law = ModelRef(id="q", name="<b>law</b>", path="/gone/law")
    strange = replace(recipe, experts=(replace(math, id=code.id), law), rules=(Rule(value=0.5, expert=code.id),))
    recording.recorder().submit(lambda h: h.record(facts(7, recipe=canonical(strange)))).result()
    runs = desk.findChild(RunsController)
    assert isinstance(runs, RunsController)
    runs.acts.do("beside", [1])
    qtbot.waitUntil(lambda: compare.is_open and bool(compare.page.right.state.experts), timeout=10_000)
    left, right = compare.page.left.state, compare.page.right.state
    assert [e.id for e in left.experts][:3] == [code.id, chat.id, math.id] and len(left.experts) == 4
    assert [e.silenced for e in right.experts] == [True, True, False, False]
    assert left.experts[3].name.endswith("(not in A)") and right.values[2].tolist() == [0.5] * len(right.columns)
    assert [e.index for e in right.experts] == [0, 1, 2, 3], "colours are those of the desk"
    change = next(m for m in left.metrics if m.id == "change")
    assert change.values.max() <= change.high < 2 * change.values.max(), (
        "a side that is not measured does not set the scale"
    )
    assert "<b>law</b> on the desk" in compare.page.state.problem and not compare.page.score.isEnabled()
    compare.page.right.board.table.choose_box((2, 1), (3, 1))
    current = desk.overlap.links.current
    assert current is not None and current.places.experts == (math.id, right.experts[3].id)
    assert desk.window.canvas.selectedCells() == ((math.id, 1),) and len(compare.page.left.cells()) == 2
    compare.choose(NOW, compare._all()[-1])
    other = replace(strange, base=ModelRef(id="base", name="other", path="/elsewhere"))
    compare.guests({"Run 9": other}, {})
    assert "base on the desk" in compare.page.state.problem and compare.page.state.changes.body
    assert compare.page.sources[0].isVisible() and not compare.page.left.isVisible()


def test_an_empty_layout_says_what_to_do(desk: Desk, qtbot: QtBot) -> None:
    found = desk.findChild(CompareController)
    assert isinstance(found, CompareController)
    opened(desk, found, qtbot)
    page = found.page
    assert page._pages.currentIndex() == 0 and not any(
        b.isEnabled() for b in (page.swap, page.hold, page.adopt, page.score))  # fmt: skip
    QTest.keyPress(desk.window, Qt.Key.Key_Backslash)
    assert not found.holding.is_on and not page.is_held
    QTest.keyRelease(desk.window, Qt.Key.Key_Backslash)
    assert desk.help_page() == "compare"
    desk.window.close()
    assert not found.is_open and not desk.window.docks["models"].isHidden(), "the window remembers its panels"


def test_everything_is_named_and_reached_by_tab(desk: Desk, compare: CompareController, qtbot: QtBot) -> None:
    opened(desk, compare, qtbot)
    page = compare.page
    stops = [page.sources[0], page.swap, page.sources[1], page.hold, page.adopt, page.leave, page.tray,
             page.left.board.table, page.right.board.table, page.heat.view, page.changes.view.table]  # fmt: skip
    for stop in stops:
        assert stop.accessibleName() or getattr(stop, "text", str)(), stop
        assert stop.focusPolicy() & Qt.FocusPolicy.TabFocus, stop
    assert page.left.board.table.accessibleName() != page.right.board.table.accessibleName()
    for frame in (page.heat, page.changes):
        frame._as_table.setChecked(True)
        assert frame._table.rowCount() >= 1 and frame.csv().count("\n") > 1 and not frame.picture().isNull()


def dropped(targets: DropTargets, side: int, mime: QMimeData) -> bool:
    """What the window system sends when a drag ends over a side; whether it was taken."""
    spot = targets.box(side).center()
    copy, left, none = Qt.DropAction.CopyAction, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    enter, drop = QDragEnterEvent(spot.toPoint(), copy, mime, left, none), QDropEvent(spot, copy, mime, left, none)
    for event in (enter, drop):
        event.ignore()
        QApplication.sendEvent(targets, event)
    return drop.isAccepted()


def test_pins_are_dragged_onto_a_and_b(desk: Desk, compare: CompareController, qtbot: QtBot) -> None:
    store, window = desk.workspace.store, desk.window
    store.pin("after")
    pins = window.history._pins
    qtbot.waitUntil(lambda: pins.model().rowCount() == 2)
    pins.dragging.emit(True)
    targets = compare._targets
    assert targets is not None and targets.isVisible() and targets.names == (NOW, "before")
    assert targets.size() == window.pages.size(), "over the whole middle of the window"
    mime = pins.model().mimeData([pins.model().index(1, 0)])
    assert dropped(targets, 1, mime)
    pins.dragging.emit(False)
    qtbot.waitUntil(lambda: compare.is_open, timeout=3000)
    assert compare.names == (NOW, "after") and not targets.isVisible()
    tray = compare.page.tray
    qtbot.waitUntil(tray.isVisible)
    assert [tray.item(i).text() for i in range(tray.count())] == ["A: Now", "B: after", "before"]
    tray.dragging.emit(True)
    assert targets.isVisible() and dropped(targets, 0, tray.mimeData([tray.item(2)]))
    tray.dragging.emit(False)
    qtbot.waitUntil(lambda: compare.names == ("before", "after"), timeout=3000)
    tray.setFocus()
    tray.setCurrentRow(1)
    QTest.keyClick(tray, Qt.Key.Key_A)
    assert compare.names == ("after", "before"), "what was there goes to the other side"
    tray.setCurrentRow(0)
    QTest.keyClick(tray, Qt.Key.Key_A)
    assert compare.names == (NOW, "before")
    window.history.pinPlaced.emit(0, "after")
    assert compare.names == ("after", "before")
    compare.place(0, "<b>of another window</b>")
    assert compare.names == ("after", "before")


def test_only_recipes_are_taken_by_the_halves(qtbot: QtBot) -> None:
    parent = QWidget()
    qtbot.addWidget(parent)
    parent.resize(400, 200)
    targets, got = DropTargets(parent), list[tuple[int, str]]()
    targets.dropped.connect(lambda side, name: got.append((side, name)))
    targets.show_names("Now", "a\u202eb")
    files = QMimeData()
    files.setUrls([QUrl.fromLocalFile("/etc/passwd")])
    assert not dropped(targets, 0, files) and targets.hot == -1
    assert dropped(targets, 1, recipe_mime("pin \udc80 <b>")) and targets.hot == -1
    qtbot.waitUntil(lambda: len(got) == 1)
    assert got[0][0] == 1 and "<b>" in got[0][1]
