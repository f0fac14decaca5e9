"""The context menu of a card."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QMenu, QWidget

from widgets.common.icons import icon
from widgets.common.text import plain

if TYPE_CHECKING:
    from collections.abc import Callable

    from widgets.shelf.state import ModelCard


def card_menu(card: ModelCard, last: int, wish: Callable[[str], object], parent: QWidget) -> QMenu:
    """The menu of a card; it deletes itself when it closes.

    Args:
        card: The model.
        last: Index of the last expert.
        wish: Called with "checks", "confirm", "rename", "replace", "reveal", "duplicate", "base", "up", "down" or
            "remove".
        parent: Qt parent.
    """
    menu = QMenu(parent)
    menu.setObjectName("card-menu")
    menu.setAccessibleName(f"Actions for {plain(card.name, 80)}")
    menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    is_expert = card.index >= 0
    entries: list[tuple[str, str, str, str, bool]] = [
        ("checks", "checked", "Show checks", "", True),
        ("confirm", "done", "Confirm source …", "", card.origin in ("unverified", "tainted")),
        ("rename", "rename", "Rename", "F2", True),
        ("replace", "replace", "Replace file …", "", True),
        ("reveal", "reveal", "Show in file manager", "", bool(card.path)),
    ]
    if is_expert:
        entries += [
            ("duplicate", "duplicate", "Duplicate row", "", True),
            ("base", "base", "Make it the base", "", True),
            ("up", "arrow-up", "Move up", "Alt+Up", card.index > 0),
            ("down", "arrow-down", "Move down", "Alt+Down", card.index < last),
        ]
    entries.append(("remove", "remove", "Remove", "Del", True))
    for name, icon_name, text, keys, enabled in entries:
        if name == "remove":
            menu.addSeparator()
        # the keys belong to the card (Card.keyPressEvent); a shortcut here would be a second, ambiguous one
        action = menu.addAction(icon(icon_name), f"{text}\t{keys}" if keys else text)
        action.setObjectName(f"card-{name}")
        action.setEnabled(enabled)
        action.triggered.connect(lambda _=False, name=name: wish(name))
    return menu
