"""The models shelf: drops, names, keys, places."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from PySide6.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from PySide6.QtGui import QDragEnterEvent, QDropEvent
from PySide6.QtWidgets import QAbstractButton, QApplication, QLineEdit, QMenu, QWidget

from widgets.common.text import ElidedLabel
from widgets.common.theme import apply_theme
from widgets.shelf.card import Card
from widgets.shelf.shelf import Shelf
from widgets.shelf.state import BaseProposal, ModelCard, ShelfState

if TYPE_CHECKING:
    from pytestqt.qtbot import QtBot

NAMES = ("code", "<b>chat</b>", "a-very-long-model-name-v2-final_checkpoint-1200")


def expert(number: int, **changes: object) -> ModelCard:
    card = ModelCard(id=f"e{number}", name=NAMES[number], path=f"/models/{number}", index=number, dtype="bf16",
                     parameters=124_000_000, size_bytes=248_000_000, check="checked")  # fmt: skip
    return replace(card, **changes)


BASE = ModelCard(id="b", name="tiny-base", path="/models/base", parameters=124_000_000, check="checked")
STATE = ShelfState(base=BASE, experts=tuple(expert(i) for i in range(3)), current="e0")


@pytest.fixture
def shelf(qtbot: QtBot, qapp: QApplication) -> Shelf:
    apply_theme(qapp, "dark")
    made = Shelf()
    qtbot.addWidget(made)
    made.resize(260, 700)
    made.set_state(STATE)
    with qtbot.waitExposed(made):
        made.show()
    made.activateWindow()
    return made


def wishes(shelf: Shelf) -> list[tuple[object, ...]]:
    """Everything the shelf emits from now on."""
    heard: list[tuple[object, ...]] = []
    for name in ("filesDropped", "openRequested", "demoRequested", "cardChosen", "baseAccepted", "proposalDismissed",
                 "replaceRequested", "revealRequested", "renamed", "duplicateRequested", "removeRequested",
                 "baseRequested", "moveRequested", "checksRequested"):  # fmt: skip
        getattr(shelf, name).connect(lambda *args, name=name: heard.append((name, *args)))
    return heard


def drop(target: QWidget, *urls: str) -> bool:
    """Send what a real drag sends, and whether the drop was taken."""
    mime = QMimeData()
    mime.setUrls([QUrl(u) for u in urls])
    at, buttons, keys = QPoint(5, 5), Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    enter = QDragEnterEvent(at, Qt.DropAction.CopyAction, mime, buttons, keys)
    QApplication.sendEvent(target, enter)
    if not enter.isAccepted():
        return False
    event = QDropEvent(QPointF(at), Qt.DropAction.CopyAction, mime, buttons, keys)
    QApplication.sendEvent(target, event)
    QApplication.processEvents()  # the wish comes after the drag
    return event.isAccepted()


def part(shelf: Shelf, name: str) -> QWidget:
    found = shelf.findChild(QWidget, name)
    assert found is not None, name
    return found


@pytest.mark.parametrize(
    ("place", "target"), [("base-well", "base"), ("drop-zone", "add"), ("card-e1", "e1"), ("", "add")]
)
def test_a_drop_names_its_place_and_its_paths(shelf: Shelf, place: str, target: str) -> None:
    heard = wishes(shelf)
    assert drop(part(shelf, place) if place else shelf, "file:///x/a b.safetensors", "file:///x/c", "file:///x/c/")
    assert heard == [("filesDropped", ["/x/a b.safetensors", "/x/c"], target)]


def test_a_drop_on_the_card_of_the_base_reaches_the_well(shelf: Shelf) -> None:
    assert not shelf.card("b").acceptDrops()  # so Qt offers the drag to the well around it


def test_links_of_the_web_are_no_models(shelf: Shelf) -> None:
    heard = wishes(shelf)
    assert not drop(part(shelf, "drop-zone"), "https://example.org/model.safetensors")
    assert heard == []


def test_the_zone_says_what_a_drop_will_do(shelf: Shelf) -> None:
    zone = part(shelf, "drop-zone")
    before = zone.accessibleName()
    mime = QMimeData()
    mime.setUrls([QUrl(f"file:///x/{i}") for i in range(3)])
    enter = QDragEnterEvent(
        QPoint(3, 3), Qt.DropAction.CopyAction, mime, Qt.MouseButton.LeftButton, Qt.KeyboardModifier(0)
    )
    QApplication.sendEvent(shelf, enter)
    assert zone.accessibleName() == "Add 3 items"
    assert drop(shelf, "file:///x/0")
    assert zone.accessibleName() == before


def test_a_new_state_says_nothing_and_keeps_cards_and_typing(shelf: Shelf, qtbot: QtBot) -> None:
    heard = wishes(shelf)
    card = shelf.card("e1")
    card.edit_name()
    line = card.findChild(QLineEdit)
    qtbot.keyClicks(line, "chat 2")
    shelf.set_state(replace(STATE, experts=(expert(1, index=0, check="warning"), expert(0, index=1)), current="b"))
    assert heard == []
    assert shelf.card("e1") is card and line.isVisible() and line.text() == "chat 2" and line.hasFocus()
    qtbot.keyClick(line, Qt.Key.Key_Return)
    assert heard == [("renamed", "e1", "chat 2")]
    assert card.hasFocus() and not line.isVisible()


def test_escape_takes_a_name_back(shelf: Shelf, qtbot: QtBot) -> None:
    heard, card = wishes(shelf), shelf.card("e0")
    card.setFocus()
    qtbot.keyClick(card, Qt.Key.Key_F2)
    line = card.findChild(QLineEdit)
    qtbot.keyClicks(line, "other")
    qtbot.keyClick(line, Qt.Key.Key_Escape)
    assert heard == [] and not line.isVisible() and card.hasFocus()


def test_a_double_click_on_the_name_edits_it(shelf: Shelf, qtbot: QtBot) -> None:
    card = shelf.card("e0")
    name = card.findChild(ElidedLabel)
    qtbot.mouseDClick(card, Qt.MouseButton.LeftButton, pos=name.geometry().center())
    assert card.findChild(QLineEdit).isVisible()


def test_keys_go_through_base_and_experts(shelf: Shelf, qtbot: QtBot) -> None:
    shelf.card("b").setFocus()
    heard = wishes(shelf)
    qtbot.keyClick(shelf.card("b"), Qt.Key.Key_Down)
    qtbot.keyClick(shelf.card("e0"), Qt.Key.Key_Up, Qt.KeyboardModifier.AltModifier)  # is the first already
    qtbot.keyClick(shelf.card("e0"), Qt.Key.Key_Down, Qt.KeyboardModifier.AltModifier)
    qtbot.keyClick(shelf.card("e0"), Qt.Key.Key_Delete)
    assert heard == [("cardChosen", "e0"), ("moveRequested", "e0", 1), ("removeRequested", "e0")]
    assert shelf.card("e0").hasFocus()


def test_tab_goes_card_by_card_in_the_order_of_rows(shelf: Shelf, qtbot: QtBot) -> None:
    shelf.set_state(replace(STATE, experts=(expert(2, index=0), expert(0, index=1), expert(1, index=2))))
    heard = wishes(shelf)
    shelf.card("b").setFocus()
    for _ in range(9):  # card, badge, menu
        qtbot.keyClick(QApplication.focusWidget(), Qt.Key.Key_Tab)
    assert heard == [("cardChosen", "e2"), ("cardChosen", "e0"), ("cardChosen", "e1")]


def test_the_focus_goes_on_when_its_card_is_removed(shelf: Shelf) -> None:
    shelf.card("e1").setFocus()
    heard = wishes(shelf)
    shelf.set_state(replace(STATE, experts=(expert(0), expert(2, index=1))))
    assert shelf.card("e2").hasFocus() and heard == []


def middle(widget: QWidget) -> QPoint:
    return widget.mapToGlobal(widget.rect().center())


def drag_handle(shelf: Shelf, qtbot: QtBot, model: str, to: QPoint, end: bool = True) -> None:
    handle = shelf.card(model).handle
    start = handle.rect().center()
    qtbot.mousePress(handle, Qt.MouseButton.LeftButton, pos=start)
    goal = handle.mapFromGlobal(to)
    for step in range(1, 6):
        qtbot.mouseMove(handle, start + (goal - start) * step / 5)
    if end:
        qtbot.mouseRelease(handle, Qt.MouseButton.LeftButton, pos=goal)


def test_dragging_a_card_moves_it_to_the_gap(shelf: Shelf, qtbot: QtBot) -> None:
    heard = wishes(shelf)
    drag_handle(shelf, qtbot, "e0", middle(shelf.card("e2")) + QPoint(0, 12))
    assert heard == [("moveRequested", "e0", 2)]
    heard.clear()
    drag_handle(shelf, qtbot, "e2", middle(shelf.card("e1")) - QPoint(0, 12))
    assert heard == [("moveRequested", "e2", -1)]
    heard.clear()
    drag_handle(shelf, qtbot, "e1", middle(shelf.card("e1")) + QPoint(0, 12))
    assert heard == []


def test_dragging_a_card_onto_the_well_and_taking_a_drag_back(shelf: Shelf, qtbot: QtBot) -> None:
    heard = wishes(shelf)
    drag_handle(shelf, qtbot, "e1", middle(part(shelf, "base-well")))
    assert heard == [("baseRequested", "e1")]
    heard.clear()
    drag_handle(shelf, qtbot, "e0", middle(shelf.card("e2")), end=False)
    handle = shelf.card("e0").handle
    qtbot.keyClick(shelf, Qt.Key.Key_Escape)
    qtbot.mouseRelease(handle, Qt.MouseButton.LeftButton)
    assert heard == []


def test_the_proposal_is_asked_and_answered(shelf: Shelf, qtbot: QtBot) -> None:
    shelf.set_state(replace(STATE, base=None, proposal=BaseProposal(id="e2", text="<i>x</i> looks like the base.")))
    banner = part(shelf, "base-proposal")
    assert banner.isVisible() and banner.accessibleName() == "<i>x</i> looks like the base."
    heard = wishes(shelf)
    qtbot.mouseClick(part(shelf, "base-proposal-accept"), Qt.MouseButton.LeftButton)
    qtbot.mouseClick(part(shelf, "base-proposal-dismiss"), Qt.MouseButton.LeftButton)
    assert heard == [("baseAccepted", "e2"), ("proposalDismissed",)]
    shelf.set_state(STATE)
    assert not banner.isVisible()


@pytest.mark.qt_log_ignore("This plugin does not support")
def test_the_menu_offers_what_the_card_can(shelf: Shelf) -> None:
    heard = wishes(shelf)
    shelf.card("e0").menuRequested.emit(QPoint(0, 0))
    menu = shelf.findChild(QMenu, "card-menu")
    actions = {a.objectName().removeprefix("card-"): a for a in menu.actions() if a.objectName()}
    assert not actions["up"].isEnabled() and actions["down"].isEnabled()
    for name in ("checks", "replace", "reveal", "duplicate", "base", "down", "remove"):
        actions[name].trigger()
    assert [h[0] for h in heard] == ["checksRequested", "replaceRequested", "revealRequested", "duplicateRequested",
                                     "baseRequested", "moveRequested", "removeRequested"]  # fmt: skip
    assert {h[1] for h in heard} == {"e0"}
    menu.close()


@pytest.mark.qt_log_ignore("This plugin does not support")
def test_the_base_has_no_row_to_move(shelf: Shelf) -> None:
    shelf.card("b").menuRequested.emit(QPoint(0, 0))
    menu = shelf.findChild(QMenu, "card-menu")
    assert {"card-base", "card-up", "card-duplicate"}.isdisjoint(a.objectName() for a in menu.actions())
    menu.close()


def test_every_control_has_a_name_for_screen_readers(shelf: Shelf) -> None:
    for control in [*shelf.findChildren(QAbstractButton), *shelf.findChildren(Card), *shelf.findChildren(QLineEdit)]:
        if control.isVisible():
            assert control.accessibleName() or control.property("text"), control.objectName()
    assert shelf.card("e1").accessibleName() == "Expert B, <b>chat</b>"


@pytest.mark.parametrize("width", [240, 420])
def test_nothing_is_clipped(shelf: Shelf, qapp: QApplication, width: int) -> None:
    shelf.set_state(replace(STATE, proposal=BaseProposal(id="e1", text="chat looks like the base of the others.")))
    shelf.resize(width, 700)
    qapp.processEvents()
    assert shelf.width() == width
    for child in shelf.findChildren(QAbstractButton):
        if child.isVisible():
            corner = child.mapTo(shelf, QPoint(child.width(), 0))
            assert corner.x() <= width and child.width() >= min(child.minimumSizeHint().width(), 28), (
                child.accessibleName()
            )


def test_the_empty_shelf_says_what_to_do(shelf: Shelf, qtbot: QtBot) -> None:
    shelf.set_state(ShelfState())
    assert "drop the base model" in part(shelf, "base-well").accessibleName()
    assert "fine-tunes" in part(shelf, "drop-zone").accessibleName()
    heard = wishes(shelf)
    qtbot.mouseClick(part(shelf, "open-models"), Qt.MouseButton.LeftButton)
    qtbot.mouseClick(part(shelf, "open-demo"), Qt.MouseButton.LeftButton)
    assert heard == [("openRequested",), ("demoRequested",)]
    shelf.set_state(ShelfState(has_demo=False))
    assert not part(shelf, "open-demo").isVisible()
