"""Values that single experts have of one parameter: a compact list below the value of all."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from PySide6.QtCore import QSignalBlocker, Qt, Signal
from PySide6.QtWidgets import QGridLayout, QToolButton, QWidget

from engine.recipe.per_expert import key
from widgets.common.text import ElidedLabel, plain, tip
from widgets.panels.method_fields import ParamField
from widgets.panels.panel_parts import Chip, column, icon_button, squeezed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from engine.methods.spec import Param, Value


class OwnValues(QWidget):
    """One line for each expert, folded away until an expert has a value of its own or the user unfolds it.

    Args:
        param: Declaration; the list stays hidden unless experts may have their own values.
        parent: Qt parent.

    Signals:
        edited: name ("density@code"), value, gesture; the value None takes the expert's own one away.
    """

    edited = Signal(str, object, str)

    def __init__(self, param: Param, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.param = param
        self._experts: tuple[str, ...] = ()
        self._lines: list[_Line] = []
        self._shown: tuple[Mapping[str, Value], tuple[str, ...]] = ({}, ())
        self.toggle = QToolButton()
        self.toggle.setCheckable(True)
        self.toggle.setAutoRaise(True)
        self.toggle.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.toggle.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.toggle.setToolTip(tip(f"Give single experts a {param.label} of their own."))
        self.toggle.toggled.connect(self._unfold)
        self._list = QWidget()
        self._grid = QGridLayout(self._list)
        self._grid.setContentsMargins(16, 0, 0, 4)
        self._grid.setHorizontalSpacing(8)
        self._grid.setVerticalSpacing(2)
        self._grid.setColumnStretch(1, 1)
        layout = column(self, 0, 0)
        layout.addWidget(self.toggle)
        layout.addWidget(self._list)
        self._unfold(False)
        self.setVisible(False)

    def show_values(self, values: Mapping[str, Value], experts: tuple[str, ...]) -> None:
        """Show what every expert has: its own value, or that of all."""
        self.setVisible(self.param.each and len(experts) > 1)
        if not self.param.each:
            return
        self._shown = values, experts
        count = sum(key(self.param.name, expert) in values for expert in experts)
        self.toggle.setText(f"{count} of {len(experts)} have their own" if count else "Same for all experts")
        self.toggle.setAccessibleName(f"{self.param.label} of each expert: {self.toggle.text()}")
        if count and not self.toggle.isChecked():
            self.toggle.setChecked(True)
        else:
            self._show_lines()

    def _show_lines(self) -> None:
        """Bring the lines up to date; while they are folded away there are none to make."""
        values, experts = self._shown
        if not self.toggle.isChecked():
            return
        if experts != self._experts:
            self._rebuild(experts)
        common = values.get(self.param.name, self.param.default)
        for line in self._lines:
            line.show_value(values.get(line.name), common)

    def _rebuild(self, experts: tuple[str, ...]) -> None:
        """Lines of experts that stay in their places stay; the others are made anew."""
        kept = next((i for i, (a, b) in enumerate(zip(self._experts, experts, strict=False)) if a != b),
                    min(len(self._experts), len(experts)))  # fmt: skip
        for line in self._lines[kept:]:
            line.remove_from(self._grid)
        fresh = [_Line(self.param, expert, kept + i, self._grid) for i, expert in enumerate(experts[kept:])]
        for line in fresh:
            line.field.edited.connect(self.edited)
            line.reset.clicked.connect(lambda _=False, name=line.name: self.edited.emit(name, None, ""))
        self._experts, self._lines = experts, [*self._lines[:kept], *fresh]

    def _unfold(self, unfolded: bool) -> None:
        self._list.setVisible(unfolded)
        self.toggle.setArrowType(Qt.ArrowType.DownArrow if unfolded else Qt.ArrowType.RightArrow)
        with QSignalBlocker(self.toggle):
            self.toggle.setChecked(unfolded)
        self._show_lines()


class _Line:
    """Chip, name, number and button of one expert."""

    def __init__(self, param: Param, expert: str, place: int, grid: QGridLayout) -> None:
        self.expert, self.name = expert, key(param.name, expert)
        self.field = ParamField(replace(param, name=self.name, title=f"{param.label} of {plain(expert, 60)}"))
        self.field.control.setMinimumWidth(60)
        self.reset = icon_button(f"Take {param.label} of {plain(expert, 60)} from all experts", "undo", tone="dim")
        policy = self.reset.sizePolicy()
        policy.setRetainSizeWhenHidden(True)
        self.reset.setSizePolicy(policy)
        label = squeezed(ElidedLabel(expert))
        label.setToolTip(tip(expert))
        label.setBuddy(self.field.control)
        self._widgets = (Chip(place), label, self.field, self.reset)
        for column_, widget in enumerate(self._widgets):
            grid.addWidget(widget, place, column_)

    def show_value(self, own: Value | None, common: Value) -> None:
        """Show the expert's own value, or that of all without a button to take it away."""
        self.field.show_value(common if own is None else own)
        if own is None and self.reset.hasFocus():
            self.field.setFocus(Qt.FocusReason.OtherFocusReason)
        self.reset.setVisible(own is not None)

    def remove_from(self, grid: QGridLayout) -> None:
        """Take the line out of the list."""
        for widget in self._widgets:
            grid.removeWidget(widget)
            widget.hide()
            widget.deleteLater()
