"""All parameters of the method."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtWidgets import QGridLayout, QTextBrowser, QWidget

from widgets.common.text import PlainLabel, tip
from widgets.desk.inks import small
from widgets.panels.method_fields import ParamField, cost_text, param_tip
from widgets.panels.own_values import OwnValues
from widgets.panels.panel_parts import EmptyHint, bold, column, dim, icon_button, scroller, squeezed
from widgets.panels.place_values import PlaceValues
from widgets.panels.state import SentenceState

if TYPE_CHECKING:
    from PySide6.QtGui import QKeyEvent, QResizeEvent

    from engine.methods.spec import Param, Value

_COSTS = {"linear": "live", "mask": "preview", "full": "full merge"}


class MethodPanel(QWidget):
    """All parameters of the method, and what it does.

    Signals:
        paramEdited: name, value, gesture; for one expert's own value the name is like "density@code", and the
            value None takes it away; "density[*]" and None take those of all places away.
    """

    paramEdited = Signal(str, object, str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("method-panel")
        self.state = SentenceState()
        self._rows: list[_Row] = []
        self._title, self._summary = bold(PlainLabel(wrap=True), 1.15), dim(PlainLabel(wrap=True))
        self._meaning = PlainLabel(wrap=True)
        self._help = HelpText()
        self._empty = EmptyHint("settings", "No method chosen", "Choose one in the sentence above the desk.")
        self._inside = QWidget()
        self._form = QGridLayout()
        self._form.setContentsMargins(0, 4, 0, 4)
        self._form.setHorizontalSpacing(8)
        self._form.setVerticalSpacing(2)
        self._form.setColumnStretch(1, 1)
        layout = column(self._inside, 8)
        layout.addWidget(squeezed(self._title))
        layout.addWidget(squeezed(self._summary))
        layout.addLayout(self._form)
        layout.addWidget(squeezed(self._meaning))
        layout.addWidget(self._help)
        layout.addStretch(1)
        outer = column(self, 0, 0)
        self._area = scroller(self._inside, "Method settings")
        outer.addWidget(self._area)
        outer.addWidget(self._empty)
        self._show_method()

    def set_state(self, state: SentenceState) -> None:
        """Show another method or other values."""
        old, self.state = self.state, state
        if state.params != old.params:
            self._rebuild()
        if state.chosen != old.chosen:
            self._show_method()
        for row in self._rows:
            row.show_value(state.values.get(row.param.name, row.param.default), state.experts)
            row.own.show_values(state.values, state.experts)
            row.places.show_values(state.values)

    def _show_method(self) -> None:
        chosen = self.state.chosen
        self._area.setVisible(chosen is not None)
        self._empty.setVisible(chosen is None)
        if chosen is not None:
            self._title.setText(chosen.title)
            self._summary.setText(chosen.summary)
            self._meaning.setText(f"Faders: {chosen.coefficient_help}" if chosen.coefficient_help else "")
            self._meaning.setVisible(bool(chosen.coefficient_help))
            self._help.show_markdown(chosen.help)

    def _rebuild(self) -> None:
        for row in self._rows:
            row.remove_from(self._form)
        self._rows = [_Row(p, self._form, place) for place, p in enumerate(self.state.params)]
        for row in self._rows:
            row.field.edited.connect(self.paramEdited)
            row.own.edited.connect(self.paramEdited)
            row.places.edited.connect(self.paramEdited)
        if self._rows:
            QWidget.setTabOrder(self._rows[-1].last_stop, self._help)  # the fields were made later than the help


class _Row:
    """Label, control, cost and reset button of one parameter in the form."""

    def __init__(self, param: Param, form: QGridLayout, place: int) -> None:
        self.param = param
        self.field = ParamField(param)
        self.field.control.setMinimumWidth(60)
        self._label = PlainLabel(param.label)
        self._label.setToolTip(tip(param_tip(param)))
        self._label.setBuddy(self.field.control)
        self._cost = dim(PlainLabel(_COSTS[param.live]))
        self._cost.setToolTip(tip(cost_text(param)))
        self._reset = icon_button(f"Reset {param.label} to {param.default}", "undo", tone="dim")
        self._reset.clicked.connect(lambda: self.field.edited.emit(param.name, param.default, ""))
        policy = self._reset.sizePolicy()
        policy.setRetainSizeWhenHidden(True)
        self._reset.setSizePolicy(policy)
        self._cost.setContentsMargins(0, 0, 0, 5)
        self._cost.setFont(small(self._cost.font()))
        self.own, self.places = OwnValues(param), PlaceValues(param)
        self._widgets = (self._label, self._cost, self.field, self._reset, self.own, self.places)
        form.addWidget(self._label, 4 * place, 0, Qt.AlignmentFlag.AlignBottom)
        form.addWidget(self._cost, 4 * place + 1, 0, Qt.AlignmentFlag.AlignTop)
        form.addWidget(self.field, 4 * place, 1, 2, 1)
        form.addWidget(self._reset, 4 * place, 2, 2, 1)
        form.addWidget(self.own, 4 * place + 2, 0, 1, 3)
        form.addWidget(self.places, 4 * place + 3, 0, 1, 3)

    @property
    def last_stop(self) -> QWidget:
        """The row's last place in the order of Tab."""
        below = (self.own, *self.own.findChildren(QWidget), *self.places.findChildren(QWidget))
        stops = [w for w in below if w.focusPolicy() & Qt.FocusPolicy.TabFocus]
        return stops[-1] if stops else self._reset

    def show_value(self, value: Value, experts: tuple[str, ...]) -> None:
        """Show a value; the reset button is there while it is not the default."""
        self.field.show_value(value, experts)
        away = value != self.param.default
        if not away and self._reset.hasFocus():
            self.field.setFocus(Qt.FocusReason.OtherFocusReason)
        self._reset.setVisible(away)

    def remove_from(self, form: QGridLayout) -> None:
        """Take the row out of the form."""
        for widget in self._widgets:
            form.removeWidget(widget)
            widget.hide()
            widget.deleteLater()


_LOOK = """QTextBrowser { background: transparent; border: 1px solid transparent; padding: 0; }
QTextBrowser:focus { border-color: palette(highlight); }"""


_MOVES = (Qt.Key.Key_Up, Qt.Key.Key_Down, Qt.Key.Key_PageUp, Qt.Key.Key_PageDown)


class HelpText(QTextBrowser):
    """Our own Markdown, as tall as its text; opens no links and loads nothing."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setOpenLinks(False)
        self.setStyleSheet(_LOOK)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setAccessibleName("About the method")
        self.document().setDocumentMargin(0)
        self.document().setIndentWidth(16)

    def show_markdown(self, text: str) -> None:
        """Show another text."""
        self.setMarkdown(text)
        self.setVisible(bool(text.strip()))
        self._fit()

    def loadResource(self, kind: int, name: object) -> object:
        """Nothing: help has no pictures."""
        return None

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Keys that move on belong to the area around, because all of the text is here."""
        if event.key() in _MOVES:
            event.ignore()
        else:
            super().keyPressEvent(event)

    def minimumSizeHint(self) -> QSize:
        """Any width."""
        return QSize(40, 20)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """As tall as the text at this width."""
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        height = int(self.document().size().height()) + 6
        if height != self.height():
            self.setFixedHeight(height)
