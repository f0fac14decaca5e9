"""One selection for all views and the desk, and what is done with it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import QPointF, Qt
from PySide6.QtGui import QContextMenuEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QInputDialog, QMenu, QToolButton
from pytestqt.qtbot import QtBot

from app import places
from app.desk import Desk
from app.selection import made, text
from engine.recipe.recipe import Recipe, Rule
from engine.recipe.resolve import group_spots, resolve
from tests.app.models import write_family
from widgets.plots.overlap_panel import OverlapPanel
from widgets.plots.selected import Marks

Settled = Callable[[Desk], None]


@pytest.fixture
def views(desk: Desk, tmp_path: Path, settled: Settled, qtbot: QtBot) -> OverlapPanel:
    base, experts = write_family(tmp_path, called=("code", "chat", "math"))
    desk.shelf.drop([str(p) for p in (base, *experts)], "canvas")
    settled(desk)
    desk.window.docks["overlap"].show()
    panel = desk.overlap.panel()
    panel.show_view("roles")
    settled(desk)
    return panel


def marks(panel: OverlapPanel) -> list[Marks]:
    return [panel.frame(n).view._marks for n in ("cosine", "layers", "signs", "masks", "roles", "sizes")]


def shown(desk: Desk, recipe: Recipe) -> np.ndarray:
    layout = desk.workspace.layout
    assert layout is not None
    return resolve(recipe, group_spots(layout), 1.0)


def test_any_view_and_the_desk_show_the_same_selection(desk: Desk, views: OverlapPanel, qtbot: QtBot) -> None:
    ids = [e.id for e in desk.workspace.recipe.experts]
    views.show_view("signs")
    desk.overlap.refresh()
    views.frame("signs").view.cellChosen.emit(1, views.frame("signs").view.state.columns.index("2"))
    assert {(e, desk.desk.columns[c].layer) for e, c in desk.window.canvas.selectedCells()} == {(ids[1], "2")}
    assert set(marks(views)) == {Marks(experts=frozenset({1}), layers=frozenset({"2"}))}
    assert views.frame("signs").view._outline.getData()[0].tolist() == [3, 4, 4, 3, 3]  # emb, 0, 1, 2
    assert "chat" in views.bar.state.text and "layer 2" in views.bar.state.text
    views.show_view("masks")
    desk.overlap.refresh()
    assert views.frame("masks").view._marks.experts == {1}  # survives the change of tabs
    desk.window.canvas.setSelectedCells([(ids[0], 0)])
    desk.window.canvas.selectionChanged.emit(((ids[0], 0),))
    assert {m.experts for m in marks(views)} == {frozenset({0})}
    qtbot.keyClick(views.frame("masks").view, Qt.Key.Key_Escape)
    assert desk.overlap.links.current is None and not desk.window.canvas.selectedCells()
    assert set(marks(views)) == {Marks()}


def test_the_selection_is_told_in_words_of_people(desk: Desk, views: OverlapPanel) -> None:
    recipe, layout = desk.workspace.recipe, desk.workspace.layout
    assert layout is not None
    told = [
        text(made(recipe, layout, experts=(1,), layers=layers, kinds=kinds), recipe, layout)
        for layers, kinds in (((layout.layers[0],), None), (("2",), ("attn",)), (None, ("attn",)), (None, None))
    ]
    assert told == ["chat · layer emb", "chat · layer 2 · attn", "chat · attn", "chat · all layers"]


def test_every_view_chooses_by_keys(desk: Desk, views: OverlapPanel, settled: Settled, qtbot: QtBot) -> None:
    keys = {
        "cosine": (Qt.Key.Key_Right, Qt.Key.Key_Return), "layers": (Qt.Key.Key_Down, Qt.Key.Key_Return),
        "signs": (Qt.Key.Key_Right, Qt.Key.Key_Return), "masks": (Qt.Key.Key_Right, Qt.Key.Key_Return),
        "roles": (Qt.Key.Key_Up, Qt.Key.Key_Return), "sizes": (Qt.Key.Key_Down, Qt.Key.Key_Return),
    }  # fmt: skip
    for name, strokes in keys.items():
        views.show_view(name)
        desk.overlap.refresh()
        if name == "sizes":
            settled(desk)
        desk.overlap.links.clear()
        for key in strokes:
            qtbot.keyClick(views.frame(name).view, key)
        assert desk.overlap.links.current is not None, name
    views.show_view("masks")
    qtbot.keyClick(views.frame("masks").view, Qt.Key.Key_Return)
    now = desk.overlap.links.current
    assert now is not None and now.combination == now.places.experts


def test_acts_are_one_step_each_and_reach_only_the_selection(
    desk: Desk, views: OverlapPanel, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = desk.workspace.store
    monkeypatch.setattr(QInputDialog, "getDouble", lambda *_: (0.3, True))
    views.cellChosen.emit(1, "2")
    layout = desk.workspace.layout
    assert layout is not None
    layer = np.array([la == "2" for la, _, _ in group_spots(layout)])
    for act, inside, others in (("set", 0.3, 1.0), ("mute", 0.0, 1.0), ("exclude", 0.0, 0.0), ("restore", 1.0, 0.0)):
        count, before = store.undo_stack.count(), store.recipe
        views.bar.actRequested.emit(act)
        values = shown(desk, store.recipe)
        assert (values[1, layer] == inside).all() and (values[[0, 2]][:, layer] == others).all()
        assert (values[:, ~layer] == 1.0).all() and store.undo_stack.count() == count + 1
        store.undo_stack.undo()
        assert store.recipe == before
        store.undo_stack.redo()
    desk.features["select.clear"]()
    before = store.recipe
    views.bar.actRequested.emit("mute")
    assert store.recipe == before


def test_roles_are_masked_in_the_recipe_and_hatched(desk: Desk, views: OverlapPanel, qtbot: QtBot) -> None:
    store = desk.workspace.store
    bars = views.frame("roles").view
    part = bars.state.parts.index("only chat")
    bars.partChosen.emit(0, part)
    now = desk.overlap.links.current
    assert now is not None and now.role == "only" and len(now.places.experts) == 1
    menu = views.bar.role_menu()
    actions = {a.text(): a for a in menu.actions()}
    actions["Keep weights that only chat needs"].trigger()
    assert dict(store.recipe.params) == {"drop_only@chat": True, "drop_lambda": 0.4}
    qtbot.waitUntil(lambda: part in bars.state.dropped)
    assert "estimate" in desk._status()
    desk.window.commands.trigger("select.keep_roles")
    assert store.recipe.params == ()
    store.apply(store.recipe.with_method("slerp"), "x")
    qtbot.waitUntil(lambda: not views.bar.roles.isEnabled())
    assert "SLERP" in views.bar.roles.toolTip()


def choose_action(menu: QMenu, words: str) -> None:
    """A real click on a line of a menu."""
    action = next(a for a in menu.actions() if words in a.text())
    QTest.mouseClick(menu, Qt.MouseButton.LeftButton, pos=menu.actionGeometry(action).center())


@pytest.mark.qt_log_ignore("This plugin does not support", extend=True)  # menus of the offscreen platform
def test_roles_are_masked_and_unmasked_by_the_mouse(
    desk: Desk, views: OverlapPanel, settled: Settled, qtbot: QtBot
) -> None:
    """A segment is clicked, its role left out by the button's menu and by the context menu, and both are undone."""
    store, view, start = desk.workspace.store, views.frame("roles").view, desk.workspace.recipe
    view.fit()
    part = view.state.parts.index("only chat")
    low = 100 * float(view.state.values[1, :part].sum())
    middle = QPointF(1.0, low + 50 * float(view.state.values[1, part]))
    spot = view.plot.mapFromScene(view.plot.getPlotItem().getViewBox().mapViewToScene(middle))
    QTest.mouseClick(view.plot.viewport(), Qt.MouseButton.LeftButton, pos=spot)
    now = desk.overlap.links.current
    assert now is not None and now.role == "only" and "weights that this expert alone needs" in views.bar.state.text
    assert {e for e, _ in desk.window.canvas.selectedCells()} == {start.experts[1].id}

    QTest.mouseClick(views.bar.roles, Qt.MouseButton.LeftButton)
    menu = QApplication.activePopupWidget()
    assert isinstance(menu, QMenu) and menu.actions()[1].text() == "Keep weights that only chat needs"  # it is selected
    choose_action(menu, "only chat")
    assert dict(store.recipe.params) == {"drop_only@chat": True, "drop_lambda": 0.4}
    assert store.undo_stack.undoText() == "Drop weights that only chat needs"
    qtbot.waitUntil(lambda: view.state.dropped == {part})
    assert views.bar.roles.text() == "Mask by role (1 dropped)…" and "only chat needs" in views.bar.roles.toolTip()

    at = QPointF(spot)
    QApplication.sendEvent(view.plot.viewport(), QContextMenuEvent(
        QContextMenuEvent.Reason.Mouse, spot, view.plot.viewport().mapToGlobal(at).toPoint()))  # fmt: skip
    menu = QApplication.activePopupWidget()
    assert isinstance(menu, QMenu)
    inner = next(a for a in menu.actions() if a.text() == "Mask by role").menu()
    choose_action(menu, "Mask by role")
    assert isinstance(inner, QMenu)
    qtbot.waitUntil(inner.isVisible)
    choose_action(inner, "everybody")
    assert dict(store.recipe.params) == {"drop_only@chat": True, "drop_lambda": 0.4, "drop_everybody": True}
    settled(desk)
    undo = desk.window.findChild(QToolButton, "tool-edit.undo")
    assert undo is not None
    for left in ({"drop_only@chat": True, "drop_lambda": 0.4}, {}):
        QTest.mouseClick(undo, Qt.MouseButton.LeftButton)
        assert dict(store.recipe.params) == left
    qtbot.waitUntil(lambda: not view.state.dropped)
    assert store.recipe == start and views.bar.roles.text() == "Mask by role…"


