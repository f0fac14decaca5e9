"""Choosing a tensor (by typing part of its name, layer or kind), a mode and an expert."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QButtonGroup, QCompleter, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from engine.analyse.bitmap import MODES, Mode
from widgets.common.pieces import CalmComboBox, push
from widgets.common.text import button_text, plain, tip
from widgets.plots.bitmap_state import CHOOSES, SENTENCES, TITLES, lettered
from widgets.plots.frame import PlotFrame


class TensorBar(QWidget):
    """The choices above a view of one tensor.

    Args:
        with_modes: Whether modes and experts can be chosen, too.

    Signals:
        tensorChosen: A tensor's name.
        modeChosen: A mode.
        expertChosen: Row of an expert, -1 for all.
    """

    tensorChosen = Signal(str)
    modeChosen = Signal(str)
    expertChosen = Signal(int)

    def __init__(self, *, with_modes: bool, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.tensors, self.experts = CalmComboBox(), CalmComboBox()
        self.tensors.setAccessibleName("Tensor")
        self.tensors.setToolTip("Type part of a name, a layer or a kind")
        self.tensors.setEditable(True)
        self.tensors.setInsertPolicy(CalmComboBox.InsertPolicy.NoInsert)
        self.tensors.setMinimumContentsLength(34)
        self.tensors.setSizeAdjustPolicy(CalmComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        completer = QCompleter(self.tensors.model(), self)
        completer.setFilterMode(Qt.MatchFlag.MatchContains)
        completer.setCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
        self.tensors.setCompleter(completer)
        self.tensors.activated.connect(self._on_tensor)
        completer.activated.connect(lambda *_: self._on_tensor())
        line_edit = self.tensors.lineEdit()
        if line_edit is not None:
            line_edit.editingFinished.connect(self._put_back)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(10, 6, 10, 0)
        layout.addWidget(self.tensors, 2)
        self.buttons: dict[str, QPushButton] = {}
        self._group = QButtonGroup(self)
        if with_modes:
            self._add_modes(layout)
        self.measure = push("Measure", name="spectrum-measure", hint="Decompose this matrix of every expert")
        self.measure.hide()
        layout.addWidget(self.measure)
        layout.addStretch(1)

    def _add_modes(self, layout: QHBoxLayout) -> None:
        for mode in MODES:
            button = QPushButton(TITLES[mode])
            button.setCheckable(True)
            button.setToolTip(tip(SENTENCES[mode]))
            button.setAccessibleName(f"Show {TITLES[mode]}")
            button.clicked.connect(lambda _, m=mode: self.modeChosen.emit(m))
            self._group.addButton(button)
            self.buttons[mode] = button
            layout.addWidget(button)
        self.experts.setAccessibleName("Expert")
        self.experts.hide()
        self.experts.setMinimumContentsLength(14)
        self.experts.setSizeAdjustPolicy(CalmComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.experts.activated.connect(lambda _: self.expertChosen.emit(int(self.experts.currentData())))
        layout.addWidget(self.experts, 1)

    def set_tensors(self, choices: Sequence[tuple[str, str]], chosen: str) -> None:
        """Offer (name, label) pairs; the label says layer and kind, too. Without any there is nothing to choose."""
        self.setVisible(bool(choices))
        self.tensors.set_choices([(name, plain(label)) for name, label in choices], chosen)
        self._put_back()

    def set_mode(self, mode: Mode, experts: Sequence[str], chosen: int) -> None:
        """Show the mode and whose numbers it is about."""
        for name, button in self.buttons.items():
            button.setChecked(name == mode)
        self.experts.set_choices(
            [("-1", "all experts"), *((str(i), button_text(lettered(i, tuple(experts)))) for i in range(len(experts)))],
            str(chosen),
        )
        self.experts.setVisible(mode in CHOOSES and len(experts) > 1)

    def _on_tensor(self, *_: object) -> None:
        """A row was chosen, or a completion that names one."""
        at = self.tensors.findText(self.tensors.currentText())
        if at >= 0:
            self.tensors.setCurrentIndex(at)
            self.tensorChosen.emit(str(self.tensors.itemData(at)))

    def _put_back(self) -> None:
        """Text that names no tensor becomes the chosen one again."""
        if self.tensors.findText(self.tensors.currentText()) < 0:
            self.tensors.setEditText(self.tensors.itemText(self.tensors.currentIndex()))


class TensorPage(QWidget):
    """A view of one tensor in its frame, below the choices."""

    def __init__(self, view: QWidget, *, with_modes: bool, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.bar = TensorBar(with_modes=with_modes)
        self.frame = PlotFrame(view)
        self.view = view
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self.bar)
        layout.addWidget(self.frame, 1)
