"""The recipe as a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QSize, Qt, Signal
from PySide6.QtGui import QAction, QActionGroup, QResizeEvent
from PySide6.QtWidgets import QHBoxLayout, QLayout, QMenu, QSizePolicy, QToolButton, QWidget

from widgets.common.format import plural
from widgets.common.icons import icon
from widgets.common.text import PlainLabel, button_text, plain, tip
from widgets.panels.method_fields import ParamField, param_tip
from widgets.panels.panel_parts import dim
from widgets.panels.state import MethodChoice, SentenceState

if TYPE_CHECKING:
    from engine.methods.spec import Param

_NAME_LETTERS = 26
_INLINE = 4
_LONG, _SHORT = "merged by", "by"
_FLAT = 14
"""Most methods that one menu shows without submenus."""
_FAMILIES = {"linear": "Linear", "spherical": "Spherical", "sparse": "Sparse", "masks": "Masks"}


class Sentence(QWidget):
    """The recipe as a sentence: "Base tiny-base + 4 experts merged by TIES with density 0.20 scale 1.00".

    One line: where there is no room the last parameters give way, the method panel has them all.

    Signals:
        methodChosen: id.
        paramEdited: name, value, gesture.
        baseClicked: The base's name was clicked.
        expertsClicked: The number of experts was clicked.
        methodHelpRequested: Show the method panel.
    """

    methodChosen = Signal(str)
    paramEdited = Signal(str, object, str)
    baseClicked = Signal()
    expertsClicked = Signal()
    methodHelpRequested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("sentence")
        self.state = SentenceState()
        self._groups: list[_Group] = []
        self._methods: tuple[MethodChoice, ...] = ()
        """What the menu shows; it is filled when it is first opened."""
        self._base, self._experts, self._method = (_word_button(n) for n in ("Base", "Experts", "Merge method"))
        self._more, self._with = _word_button("More settings"), _word("with")
        self._more.setAutoRaise(True)
        self._more.setIcon(icon("settings", "dim"))
        self._more.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self._menu = QMenu(self._method)
        self._families: list[QMenu] = []
        self._actions: list[QAction] = []
        self._hang_menu()
        self._base.clicked.connect(self.baseClicked)
        self._experts.clicked.connect(self.expertsClicked)
        self._more.clicked.connect(self.methodHelpRequested)
        words = _word("Base"), _word("+"), _word(_LONG)
        self._parts = (words[0], self._base, words[1], self._experts, words[2], self._method, self._with)
        self._merged, self._spared = words[2], (words[0], self._with)
        self._row = QHBoxLayout(self)
        self._lay_out()
        self._first = self._row.indexOf(self._more)
        self._show_names()
        self._show_methods()
        self.setAccessibleName(sentence_text(self.state))
        self._fit()

    def _hang_menu(self) -> None:
        self._menu.setToolTipsVisible(True)
        self._menu.aboutToShow.connect(self.fill_menu)
        self._method.setMenu(self._menu)
        self._method.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self._method.setIcon(icon("chevron-down", "dim"))
        self._method.setLayoutDirection(Qt.LayoutDirection.RightToLeft)  # the arrow stands behind the name
        self._menu.setLayoutDirection(Qt.LayoutDirection.LeftToRight)  # else families open to the left
        self._method.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self._method.setObjectName("method-menu")

    def _lay_out(self) -> None:
        self._row.setSizeConstraint(QLayout.SizeConstraint.SetNoConstraint)
        self._row.setContentsMargins(0, 0, 0, 0)
        self._row.setSpacing(6)
        for part in self._parts:
            self._row.addWidget(part)
        self._row.addWidget(self._more)
        self._row.addStretch(1)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def set_state(self, state: SentenceState) -> None:
        """Show another recipe."""
        old, self.state = self.state, state
        renamed = (state.base, state.experts, state.heard) != (old.base, old.experts, old.heard)
        if renamed:
            self._show_names()
        if state.method != old.method or state.methods != old.methods:
            self._show_methods()
        if state.params != old.params:
            self._rebuild(inline_params(state.params))
        for group in self._groups:
            name = group.field.param.name
            group.field.show_value(state.values.get(name, group.field.param.default), state.experts)
        self.setAccessibleName(sentence_text(state))
        if renamed or state.params != old.params or state.chosen != old.chosen:
            self._fit()

    def sizeHint(self) -> QSize:
        """All parameters."""
        return QSize(
            self._fixed_width() + sum(g.sizeHint().width() + 6 for g in self._groups), self._row.sizeHint().height()
        )

    def minimumSizeHint(self) -> QSize:
        """Names and method; the parameters can go."""
        return QSize(self._fixed_width(spare=True), self._row.sizeHint().height())

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Show as many parameters as there is room for."""
        super().resizeEvent(event)
        self._fit()

    def changeEvent(self, event: QEvent) -> None:
        """Another font or style: measure anew."""
        super().changeEvent(event)
        if event.type() in (QEvent.Type.FontChange, QEvent.Type.StyleChange) and hasattr(self, "_row"):
            self._fit()

    def _show_names(self) -> None:
        state = self.state
        _say(
            self._base, _short(state.base) if state.base else "none yet", state.base or "Drop or choose the base model."
        )
        names = "\n".join(plain(n, 80) for n in state.experts)
        _say(self._experts, experts_text(state), names or "Drop or choose experts: fine-tunes of the base.")

    def _show_methods(self) -> None:
        chosen = self.state.chosen
        _say(self._method, chosen.title if chosen else "choose", chosen.summary if chosen else "How experts are merged")
        if self._actions:
            self.fill_menu()

    def fill_menu(self) -> None:
        """Let the menu show the methods; it does by itself when it is opened."""
        state = self.state
        if state.methods != self._methods:
            old, self._methods = self._methods, state.methods
            if [(c.id, c.family) for c in old] == [(c.id, c.family) for c in self._methods]:
                self._update_menu(old)
            else:
                self._make_menu()
        for action in self._actions:
            if action.data() == state.method:
                action.setChecked(True)

    def _make_menu(self) -> None:
        """One submenu a family; a few methods stand in the menu itself, under headings."""
        self._menu.clear()
        for submenu in self._families:
            submenu.deleteLater()
        self._families, group = [], QActionGroup(self._menu)
        self._actions = [self._method_action(choice, group) for choice in self._methods]
        for family in dict.fromkeys(choice.family for choice in self._methods):
            mine = [a for a, c in zip(self._actions, self._methods, strict=True) if c.family == family]
            title = button_text(_FAMILIES.get(family, family.capitalize()))
            if len(self._methods) <= _FLAT:
                if family:
                    self._menu.addSection(title)
                self._menu.addActions(mine)
            else:
                submenu = self._menu.addMenu(title or "Other")
                submenu.setToolTipsVisible(True)
                submenu.addActions(mine)
                self._families.append(submenu)

    def _update_menu(self, old: tuple[MethodChoice, ...]) -> None:
        """Say of methods that stay where they are what can be chosen now; another model changes that of some."""
        for action, before, choice in zip(self._actions, old, self._methods, strict=True):
            if choice != before:
                _say_method(action, choice)

    def _method_action(self, choice: MethodChoice, group: QActionGroup) -> QAction:
        action = QAction(self._menu, checkable=True)
        action.setData(choice.id)
        _say_method(action, choice)
        action.triggered.connect(lambda: self._choose(choice.id))
        group.addAction(action)
        return action

    def _choose(self, method_id: str) -> None:
        if method_id != self.state.method:
            self.methodChosen.emit(method_id)

    def _rebuild(self, params: tuple[Param, ...]) -> None:
        for group in self._groups:
            self._row.removeWidget(group)
            group.hide()
            group.deleteLater()
        self._groups = [_Group(p) for p in params]
        for place, group in enumerate(self._groups):
            group.field.edited.connect(self.paramEdited)
            self._row.insertWidget(self._first + place, group)

    def _fixed_width(self, spare: bool = False) -> int:
        """Width of everything but the parameters; `spare`: with the short words."""
        gone = (self._merged, *(self._spared if spare else ()))
        kept = sum(part.sizeHint().width() + 6 for part in (*self._parts, self._more) if part not in gone)
        metrics = self._merged.fontMetrics()
        return kept + metrics.horizontalAdvance(_SHORT if spare else _LONG) + 6 + metrics.averageCharWidth()

    def _fit(self) -> None:
        """Shorten the words, then hide the last parameters that do not fit; say how many are elsewhere."""
        widths = [g.sizeHint().width() + 6 for g in self._groups]
        spare = self._fixed_width() + sum(widths) > self.width()
        room, shown = self.width() - self._fixed_width(spare), 0
        for group, width in zip(self._groups, widths, strict=True):
            room -= width
            group.setVisible(room >= 0)
            shown += room >= 0
        self._merged.setText(_SHORT if spare else _LONG)
        for word in self._spared:
            word.setVisible(not spare and (word is not self._with or shown > 0))
        hidden = len(self.state.params) - shown
        text = f"{hidden} more" if hidden else "About"
        _say(self._more, text, f"What {self.state.chosen.title if self.state.chosen else 'the method'} does, "
             f"and all its settings ({plural(len(self.state.params), 'setting')})")  # fmt: skip
        self._more.setIcon(icon("settings" if hidden else "help", "dim"))
        self._more.setAccessibleName(f"Method settings, {text}")


