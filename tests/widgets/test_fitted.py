"""No text is cut off: questions grow with their words, previews fit their page, empty lists say why."""

from __future__ import annotations

from dataclasses import replace

import pytest
from PySide6.QtCore import QRect
from PySide6.QtWidgets import QApplication, QDialog, QLabel, QTableWidget
from pytestqt.qtbot import QtBot

from widgets.common.theme import Scheme
from widgets.dialogs.close_jobs import CloseJobsDialog
from widgets.dialogs.replace_export import ReplaceExportDialog
from widgets.dialogs.state import ExistingExport
from widgets.dialogs.task_wizard import TaskWizard
from widgets.panels.intake import IntakeDialog

NAME = "legal-contracts-de-2026-lora-r64-merged-7"


def cut_off(dialog: QDialog) -> list[str]:
    """Texts that are taller than their label, or lie outside of the dialog."""
    found = []
    for label in dialog.findChildren(QLabel):
        place = QRect(label.mapTo(dialog, label.rect().topLeft()), label.size())
        needed = label.heightForWidth(label.width()) if label.wordWrap() else label.sizeHint().height()
        if label.isVisible() and (label.height() < needed or not dialog.rect().contains(place)):
            found.append(label.text())
    return found


@pytest.mark.parametrize("count", [1, 8])
def test_questions_show_all_their_words(scheme: Scheme, qtbot: QtBot, count: int) -> None:
    summary = "Not made by Mixdown: a folder that Mixdown did not write, with other things in it"
    other = ExistingExport(path=f"/home/ada/{NAME}", summary=summary, size_bytes=1, changed="2026-11-21 17:50")
    for dialog in (CloseJobsDialog([f"Exporting {NAME}"] * count), ReplaceExportDialog(other, f"/home/ada/{NAME}-2")):
        qtbot.addWidget(dialog)
        with qtbot.waitExposed(dialog):
            dialog.show()
        QApplication.processEvents()
        assert cut_off(dialog) == []


def test_the_preview_of_a_few_columns_fits_the_page_and_its_resizes(qtbot: QtBot) -> None:
    wizard = TaskWizard()
    qtbot.addWidget(wizard)
    wizard.show()
    rows = tuple((f"a sentence {i} that goes on for a while, so that it has to be cut", "negative") for i in range(10))
    wizard.set_state(replace(wizard.state, path="x.csv", columns=("sentence", "label"), preview=rows))
    table = wizard.findChild(QTableWidget, "task-preview")
    for width in (780, 1000, 760):
        wizard.resize(width, 640)
        QApplication.processEvents()
        assert table.horizontalScrollBar().maximum() == 0, width
        assert table.horizontalHeader().length() == table.viewport().width()


def test_a_filter_without_a_hit_says_so(qtbot: QtBot) -> None:
    dialog = IntakeDialog(64)
    qtbot.addWidget(dialog)
    dialog.start([f"/models/m{i}" for i in range(70)])
    dialog.show()
    hint = next(label for label in dialog.table.viewport().findChildren(QLabel))
    assert not hint.isVisible() and dialog.all.isEnabled()
    dialog.filter.setText("nothing like it")
    assert hint.isVisible() and "Clear the filter" in hint.text() and not dialog.all.isEnabled()
    dialog.filter.clear()
    assert not hint.isVisible() and dialog.all.isEnabled()
