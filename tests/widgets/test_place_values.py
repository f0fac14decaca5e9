"""The line of the method panel that says in how many places a parameter differs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.methods import find
from widgets.panels.place_values import PlaceValues

if TYPE_CHECKING:
    from pytestqt.qtbot import QtBot


def test_places_are_counted_and_taken_back(qtbot: QtBot) -> None:
    method = find("breadcrumbs")
    view = PlaceValues(method.param("density"))
    qtbot.addWidget(view)
    sent: list[tuple[str, object]] = []
    view.edited.connect(lambda name, value, _: sent.append((name, value)))
    view.show_values(method.complete({"gamma[attn]": 0.1, "density@chat": 0.3}))
    assert view.isHidden(), "these are another parameter's, and an expert's"
    view.show_values(method.complete({"density[attn:3]@chat": 0.3, "density[::a.<b>.weight]": 0.5}))
    assert not view.isHidden() and view.text == "Other values in 2 places"
    assert "attn layer 3 of chat: 0.3" in view._label.toolTip() and "&lt;b&gt;" in view._label.toolTip()
    assert view.accessibleName() == "density: Other values in 2 places"
    view.reset.click()
    assert sent == [("density[*]", None)]