class _Group(QWidget):
    """Label and control of one parameter."""

    def __init__(self, param: Param) -> None:
        super().__init__()
        self.field = ParamField(param)
        label = _word(param.label)
        label.setToolTip(tip(param_tip(param)))
        label.setBuddy(self.field.control)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(5)
        row.addWidget(label)
        row.addWidget(self.field)
        width = self.fontMetrics().averageCharWidth()
        self.field.control.setFixedWidth(width * (16 if param.role or param.choices else 10))


def inline_params(params: tuple[Param, ...]) -> tuple[Param, ...]:
    """The method's own parameters that stand in the sentence: numbers and experts, at most four."""
    own = [p for p in params if not p.name.startswith(("post", "drop_"))]
    return tuple(p for p in own if p.role == "expert" or type(p.default) in (int, float))[:_INLINE]


def experts_text(state: SentenceState) -> str:
    """Like "4 experts", "3 of 4 experts", "no experts"."""
    count = len(state.experts)
    if not count:
        return "no experts"
    return plural(count, "expert") if state.heard == count else f"{state.heard} of {plural(count, 'expert')}"


def sentence_text(state: SentenceState) -> str:
    """The whole sentence, for screen readers."""
    parts = [f"Base {plain(state.base, 60) or 'none'} + {experts_text(state)}"]
    if state.chosen:
        parts.append(f"merged by {state.chosen.title}")
    values = [f"{p.label} {state.values.get(p.name, p.default)}" for p in inline_params(state.params)]
    return " ".join([*parts, *(["with", ", ".join(values)] if values else [])])


def _short(name: str) -> str:
    return plain(name, _NAME_LETTERS)


def _word(text: str) -> PlainLabel:
    label = dim(PlainLabel(text))
    label.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Preferred)
    return label


def _word_button(name: str) -> QToolButton:
    button = QToolButton()
    button.setAccessibleName(name)
    button.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    button.setProperty("word", name)
    return button


def _say(button: QToolButton, text: str, hint: str) -> None:
    text = button_text(text)
    if button.text() != text:
        button.setText(text)
        button.setAccessibleName(f"{button.property('word')}: {text.replace('&&', '&')}")
    button.setToolTip(tip(hint))


def _say_method(action: QAction, choice: MethodChoice) -> None:
    """Title of a method, and why it cannot be chosen where it cannot."""
    title = f"{choice.title} ({choice.reason})" if choice.reason else choice.title
    action.setText(button_text(title))
    action.setToolTip(tip(choice.summary))
    action.setEnabled(not choice.reason)
