"""Where runs are recorded: on this computer, in a team's database or another file, or nowhere."""

from __future__ import annotations

from PySide6.QtCore import QSignalBlocker, Signal
from PySide6.QtWidgets import QLineEdit, QSizePolicy, QWidget

from widgets.common.pieces import CalmComboBox, WrappedLabel, column, push, row

OFF = "off"
_KINDS = (("own", "On this computer"), ("place", "In a team's database or another file"), ("off", "Nowhere"))
_EXAMPLE = "postgresql://ada:password@host/mixdown"


class HistoryField(QWidget):
    """A choice, and for other places an address that is tried before it is used.

    Signals:
        wanted: What the user wants: "" for this computer, "off", or an address or path to be tried.
        resized: It says more or less than before, so that it needs another height.
    """

    wanted = Signal(str)
    resized = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._value = ""
        self.kind = CalmComboBox()
        self.kind.setObjectName("preferences-history-kind")
        self.kind.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.kind.set_choices(_KINDS, "own")
        self.kind.currentIndexChanged.connect(self._on_kind)
        self.address = QLineEdit()
        self.address.setObjectName("preferences-history-address")
        self.address.setPlaceholderText(_EXAMPLE)
        self.address.setAccessibleName("Address of the database, or whole path of a file")
        self.address.textEdited.connect(lambda _: self._enable())
        self.address.returnPressed.connect(self._try)
        self.test = push("Test and use", name="preferences-history-test")
        self.test.setAutoDefault(False)
        self.test.clicked.connect(self._try)
        self.note = WrappedLabel("", "dim", wrap=True)
        self.note.setObjectName("preferences-history-note")
        self._place = QWidget()
        beside = row(self.address, self.test)
        beside.setContentsMargins(0, 0, 0, 0)
        self._place.setLayout(beside)
        body = column(self.kind, self._place, self.note, spacing=6)
        body.setContentsMargins(0, 0, 0, 0)
        self.setLayout(body)
        self.set_value("")

    def set_value(self, value: str, note: str = "") -> None:
        """Show what is used now; the value has no password in it."""
        self._value = value
        with QSignalBlocker(self.kind):
            kind = {"": "own", OFF: "off"}.get(value, "place")
            self.kind.setCurrentIndex([k for k, _ in _KINDS].index(kind))
        self.address.setText(value if value not in ("", OFF) else "")
        self.address.setCursorPosition(0)
        self._show()
        self.set_note(note)

    def set_note(self, text: str, *, busy: bool = False) -> None:
        """Say how it went; nothing can be tried meanwhile."""
        self.note.setText(text)
        self.note.setVisible(bool(text))
        self.address.setReadOnly(busy)
        self._enable(busy=busy)
        self.resized.emit()

    def _show(self) -> None:
        self._place.setVisible(self.kind.currentData() == "place")

    def _enable(self, *, busy: bool = False) -> None:
        self.test.setEnabled(not busy and bool(self.address.text().strip()))

    def _on_kind(self) -> None:
        self._show()
        kind = self.kind.currentData()
        if kind == "place":
            self.set_note("It is tried first. Until then nothing changes.")
            self.address.setFocus()
        elif {"own": "", "off": OFF}[kind] != self._value:
            self.wanted.emit({"own": "", "off": OFF}[kind])
        else:
            self.set_note("")

    def _try(self) -> None:
        if self.test.isEnabled():
            self.wanted.emit(self.address.text().strip())
