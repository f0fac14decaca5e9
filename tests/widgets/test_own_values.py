"""Values of single experts in the method panel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.methods import find
from widgets.panels.own_values import OwnValues

if TYPE_CHECKING:
    from pytestqt.qtbot import QtBot


def test_an_expert_gets_and_gives_back_its_own_value(qtbot: QtBot) -> None:
    view = OwnValues(find("ties").param("density"))
    qtbot.addWidget(view)
    sent: list[tuple[str, object]] = []
    view.edited.connect(lambda name, value, _: sent.append((name, value)))
    view.show_values(find("ties").complete({"density@chat": 0.3}), ("code", "chat"))
    assert view.toggle.isChecked() and view.toggle.text() == "1 of 2 have their own"
    code, chat = view._lines
    assert (chat.reset.isHidden(), code.reset.isHidden()) == (False, True)
    code.field._send_number(0.7)
    chat.reset.click()
    assert sent == [("density@code", 0.7), ("density@chat", None)]
