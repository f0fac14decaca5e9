"""What is selected in the overlap views, and what can be done with it."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import QPoint, Qt, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QHBoxLayout, QMenu, QSizePolicy, QWidget

from widgets.common.pieces import push
from widgets.common.text import PlainLabel, plain, tip


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleChoice:
    """A role that can be left out of the merge.

    Attributes:
        id: What the recipe calls it ("nobody", "only", "only@chat", "shared", "everybody").
        title: What people read.
        is_dropped: Whether it is left out now.
    """

    id: str
    title: str
    is_dropped: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BarState:
    """What the bar shows.

    Attributes:
        text: The selection in words; "" for none.
        roles: The roles, those of the selection first.
        why_no_roles: Why no role can be left out; "" if it can.
    """

    text: str = ""
    roles: tuple[RoleChoice, ...] = ()
    why_no_roles: str = ""


ACTS: tuple[tuple[str, str, str], ...] = (
    ("set", "Set coefficient…", "Give the selected experts another coefficient there."),
    ("mute", "Mute there", "Coefficient 0 for the selected experts in the selected layers."),
    ("exclude", "Exclude from merge", "Coefficient 0 for every expert there: the base's weights stay."),
    ("restore", "Restore", "Back to the coefficient of the whole row."),
)
"""Id, title and help of what can be done with selected places."""


class SelectionBar(QWidget):
    """The selection in words and buttons for it.

    Signals:
        actRequested: Id from `ACTS`.
        roleToggled: (role id, whether to leave it out).
        keepAllRequested: Keep the weights of all roles.
        clearRequested: Select nothing.
    """

    actRequested = Signal(str)
    roleToggled = Signal(str, bool)
    keepAllRequested = Signal()
    clearRequested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("selection-bar")
        self.state = BarState()
        self._text = PlainLabel("", "dim")
        self._text.setMinimumWidth(120)
        self._text.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self._buttons = {name: push(title, name=f"selection-{name}", hint=words) for name, title, words in ACTS}
        for name, button in self._buttons.items():
            button.clicked.connect(lambda _=False, n=name: self.actRequested.emit(n))
        self.roles = push("Mask by role…", name="selection-roles")
        self._clear = push("Clear", name="selection-clear", hint="Select nothing (Esc)")
        self.roles.clicked.connect(
            lambda: self.role_menu().popup(self.roles.mapToGlobal(QPoint(0, self.roles.height())))
        )
        self._clear.clicked.connect(self.clearRequested)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(10, 4, 10, 2)
        layout.setSpacing(6)
        layout.addWidget(self._text, 1)
        for button in (*self._buttons.values(), self.roles, self._clear):
            layout.addWidget(button)
        self.set_state(self.state)

    def set_state(self, state: BarState) -> None:
        """Show another selection."""
        self.state = state
        self._text.setToolTip(tip(state.text))
        self.setAccessibleDescription(state.text)
        self._elide()
        for button in (*self._buttons.values(), self._clear):
            button.setEnabled(bool(state.text))
        self.roles.setEnabled(bool(state.roles) and not state.why_no_roles)
        dropped = [plain(r.title, 60) for r in state.roles if r.is_dropped]
        self.roles.setText(f"Mask by role ({len(dropped)} dropped)…" if dropped else "Mask by role…")
        gone = f"\nLeft out now: {'; '.join(dropped)}." if dropped else ""
        hint = f"Leave the weights of a role out of the merge, in all layers, or keep them.{gone}"
        self.roles.setToolTip(tip(state.why_no_roles or hint))
        self.roles.setAccessibleDescription(state.why_no_roles or hint)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Shorten the words anew."""
        super().resizeEvent(event)
        self._elide()

    def _elide(self) -> None:
        """As much of the words as there is room for."""
        room = max(self._text.width() - 4, 120)
        hint = "Nothing selected. Click in a view, or use the arrow keys and Enter."
        short = hint if self._text.fontMetrics().horizontalAdvance(hint) <= room else "Nothing selected"
        words = plain(self.state.text) or short
        self._text.setText(self._text.fontMetrics().elidedText(words, Qt.TextElideMode.ElideRight, room))

    def role_menu(self) -> QMenu:
        """The roles with a tick at those that are kept."""
        menu = QMenu("Mask by role", self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self._add_roles(menu)
        return menu

    def _add_roles(self, menu: QMenu) -> None:
        for role in self.state.roles:
            action = menu.addAction(f"Keep {plain(role.title, 50)}".replace("&", "&&"))
            action.setCheckable(True)
            action.setChecked(not role.is_dropped)
            action.toggled.connect(lambda kept, r=role.id: self.roleToggled.emit(r, not kept))
        menu.addSeparator()
        menu.addAction("Keep all weights").triggered.connect(lambda _=False: self.keepAllRequested.emit())

    def menu(self) -> QMenu:
        """Everything that can be done with the selection."""
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        for name, title, words in ACTS:
            action = menu.addAction(title)
            action.triggered.connect(lambda _=False, n=name: self.actRequested.emit(n))
            action.setToolTip(words)
            action.setEnabled(bool(self.state.text))
        roles = menu.addMenu("Mask by role")
        roles.setEnabled(self.roles.isEnabled())
        self._add_roles(roles)
        menu.addSeparator()
        clear = menu.addAction("Clear selection")
        clear.triggered.connect(lambda _=False: self.clearRequested.emit())
        clear.setEnabled(bool(self.state.text))
        return menu
