"""Controls for the declared parameters of a method: one class for each type, the same in sentence and panel."""

from __future__ import annotations

import math
import os
import re
from itertools import count
from math import isclose
from typing import TYPE_CHECKING

from PySide6.QtCore import QLocale, QSignalBlocker, Qt, QTimer, Signal
from PySide6.QtGui import QKeyEvent, QValidator, QWheelEvent
from PySide6.QtWidgets import QAbstractSpinBox, QCheckBox, QComboBox, QDoubleSpinBox, QLineEdit, QVBoxLayout, QWidget

from widgets.common.pieces import INDENT
from widgets.common.text import plain, tip

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engine.methods.spec import Param, Value

_ids = count(1)
_BURST_MS = 800
_WIDEST = 2.0**53
_DIGITS = 6
_TINY = 1e-4
_START = re.compile(r"[2-9](\.\d*)?")
_POWER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)[eE][+-]?(?P<power>\d{0,2})")
FIRST_EXPERT = "first expert"


def digits_of(param: Param) -> int:
    """Decimals that a parameter needs: 6, or as many as its step has (1e-8 must not show as 0)."""
    return max(_DIGITS, math.ceil(-math.log10(param.step))) if 0 < param.step < 1 else _DIGITS


class NumberField(QDoubleSpinBox):
    """A number that shows two decimals or as many as it has; the wheel works only with the keyboard's focus.

    Signals:
        committed: The user's number: by Enter, by leaving, or by a step.
    """

    committed = Signal(float)

    def __init__(self, param: Param, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._whole, self._digits = isinstance(param.default, int), digits_of(param)
        self._shown = float(param.default)
        self.setLocale(QLocale(QLocale.Language.C))
        self.setDecimals(0 if self._whole else self._digits)
        self.setRange(*(_WIDEST * s if end is None else end for s, end in ((-1, param.low), (1, param.high))))
        self.setSingleStep(max(1.0, round(param.step)) if self._whole else param.step)
        self.setKeyboardTracking(False)
        self.lineEdit().setTextMargins(INDENT, 0, 0, 0)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setCorrectionMode(QAbstractSpinBox.CorrectionMode.CorrectToNearestValue)
        self.valueChanged.connect(self._on_changed)
        self.editingFinished.connect(lambda: self.lineEdit().setModified(False))

    def show_value(self, value: float) -> None:
        """Show a value, unless the user is typing another one."""
        self._shown = float(value)
        if self.hasFocus() and self.lineEdit().isModified():
            return
        if not isclose(self.value(), value, rel_tol=0, abs_tol=10.0**-self._digits / 2):
            with QSignalBlocker(self):
                self.setValue(value)

    def textFromValue(self, value: float) -> str:
        """Like "0.30", "0.125", "7", "1e-8"."""
        if self._whole:
            return f"{value:.0f}"
        if 0 < abs(value) < _TINY:
            return f"{value:.15g}".replace("e-0", "e-")
        text = f"{value:.{self._digits}f}".rstrip("0")
        return text + "0" * max(0, 2 - len(text.partition(".")[2]))

    def valueFromText(self, text: str) -> float:
        """Decimal point or comma, minus sign or hyphen, "1e-8"."""
        return float(_clean(text)) if "e" in text.lower() else super().valueFromText(_clean(text))

    def validate(self, text: str, pos: int) -> tuple[QValidator.State, str, int]:
        """As Qt does, for the cleaned text; a power of ten may be typed too."""
        if not self._whole and (power := _POWER.fullmatch(_clean(text))):
            inside = bool(power["power"]) and self.minimum() <= float(power[0]) <= self.maximum()
            return QValidator.State.Acceptable if inside else QValidator.State.Intermediate, text, pos
        if self._digits > _DIGITS and _START.fullmatch(_clean(text)):
            return QValidator.State.Intermediate, text, pos  # out of range only until its power is there
        state, _, at = super().validate(_clean(text), pos)
        return state, text, at

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Esc takes back what was typed."""
        if event.key() == Qt.Key.Key_Escape and self.lineEdit().isModified():
            self.lineEdit().setModified(False)
            with QSignalBlocker(self):
                self.lineEdit().setText(self.textFromValue(self._shown))
                self.setValue(self._shown)
            self.selectAll()
            return
        super().keyPressEvent(event)

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Scrolling past must not change a number."""
        if self.hasFocus():
            super().wheelEvent(event)
        else:
            event.ignore()

    def _on_changed(self, value: float) -> None:
        self.lineEdit().setModified(False)
        self.committed.emit(value)


def _clean(text: str) -> str:
    return text.replace(",", ".").replace("−", "-")


class ChoiceField(QComboBox):
    """A list that ignores the wheel while it has no focus."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(6)

    def show_choices(self, choices: Sequence[tuple[str, str]], value: str) -> None:
        """Show (value, text) pairs and the chosen one; nothing is emitted."""
        with QSignalBlocker(self):
            if [(self.itemData(i), self.itemText(i)) for i in range(self.count())] != list(choices):
                self.clear()
                for data, text in choices:
                    self.addItem(text, data)
            self.setCurrentIndex(max(0, self.findData(value)))

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Scrolling past must not choose."""
        if self.hasFocus():
            super().wheelEvent(event)
        else:
            event.ignore()


class ParamField(QWidget):
    """The control of one parameter.

    Args:
        param: Declaration.
        parent: Qt parent.

    Signals:
        edited: name, value, gesture; quick steps after each other share a gesture, so that undo takes them
            back at once.
    """

    edited = Signal(str, object, str)

    def __init__(self, param: Param, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.param = param
        self._gesture = ""
        self._burst = QTimer(self, singleShot=True, interval=_BURST_MS)
        self._burst.timeout.connect(self._end_gesture)
        self.control = self._make()
        self.control.setAccessibleName(param.label)
        self.control.setAccessibleDescription(plain(param.help))
        self.control.setToolTip(tip(param_tip(param)))
        self.setFocusProxy(self.control)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.control)

    def show_value(self, value: Value, experts: Sequence[str] = ()) -> None:
        """Show a value; `experts` are the names a parameter of the role "expert" can take."""
        control = self.control
        if isinstance(control, NumberField):
            control.show_value(float(value))
        elif isinstance(control, QCheckBox):
            with QSignalBlocker(control):
                control.setChecked(bool(value))
        elif isinstance(control, ChoiceField):
            control.show_choices(self._choices(str(value), experts), str(value))
        elif isinstance(control, QLineEdit) and not (control.hasFocus() and control.isModified()):
            control.setText(str(value))

    def _choices(self, value: str, experts: Sequence[str]) -> list[tuple[str, str]]:
        if self.param.role != "expert":
            return [(c, c.replace("_", " ")) for c in self.param.choices]
        names = [("", FIRST_EXPERT), *((n, plain(n, 60)) for n in experts)]
        return names if value in {n for n, _ in names} else [*names, (value, f"{plain(value, 60)} (not here)")]

    def _make(self) -> QWidget:
        param = self.param
        if isinstance(param.default, bool):
            box = QCheckBox()
            box.toggled.connect(lambda on: self._send(bool(on), ""))
            return box
        if isinstance(param.default, (int, float)):
            field = NumberField(param)
            field.committed.connect(self._send_number)
            return field
        if param.choices or param.role == "expert":
            combo = ChoiceField()
            combo.activated.connect(lambda index: self._send(combo.itemData(index), ""))
            return combo
        line = QLineEdit()
        line.editingFinished.connect(lambda: self._send_text(line))
        return line

    def _send_text(self, line: QLineEdit) -> None:
        if line.isModified():
            line.setModified(False)
            self._send(line.text(), "")

    def _send_number(self, value: float) -> None:
        if not self._gesture:
            self._gesture = f"param-{os.getpid()}-{next(_ids)}"
        self._burst.start()
        number = int(value) if isinstance(self.param.default, int) else round(value, digits_of(self.param))
        self._send(number, self._gesture)

    def _send(self, value: object, gesture: str) -> None:
        self.edited.emit(self.param.name, value, gesture)

    def _end_gesture(self) -> None:
        self._gesture = ""


def param_tip(param: Param) -> str:
    """Tooltip: what it does, from where to where, what moving it costs."""
    lines = [param.help]
    if param.low is not None and param.high is not None and not isinstance(param.default, bool):
        lines.append(f"From {param.low:g} to {param.high:g}; default {param.default:g}.")
    elif not isinstance(param.default, bool) and param.role != "expert":
        lines.append(f"Default: {param.default}.")
    return "\n".join([*lines, cost_text(param)])


def cost_text(param: Param) -> str:
    """What the desk can say at once when this parameter moves."""
    return {
        "linear": "Live: the numbers on the desk are exact at once.",
        "mask": "Preview: masks are counted anew, the desk shows an estimate until then.",
        "full": "Needs a merge for exact numbers; the desk shows an estimate.",
    }[param.live]
