"""The models shelf."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import QPoint, QRect, Qt, Signal
from PySide6.QtGui import QColor, QPainter, QPaintEvent
from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from widgets.common.text import PlainLabel
from widgets.common.theme import theme
from widgets.panels.panel_parts import bold, column, dim, scroller
from widgets.shelf.card import Card
from widgets.shelf.drops import FileDrop
from widgets.shelf.menu import card_menu
from widgets.shelf.places import BaseWell, DropZone, ProposalBanner
from widgets.shelf.state import ModelCard, ShelfState

if TYPE_CHECKING:
    from collections.abc import Callable


class Shelf(FileDrop):
    """Base, experts and where to drop more.

    Signals:
        filesDropped: Paths, and the target: "base", "add" or the id of the expert to replace.
        openRequested: The user wants a file dialog.
        demoRequested: The user wants the demo.
        cardChosen: A card was clicked or reached with the keyboard (id).
        baseAccepted: The proposed base was confirmed (id).
        proposalDismissed: The proposal was turned down.
        replaceRequested: Another file for this card (id).
        revealRequested: Show the file in the file manager (id).
        renamed: New name for a card (id, name).
        duplicateRequested: A second row with the same model (id).
        removeRequested: Take the model off the desk (id).
        baseRequested: Make this expert the base (id).
        moveRequested: Move an expert up (-1) or down (+1) (id, step); further when it was dragged.
        checksRequested: The badge was clicked (id).
        confirmRequested: The user wants to say where the model comes from (id).
    """

    filesDropped = Signal(list, str)
    openRequested = Signal()
    demoRequested = Signal()
    cardChosen = Signal(str)
    baseAccepted = Signal(str)
    proposalDismissed = Signal()
    replaceRequested = Signal(str)
    revealRequested = Signal(str)
    renamed = Signal(str, str)
    duplicateRequested = Signal(str)
    removeRequested = Signal(str)
    baseRequested = Signal(str)
    moveRequested = Signal(str, int)
    checksRequested = Signal(str)
    confirmRequested = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("shelf")
        self.setAccessibleName("Models")
        self.state = ShelfState()
        self._is_showing = False
        self._cards: dict[str, Card] = {}
        self._banner, self._well, self._zone = ProposalBanner(), BaseWell(), DropZone()
        self._count = dim(PlainLabel())
        self._line = InsertionLine()
        self._box = QVBoxLayout()
        self._box.setSpacing(5)
        self._lay_out()
        self._connect_places()
        self._connect_card(self._well.card)
        self.set_state(self.state)

    def set_state(self, state: ShelfState) -> None:
        """Show other models; cards that stay keep focus and the name being typed."""
        self.state = state
        self._is_showing = True  # hiding a focused card moves the focus on, which is no choice of the user's
        self._show()
        self._is_showing = False

    def _show(self) -> None:
        state = self.state
        self._banner.show_proposal(state.proposal)
        self._well.show_base(state.base, state.base is not None and state.base.id == state.current)
        if [e.id for e in state.experts] != list(self._cards):
            self._arrange()
        for expert in state.experts:
            self._cards[expert.id].show_card(expert, expert.id == state.current)
        self._count.setText(str(len(state.experts)) if state.experts else "none yet")
        self._zone.set_shelf(state.base is None and not state.experts, state.has_demo)

    def card(self, model_id: str) -> Card | None:
        """The card of a model on the shelf."""
        if self.state.base is not None and self.state.base.id == model_id:
            return self._well.card
        return self._cards.get(model_id)

    def edit_name(self, model_id: str) -> None:
        """Let the user type another name for a model."""
        card = self.card(model_id)
        if card is not None:
            card.edit_name()

    def _lay_out(self) -> None:
        inside = QWidget()
        layout = column(inside, 6, 8)
        layout.addWidget(self._banner)
        layout.addWidget(_heading("Base"))
        layout.addWidget(self._well)
        layout.addSpacing(6)
        head = QHBoxLayout()
        head.addWidget(_heading("Experts"))
        head.addStretch(1)
        head.addWidget(self._count)
        layout.addLayout(head)
        layout.addLayout(self._box)
        layout.addStretch(1)
        self._inside = inside
        self._line.setParent(inside)
        self._line.hide()
        outer = column(self, 0, 0)
        self._area = scroller(inside, "Models")
        outer.addWidget(self._area, 1)
        foot = QVBoxLayout()
        foot.setContentsMargins(8, 4, 8, 8)
        foot.addWidget(self._zone)
        outer.addLayout(foot)

    def _connect_places(self) -> None:
        self.dropped.connect(partial(self._drop, "add"))
        self.hotChanged.connect(self._zone.set_count)
        self._zone.dropped.connect(partial(self._drop, "add"))
        self._well.dropped.connect(partial(self._drop, "base"))
        self._zone.openRequested.connect(self.openRequested)
        self._zone.demoRequested.connect(self.demoRequested)
        self._banner.accepted.connect(self.baseAccepted)
        self._banner.dismissed.connect(self.proposalDismissed)

    def _drop(self, target: str, paths: list[str]) -> None:
        self.filesDropped.emit(paths, target)

    def _connect_card(self, card: Card) -> None:
        card.chosen.connect(lambda: None if self._is_showing else self.cardChosen.emit(card.card.id))
        card.renamed.connect(lambda name: self.renamed.emit(card.card.id, name))
        card.badgeClicked.connect(lambda: self.checksRequested.emit(card.card.id))
        card.menuRequested.connect(lambda at: self._open_menu(card, at))
        card.stepRequested.connect(lambda step: self._step(card, step))
        card.moveRequested.connect(lambda step: self._move(card.card, step))
        card.removeRequested.connect(lambda: self.removeRequested.emit(card.card.id))
        card.dropped.connect(lambda paths: self.filesDropped.emit(paths, card.card.id))
        card.handle.dragged.connect(lambda at: self._drag(at))
        card.handle.released.connect(lambda at: self._release(card.card, at))
        card.handle.cancelled.connect(self._end_drag)

    def _arrange(self) -> None:
        """Remove, add and order cards."""
        wanted = [e.id for e in self.state.experts]
        order = list(self._cards)
        for model_id in [i for i in order if i not in wanted]:
            self._remove(self._cards.pop(model_id), order.index(model_id))
        for expert in self.state.experts:
            if expert.id not in self._cards:
                made = Card()
                made.setObjectName(f"card-{expert.id}")
                self._connect_card(made)
                self._cards[expert.id] = made
        self._cards = {i: self._cards[i] for i in wanted}
        before = self._well.card.focus_chain()[-1]
        for place, card in enumerate(self._cards.values()):
            if self._box.indexOf(card) != place:
                self._box.removeWidget(card)
                self._box.insertWidget(place, card)
            for widget in card.focus_chain():
                QWidget.setTabOrder(before, widget)
                before = widget

    def _remove(self, gone: Card, place: int) -> None:
        """Take a card away; the focus goes to the one that takes its place."""
        had_focus = gone.isAncestorOf(self.focusWidget()) or gone.hasFocus() if self.focusWidget() else False
        left = list(self._cards.values())
        if had_focus and left:
            left[min(place, len(left) - 1)].setFocus(Qt.FocusReason.OtherFocusReason)
        self._box.removeWidget(gone)
        gone.hide()
        gone.deleteLater()

    def _all_cards(self) -> list[Card]:
        return ([self._well.card] if self.state.base is not None else []) + list(self._cards.values())

    def _step(self, card: Card, step: int) -> None:
        cards = self._all_cards()
        at = cards.index(card) + step
        if 0 <= at < len(cards):
            cards[at].setFocus(Qt.FocusReason.OtherFocusReason)
            self._area.ensureWidgetVisible(cards[at])
            self.cardChosen.emit(cards[at].card.id)

    def _move(self, card: ModelCard, step: int) -> None:
        at = card.index + step
        if card.index >= 0 and 0 <= at < len(self.state.experts):
            self.moveRequested.emit(card.id, step)

    def _open_menu(self, card: Card, at: QPoint) -> None:
        model, last = card.card, len(self.state.experts) - 1
        wishes: dict[str, Callable[[str], object]] = {
            "checks": self.checksRequested.emit,
            "confirm": self.confirmRequested.emit,
            "replace": self.replaceRequested.emit,
            "reveal": self.revealRequested.emit,
            "duplicate": self.duplicateRequested.emit,
            "base": self.baseRequested.emit,
            "up": lambda model_id: self.moveRequested.emit(model_id, -1),
            "down": lambda model_id: self.moveRequested.emit(model_id, 1),
            "remove": self.removeRequested.emit,
            "rename": lambda _: card.edit_name(),
        }
        card_menu(model, last, lambda wish: wishes[wish](model.id), self).popup(at)

    def _gap(self, at: QPoint) -> int:
        """Index of the gap between the cards that is closest to a global position."""
        y = self._inside.mapFromGlobal(at).y()
        return sum(y > card.geometry().center().y() for card in self._cards.values())

    def _over_well(self, at: QPoint) -> bool:
        return QRect(QPoint(), self._well.size()).contains(self._well.mapFromGlobal(at))

    def _drag(self, at: QPoint) -> None:
        """Show where the card would go."""
        over, cards = self._over_well(at), list(self._cards.values())
        self._well.set_target(over)
        self._line.setVisible(not over)
        gap = self._gap(at)
        y = cards[gap].y() - 4 if gap < len(cards) else cards[-1].geometry().bottom() + 2
        self._line.setGeometry(cards[0].x(), y, cards[0].width(), 3)
        self._line.raise_()

    def _release(self, card: ModelCard, at: QPoint) -> None:
        self._end_drag()
        if self._over_well(at):
            self.baseRequested.emit(card.id)
            return
        gap = self._gap(at)
        steps = (gap - 1 if gap > card.index else gap) - card.index
        if steps:
            self.moveRequested.emit(card.id, steps)

    def _end_drag(self) -> None:
        self._well.set_target(False)
        self._line.hide()


class InsertionLine(QWidget):
    """Where a dragged card would go."""

    def paintEvent(self, event: QPaintEvent) -> None:
        """A bar in the accent colour."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), QColor(theme().accent))
        painter.end()


def _heading(text: str) -> PlainLabel:
    return bold(PlainLabel(text))
