"""Without a mouse: every control is reached, heard and seen, nothing is a trap, and all views are worked by keys."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QMenu, QPushButton, QScrollArea, QTableWidget, QTabWidget, QWidget
from pytestqt.qtbot import QtBot

from app.actions import MENUS
from app.desk import Desk
from app.task_wizard import TaskWizardController
from tests.app.key_walk import NONE, complaints, inside, press, spoken, walk
from tests.app.models import write_family, write_model
from widgets.dialogs.close_jobs import CloseJobsDialog
from widgets.dialogs.recover import RecoverDialog, RecoverState
from widgets.dialogs.task_wizard import TaskWizard
from widgets.dialogs.task_wizard_state import STEPS
from widgets.panels.method_panel import HelpText
from widgets.plots.frame import PlotFrame

HELP = Path(__file__).resolve().parents[2] / "resources" / "help"

pytestmark = pytest.mark.qt_log_ignore("This plugin does not support")
Settled = Callable[[Desk], None]
KEY, MOD = Qt.Key, Qt.KeyboardModifier


@pytest.fixture
def keys(desk: Desk, tmp_path: Path, settled: Settled, qtbot: QtBot) -> Desk:
    """A desk with three experts; its window has the keyboard."""
    base, experts = write_family(tmp_path, 3)
    desk.shelf.drop([str(p) for p in (base, *experts)], "canvas")
    settled(desk)
    for key in desk.window.toasts.shown():
        desk.window.toasts.dismiss(key)
    desk.window.resize(1440, 900)
    desk.window.activateWindow()
    assert QTest.qWaitForWindowActive(desk.window, 2000)
    desk.window.canvas.setFocus()
    return desk


def test_tab_goes_through_the_window_and_comes_back(keys: Desk) -> None:
    stops = walk()
    assert complaints(stops) == []
    window = keys.window
    for pane in (window.sentence, window.shelf, window.canvas, window.scores):
        assert any(pane is s.widget or pane.isAncestorOf(s.widget) for s in stops), pane
    back = walk(KEY.Key_Backtab, MOD.ShiftModifier)
    assert {id(s.widget) for s in back} == {id(s.widget) for s in stops}


def test_f6_visits_every_pane_and_tab_everything_in_each(keys: Desk, settled: Settled) -> None:
    window = keys.window
    for action in ("view.overlap", "view.runs", "view.examples", "mix.sweep", "mix.tune", "file.export"):
        window.commands.trigger(action)
    settled(keys)
    for name, dock in window.docks.items():
        window.show_panel(name)
        window.canvas.setFocus()
        visited = set()
        for _ in range(len(window.docks) + 4):
            press(KEY.Key_F6)
            here = QApplication.focusWidget()
            visited |= {n for n, d in window.docks.items() if d.isAncestorOf(here)}
            if dock.isAncestorOf(here):
                break
        assert name in visited, f"F6 does not reach {name}"
        assert complaints([s for s in walk(within=dock) if s.widget is not dock.widget()]) == [], name
        assert spoken(here), name
    window.show_panel("method")
    window.method.findChild(HelpText).setFocus()
    area = window.method.findChild(QScrollArea).verticalScrollBar()
    area.setValue(0)
    press(KEY.Key_PageDown)
    assert area.value() > 0 or not area.maximum(), "a text longer than its panel is read by keys"


def test_menus_open_walk_and_close_by_keys(keys: Desk) -> None:
    before = QApplication.focusWidget()
    press(KEY.Key_F, MOD.AltModifier)
    titles = []
    for _ in MENUS:
        menu = QApplication.activePopupWidget()
        assert isinstance(menu, QMenu)
        titles.append(menu.title().replace("&", ""))
        press(KEY.Key_Right)
    assert titles == list(MENUS)
    press(KEY.Key_Escape)
    press(KEY.Key_Escape)
    assert QApplication.activePopupWidget() is None
    assert QApplication.focusWidget() is before


def test_dialogs_are_walked_and_left_by_escape(keys: Desk) -> None:
    def look(dialog: QWidget) -> None:
        assert complaints(walk()) == []
        press(KEY.Key_Escape)
        assert not dialog.isVisible()

    before = QApplication.focusWidget()
    for opened in ("edit.preferences", "help.shortcuts", "help.about"):
        inside(partial(keys.window.commands.trigger, opened), look)
        keys.window.activateWindow()  # no window manager does it here
        assert QTest.qWaitForWindowActive(keys.window, 2000)
        assert QApplication.focusWidget() is before, opened


def test_windows_beside_the_desk_are_walked_and_left_by_escape(keys: Desk, qtbot: QtBot, settled: Settled) -> None:
    keys.history.pin()
    keys.workspace.store.apply(keys.workspace.recipe.with_param("scale", 0.4), "Scale")
    for opened in ("help.contents", "mix.explain", "mix.new_task", "file.bundle"):
        qtbot.waitUntil(keys.window.commands[opened].isEnabled)
        keys.window.commands.trigger(opened)
        qtbot.waitUntil(lambda: QApplication.activeWindow() is not keys.window)
        settled(keys)
        dialog = QApplication.activeWindow()
        assert complaints(walk()) == [], opened
        press(KEY.Key_Escape)
        assert not dialog.isVisible(), opened
        keys.window.activateWindow()
        assert QTest.qWaitForWindowActive(keys.window, 2000)


def test_an_empty_desk_is_walked_and_every_empty_view_is_heard(desk: Desk, settled: Settled) -> None:
    window = desk.window
    window.resize(1440, 900)
    window.activateWindow()
    assert QTest.qWaitForWindowActive(window, 2000)
    press(KEY.Key_Tab)
    stops = walk()
    assert complaints(stops) == []
    for pane in (window.shelf, window.welcome, window.scores):
        assert any(pane is s.widget or pane.isAncestorOf(s.widget) for s in stops), pane
    press(KEY.Key_B, MOD.ControlModifier)
    settled(desk)
    assert QTest.qWaitForWindowActive(window, 2000)
    panel = desk.overlap.panel()
    tabs = panel.findChild(QTabWidget).tabBar()
    for _ in range(tabs.count()):
        tabs.setFocus(Qt.FocusReason.TabFocusReason)
        assert complaints(walk(within=window.docks["overlap"])[:-1]) == [], panel.current
        assert panel.frame(panel.current).view.state.empty, f"{panel.current} does not say what to do"
        tabs.setFocus(Qt.FocusReason.TabFocusReason)
        press(KEY.Key_Right)


def test_questions_are_walked_and_escape_changes_nothing(keys: Desk, tmp_path: Path) -> None:
    own, other = tmp_path / "merged", tmp_path / "thesis"
    write_model(own, {})
    other.mkdir()
    (other / "chapter.txt").write_text("mine")
    rows = (("λ", "0.3", "0.4"), ("Expert", "chat", "code"))
    state = RecoverState(project="mix.mixdown", saved="yesterday", recovered="today", newer=True, rows=rows)
    recover = RecoverDialog(state, keys.window)
    answers: list[object] = []
    questions: dict[str, Callable[[], object]] = {
        "recovered work": recover.exec,
        "an export there": lambda: answers.append(keys.dialogs.ask_replace(own)),
        "something else there": lambda: answers.append(keys.dialogs.ask_replace(other)),
        "running jobs": lambda: answers.append(CloseJobsDialog(["Exporting a", "Exporting b"], keys.window).ask()),
    }

    def look(dialog: QWidget) -> None:
        stops = walk()
        assert complaints(stops) == [], dialog
        buttons = [b for b in dialog.findChildren(QPushButton) if b.isEnabled()]
        assert {id(b) for b in buttons} <= {id(s.widget) for s in stops}, dialog
        press(KEY.Key_Escape)
        assert not dialog.isVisible()

    before = QApplication.focusWidget()
    for what, ask in questions.items():
        inside(ask, look)
        keys.window.activateWindow()
        assert QTest.qWaitForWindowActive(keys.window, 2000)
        assert QApplication.focusWidget() is before, what
    assert (recover.answer, answers) == ("recovered", [None, None, "stay"])


def test_every_step_of_the_task_wizard_is_walked(keys: Desk, tmp_path: Path, qtbot: QtBot, settled: Settled) -> None:
    data = tmp_path / "reviews.csv"
    data.write_text("sentence,label\n" + "".join(f"film number {i},{'good' if i % 2 else 'bad'}\n" for i in range(40)))
    wizard_of = keys.findChild(TaskWizardController)
    wizard_of.open(str(data))
    settled(keys)
    wizard = QApplication.activeWindow()
    assert isinstance(wizard, TaskWizard) and wizard.state.columns
    wizard.set_state(replace(wizard.state, problems=("",) * len(STEPS), busy=""))  # the base has no tokenizer
    wizard.go(0)
    for step in range(len(STEPS)):
        assert wizard.step == step
        assert complaints(walk()) == [], STEPS[step]
        press(KEY.Key_Right, MOD.AltModifier) if step < len(STEPS) - 1 else None
    press(KEY.Key_Left, MOD.AltModifier)
    assert wizard.step == len(STEPS) - 2
    press(KEY.Key_Escape)
    assert not wizard.isVisible()


def test_the_palette_runs_a_command_by_keys(keys: Desk) -> None:
    press(KEY.Key_P, MOD.ControlModifier | MOD.ShiftModifier)
    for letter in "preferen":
        press(getattr(KEY, f"Key_{letter.upper()}"))
    seen = list[str]()
    inside(lambda: press(KEY.Key_Return), lambda d: seen.append(d.windowTitle()))
    assert seen == ["Preferences"]


def test_every_overlap_view_is_worked_by_keys(keys: Desk, qtbot: QtBot, settled: Settled) -> None:
    press(KEY.Key_B, MOD.ControlModifier)
    settled(keys)
    panel, links = keys.overlap.panel(), keys.overlap.links
    tabs = panel.findChild(QTabWidget).tabBar()
    tabs.setFocus(Qt.FocusReason.TabFocusReason)
    seen = []
    for _ in range(tabs.count()):
        name, frame = panel.current, panel.frame(panel.current)
        settled(keys)
        _to(frame.view.heat if name == "spectrum" else frame.view)
        _work(frame, name)
        if name != "tensor":
            assert links.current is not None, name
        links.clear()
        seen.append(name)
        tabs.setFocus(Qt.FocusReason.TabFocusReason)
        press(KEY.Key_Right)
    assert seen == ["cosine", "layers", "signs", "masks", "roles", "sizes", "tensor", "spectrum"]


def _to(view: QWidget) -> None:
    """Tab on until a view has the keyboard."""
    for _ in range(60):
        if view is QApplication.focusWidget() or view.isAncestorOf(QApplication.focusWidget()):
            return
        press(KEY.Key_Tab)
    raise AssertionError(f"{view} is not reached")


def _work(frame: PlotFrame, name: str) -> None:
    """Zoom, move, choose, copy, turn to the table and back."""
    for key, modifiers in ((KEY.Key_Plus, NONE), (KEY.Key_Right, MOD.ShiftModifier), (KEY.Key_0, NONE)):
        before = frame.grab().toImage()
        press(key, modifiers)
        assert frame.grab().toImage() != before, (name, key)
    for key in (KEY.Key_Down, KEY.Key_Right, KEY.Key_Up, KEY.Key_Return):
        press(key)
    QApplication.clipboard().clear()
    press(KEY.Key_C, MOD.ControlModifier)
    assert "," in QApplication.clipboard().text(), name
    assert not QApplication.clipboard().image().isNull(), name
    press(KEY.Key_T)
    table = QApplication.focusWidget()
    assert isinstance(table, QTableWidget) and table.rowCount() > 0 and spoken(table), name
    press(KEY.Key_Tab)
    assert QApplication.focusWidget() is not table, "Tab leaves the table"
    press(KEY.Key_Backtab, MOD.ShiftModifier)
    press(KEY.Key_Escape)
    assert not isinstance(QApplication.focusWidget(), QTableWidget), name


def test_the_keys_of_the_plots_are_in_the_help() -> None:
    text = (HELP / "overlap.md").read_text()
    for key in ("**Ctrl+C**", "**T**", "**Enter**", "**Esc**", "**Shift**", "**+**", "**0**"):
        assert key in text, key
