"""The task bundle dialog: what it reports, when it can go, and the table it gives away."""

from __future__ import annotations

import csv
import io

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QCheckBox, QComboBox, QDoubleSpinBox
from pytestqt.qtbot import QtBot

from widgets.dialogs.bundle_dialog import BundleDialog
from widgets.dialogs.bundle_state import BundleForm, BundleResult, BundleSizes, BundleState, BundleTask
from widgets.dialogs.bundle_table import csv_text
from widgets.panels.state import JobRow

DATA = (("/t/a.task.json", "a"),)


@pytest.fixture
def dialog(qtbot: QtBot) -> BundleDialog:
    made = BundleDialog()
    qtbot.addWidget(made)
    made.set_form(BundleForm(path="/x.safetensors", tasks=(BundleTask(name="a", data=DATA, chosen=DATA[0][0]),
                                                           BundleTask(name="<b>b</b>", data=DATA))))  # fmt: skip
    made.show()
    return made


def test_edits_are_reported_and_lambda_needs_data(dialog: BundleDialog, qtbot: QtBot) -> None:
    seen: list[BundleForm] = []
    dialog.formChanged.connect(seen.append)
    auto, level = dialog.findChild(QCheckBox, "bundle-auto-1"), dialog.findChild(QDoubleSpinBox, "bundle-level-1")
    data = dialog.findChild(QComboBox, "bundle-data-1")
    assert auto is not None and level is not None and data is not None
    assert not auto.isEnabled() and level.isEnabled() and auto.accessibleName() and level.accessibleName()
    level.setValue(0.55)
    assert seen[-1].tasks[1].level == 0.55 and not seen[-1].tasks[1].is_tuned
    data.setCurrentIndex(1)
    assert seen[-1].tasks[1].is_tuned and auto.isEnabled() and auto.isChecked() and not level.isEnabled()
    box = dialog.findChild(QCheckBox, "bundle-rescale")
    assert box is not None and box.isChecked()
    box.click()
    assert not seen[-1].rescale and dialog.form() == seen[-1]


def test_it_goes_by_keyboard_and_only_when_it_can(dialog: BundleDialog, qtbot: QtBot) -> None:
    wanted: list[object] = []
    dialog.exportRequested.connect(wanted.append)
    sizes = BundleSizes(file_bytes=4_000_000, experts_bytes=9_000_000, bits=54.0, tasks=2, ratio=1.8)
    dialog.set_state(BundleState(sizes=sizes, reason="A bundle needs the base."))
    qtbot.keyClick(dialog, Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
    dialog.set_state(BundleState(sizes=sizes, job=JobRow(number=1, title="Bundling", state="running")))
    qtbot.keyClick(dialog, Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
    assert not wanted
    dialog.set_state(BundleState(sizes=sizes))
    qtbot.keyClick(dialog, Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
    assert wanted == [dialog.form()]
    assert (
        dialog._figures["bundle"].text() == "at most 4 MB" and "27.00 for each task" in dialog._figures["bits"].text()
    )
    qtbot.keyClick(dialog, Qt.Key.Key_Escape)
    assert not dialog.isVisible()


def test_the_table_has_every_figure_and_no_formulas() -> None:
    lines = (BundleResult(name="=SUM(A1)", level=0.5, tuned=True, density=0.44, size_bytes=102_000, restored=0.9,
                          expert=0.91, kept=0.9 / 0.91, rows=300),
             BundleResult(name="b, c", level=0.4, tuned=False, density=0.4, size_bytes=1))  # fmt: skip
    first, second = csv.DictReader(io.StringIO(csv_text(lines)))
    assert first["task"] == "'=SUM(A1)" and float(first["kept"]) == 0.9 / 0.91 and first["test_rows"] == "300"
    assert second["task"] == "b, c" and second["restored_score"] == "" and second["lambda"] == "0.4"
