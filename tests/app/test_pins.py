"""Pins in the real window: named at once by what they say, renamed in place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QLineEdit
from pytestqt.qtbot import QtBot

from app.desk import Desk
from engine.recipe.recipe import Rule
from tests.app.models import base_tensors, expert_tensors, write_model
from widgets.panels.history import PlainList


def test_pins_are_told_apart_and_renamed_in_place(
    desk: Desk, tmp_path: Path, settled: Callable[[Desk], None], qtbot: QtBot
) -> None:
    base = base_tensors()
    paths = [write_model(tmp_path / "qwen", base)]
    paths += [write_model(tmp_path / name, expert_tensors(base, k)) for k, name in enumerate(("chat", "code"), 1)]
    desk.shelf.drop([str(p) for p in paths], "canvas")
    settled(desk)
    store, panel = desk.workspace.store, desk.window.history
    for value in (0.25, 0.5):
        desk.window.commands.trigger("mix.pin")
        store.apply(store.recipe.with_rules([Rule(value=value, expert=store.recipe.experts[0].id)]), "Set")
    desk.window.commands.trigger("mix.pin")
    desk.window.commands.trigger("mix.pin")
    last = "Task arithmetic · chat 0.5"
    assert list(store.pins) == ["Task arithmetic · 2 experts", "Task arithmetic · chat 0.25", last, f"{last} 2"]
    qtbot.waitUntil(lambda: len(panel.state.pins) == 4)
    assert {pin.detail for pin in panel.state.pins} == {"chat, code on qwen"}

    panel.window().activateWindow()
    desk.window.docks["history"].raise_()
    pins = next(v for v in panel.findChildren(PlainList) if v.objectName() == "history-pins")
    pins.setFocus()
    pins.setCurrentIndex(pins.model().index(1, 0))
    QTest.keyClick(pins, Qt.Key.Key_F2)
    field = pins.findChild(QLineEdit)
    assert field is not None
    field.setText("quiet chat")
    QTest.keyClick(field, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: "quiet chat" in store.pins)
    assert list(store.pins)[1] == "quiet chat"
