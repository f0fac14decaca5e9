"""Values that single places have of one parameter: said in a line, and taken away by a button."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QHBoxLayout, QWidget

from engine.recipe.per_expert import key, parts
from widgets.common.text import ElidedLabel, tip
from widgets.panels.panel_parts import dim, icon_button, squeezed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from engine.methods.spec import Param, Value

EVERYWHERE = "*"
"""Place that stands for all places in the name that `PlaceValues.edited` carries."""

_LISTED = 15


class PlaceValues(QWidget):
    """Says in how many places a parameter has another value, while there are any.

    Args:
        param: Declaration.
        parent: Qt parent.

    Signals:
        edited: name ("density[*]"), None and no gesture, to take the values of all places away.
    """

    edited = Signal(str, object, str)

    def __init__(self, param: Param, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.param = param
        self._label = dim(squeezed(ElidedLabel("")))
        self.reset = icon_button(f"Use the same {param.label} everywhere", "undo", tone="dim")
        name = key(param.name, "", EVERYWHERE)
        self.reset.clicked.connect(lambda: self.edited.emit(name, None, ""))
        layout = QHBoxLayout(self)
        layout.setContentsMargins(16, 0, 0, 4)
        layout.setSpacing(8)
        layout.addWidget(self._label, 1)
        layout.addWidget(self.reset)
        self.setVisible(False)

    @property
    def text(self) -> str:
        """What is said."""
        return self._label.text()

    def show_values(self, values: Mapping[str, Value]) -> None:
        """Show how many values of places there are; nothing if there are none."""
        found = [(name, value) for name, value in values.items() if self._is_mine(name)]
        self.setVisible(bool(found))
        if not found:
            return
        many = "1 place" if len(found) == 1 else f"{len(found)} places"
        self._label.setText(f"Other values in {many}")
        shown = [f"{_where(name)}: {_text(value)}" for name, value in found[:_LISTED]]
        more = [f"and {len(found) - _LISTED} more"] if len(found) > _LISTED else []
        self._label.setToolTip(tip("\n".join([*shown, *more])))
        self.setAccessibleName(f"{self.param.label}: {self._label.text()}")

    def _is_mine(self, name: str) -> bool:
        param, _, place = parts(name)
        return bool(place) and param == self.param.name


def _where(name: str) -> str:
    """A place in words: "attn 3", "layer 3", a tensor's name; with the expert's name if it is one expert's."""
    _, expert, place = parts(name)
    if place.startswith("::"):
        said = place[2:]
    else:
        kind, _, layer = place.partition(":")
        said = " ".join(word for word in (kind, f"layer {layer}" if layer else "") if word)
    return f"{said} of {expert}" if expert else said


def _text(value: Value) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