def test_the_line_of_k_is_consensus(desk: Desk, views: OverlapPanel, settled: Settled, qtbot: QtBot) -> None:
    bars, controls, store = views.frame("roles").view, views.controls["roles"], desk.workspace.store
    bars.setFocus()
    qtbot.keyClick(bars, "]")
    qtbot.keyClick(bars, "]")
    assert bars.state.cut == 2 and bars.state.dropped == {0, 1, 2, 3} and store.recipe.method == "task_arithmetic"
    controls._offer.click()
    assert store.recipe.method == "consensus" and dict(store.recipe.params)["k"] == 2
    qtbot.waitUntil(lambda: not controls._offer.isVisible())
    line = 100 * bars.state.below(3)[1]
    assert bars.cut_at(1, float(line) + 0.5) == 3 and bars.cut_at(1, 0.0) == 0
    controls.cut.slider.setValue(1)
    assert dict(store.recipe.params)["k"] == 1
    controls.strictness.slider.setValue(0)
    assert dict(store.recipe.params)["strictness"] == 0.2
    qtbot.waitUntil(lambda: "λ = 0.2" in bars.state.title)


def test_views_come_back_from_disk(
    desk: Desk, views: OverlapPanel, settled: Settled, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(list(places.analyses_folder().iterdir())) == 1
    known = desk.overlap._found
    assert known is not None and known.share == 1
    monkeypatch.setattr("engine.analyse.overlap.sweep", lambda *_, **__: pytest.fail("counted again"))
    desk.overlap._found = None
    desk.overlap.refresh()
    settled(desk)
    found = desk.overlap._found
    assert found is not None and found.masks is not None and known.masks is not None
    assert found.masks.active.tolist() == known.masks.active.tolist()
    assert views.frame("roles").view.state.title.endswith("exact")


def test_pins_are_explained(desk: Desk, views: OverlapPanel) -> None:
    store = desk.workspace.store
    store.pin("before")
    first = desk.workspace.recipe.experts[0]
    store.apply(store.recipe.with_rules([Rule(value=0.0, expert=first.id, layer="1")]), "x")
    desk.window.commands.refresh({"pins": True})
    desk.window.history.pinExplained.emit("before")
    [dialog] = [w for w in desk.window.children() if w.objectName() == "explain"]
    state = dialog.state
    assert state.names[state.first] == "before" and state.names[state.second] == "Now" and not state.can_score
    assert [row[1:] for row in state.changes] == [("1", "0")] * 3 and "exactly" in state.summary
    values = state.heat.values[:, state.heat.columns.index("1")]
    assert np.nanmin(values) > 0 and np.nanmax(np.delete(state.heat.values, state.heat.columns.index("1"), 1)) == 0
    assert len(list(itertools.chain(*state.heat.table()[1]))) > 6
    dialog.chosen.emit(1, 1)
    assert dialog.state.summary == "The recipes say the same."
    dialog.close()
