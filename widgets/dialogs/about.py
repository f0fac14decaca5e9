"""About Mixdown: version, licences, and the versions a bug report needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QFontDatabase, QGuiApplication
from PySide6.QtWidgets import QDialog, QLabel, QPlainTextEdit, QWidget

from widgets.common.icons import app_icon, icon
from widgets.common.pieces import column, dimmed, heading, push, row
from widgets.common.text import PlainLabel, plain, plain_lines

if TYPE_CHECKING:
    from collections.abc import Sequence

_PRIVACY = "Works without a network, sends nothing anywhere, and never runs code from model files."


def versions_text(version: str, versions: Sequence[tuple[str, str]]) -> str:
    """Names and versions as aligned lines of plain text."""
    pairs = [("Mixdown", version), *versions]
    wide = max(len(plain(name)) for name, _ in pairs)
    return "\n".join(f"{plain(name):<{wide}}  {plain(value)}" for name, value in pairs)


class AboutDialog(QDialog):
    """Version, licences and versions of the parts, with a copy button.

    Args:
        version: Of Mixdown.
        versions: (name, version) of the parts and of the system.
        licences: Licences of Mixdown and its parts as text.
        parent: Qt parent.
    """

    def __init__(
        self,
        version: str,
        versions: Sequence[tuple[str, str]] = (),
        licences: str = "",
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setObjectName("about")
        self.setWindowTitle("About Mixdown")
        self._report = versions_text(version, versions)
        self._copy = push("Copy versions", name="about-copy", icon_name="copy", hint="For a bug report")
        self._copy.clicked.connect(self._copy_report)
        close = push("Close", name="about-close", primary=True)
        close.clicked.connect(self.accept)
        mark = QLabel()
        mark.setPixmap(app_icon().pixmap(QSize(64, 64), self.devicePixelRatioF()))
        mark.setAccessibleName("Mixdown's icon")
        words = column(
            heading("Mixdown", larger=1.6), PlainLabel(f"Version {version}"), dimmed(_PRIVACY), None, spacing=4
        )
        top = row(mark, words, spacing=16)
        top.setAlignment(mark, Qt.AlignmentFlag.AlignTop)
        top.setStretch(1, 1)
        body = column(top, heading("Versions", larger=1.0), _text(self._report, "Versions", 10))
        if licences:
            body.addWidget(heading("Licences", larger=1.0))
            body.addWidget(_text(plain_lines(licences, 400_000), "Licences", 8))
        body.addLayout(row(self._copy, None, close))
        body.setContentsMargins(18, 18, 18, 14)
        self.setLayout(body)
        self.resize(560, body.sizeHint().height())
        close.setFocus()

    def _copy_report(self) -> None:
        QGuiApplication.clipboard().setText(self._report)
        self._copy.setText("Copied")
        self._copy.setIcon(icon("done", "ok"))


def _text(text: str, name: str, lines: int) -> QPlainTextEdit:
    """A read-only box of plain text that is `lines` high at most."""
    box = QPlainTextEdit(text)
    box.setReadOnly(True)
    box.setTabChangesFocus(True)
    box.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
    box.setLineWrapMode(QPlainTextEdit.LineWrapMode.WidgetWidth)
    box.setAccessibleName(name)
    high = min(lines, text.count("\n") + 1)
    box.setFixedHeight(box.fontMetrics().lineSpacing() * high + 34)
    return box
