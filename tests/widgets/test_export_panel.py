"""The export panel: nothing typed is lost, nothing is emitted by showing a state, reasons are words."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import pytest
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QGuiApplication, QWheelEvent
from PySide6.QtWidgets import QApplication, QComboBox, QLabel, QLineEdit, QProgressBar, QPushButton, QWidget

from widgets.panels.export_panel import ExportPanel
from widgets.panels.export_words import checks_text, forecast_text, format_text, space_text, written
from widgets.panels.state import ExportForm, ExportState, JobRow, Note

if TYPE_CHECKING:
    from pytestqt.qtbot import QtBot

W = TypeVar("W", bound=QWidget)
STATE = ExportState(
    form=ExportForm(path="/models/mix"),
    dtypes=(("", "as the base: bf16"), ("F32", "float32")),
    devices=(("cpu", "CPU"), ("cuda", "GPU")),
    bytes_out=248_000_000,
    free_bytes=212_000_000_000,
    peak_bytes=600_000_000,
    forecast_s=20,
    command="main.py merge demo.mixdown --out /models/mix",
)


@pytest.fixture
def panel(qtbot: QtBot) -> ExportPanel:
    made = ExportPanel()
    qtbot.addWidget(made)
    made.resize(440, 800)
    made.set_state(STATE)
    made.show()
    qtbot.waitExposed(made)
    return made


def child(panel: QWidget, kind: type[W], name: str) -> W:
    found = panel.findChild(kind, name)
    assert found is not None, name
    return found


def record(panel: ExportPanel) -> list[tuple[str, object]]:
    seen: list[tuple[str, object]] = []
    panel.formChanged.connect(lambda form: seen.append(("form", form)))
    panel.exportRequested.connect(lambda form: seen.append(("export", form)))
    panel.cancelRequested.connect(lambda: seen.append(("cancel", None)))
    panel.closeRequested.connect(lambda: seen.append(("close", None)))
    panel.jobActionTriggered.connect(lambda key: seen.append(("job", key)))
    return seen


def test_a_state_emits_nothing_and_is_what_one_sees(panel: ExportPanel) -> None:
    seen = record(panel)
    form = ExportForm(path="/x/y", dtype="F32", shard_gb=0.0, sidecars=False, card=False, verify=False, device="cuda")
    panel.set_state(replace(STATE, form=form))
    assert seen == []
    assert panel.form() == form
    assert child(panel, QLineEdit, "export-target").text() == "/x/y"
    assert child(panel, QComboBox, "export-dtype").currentText() == "float32"


def test_typing_survives_an_owner_that_answers_late(panel: ExportPanel, qtbot: QtBot) -> None:
    target, forms = child(panel, QLineEdit, "export-target"), []
    panel.formChanged.connect(forms.append)
    target.setFocus()
    target.selectAll()
    qtbot.keyClicks(target, "/a/bc")
    assert [f.path for f in forms] == ["/", "/a", "/a/", "/a/b", "/a/bc"]
    target.setCursorPosition(2)
    for form in (STATE.form, *forms):  # the states come back one after the other, late
        panel.set_state(replace(STATE, form=form, bytes_out=len(form.path)))
        assert target.text() == "/a/bc"
        assert target.cursorPosition() == 2
    assert panel.form().path == "/a/bc"
    panel.focus_target()
    child(panel, QComboBox, "export-dtype").setFocus()
    panel.set_state(replace(STATE, form=ExportForm(path="/chosen/elsewhere")))
    assert target.text() == "/chosen/elsewhere", "the owner's own change comes through once nobody types"


def test_the_owner_cannot_change_what_is_being_typed(panel: ExportPanel, qtbot: QtBot) -> None:
    target = child(panel, QLineEdit, "export-target")
    target.setFocus()
    qtbot.keyClicks(target, "-2")
    panel.set_state(replace(STATE, form=ExportForm(path="/other", dtype="F32")))
    assert target.text() == "/models/mix-2"
    assert panel.form() == ExportForm(path="/models/mix-2", dtype="F32"), "the other fields follow"


def test_another_field_chosen_while_a_late_state_arrives(panel: ExportPanel) -> None:
    forms: list[ExportForm] = []
    panel.formChanged.connect(forms.append)
    child(panel, QComboBox, "export-device").setCurrentIndex(1)
    child(panel, QComboBox, "export-dtype").setCurrentIndex(1)
    panel.set_state(replace(STATE, bytes_out=1))
    assert panel.form() == forms[1], "a state from before both edits changes neither"
    panel.set_state(replace(STATE, form=forms[0]))
    assert panel.form() == forms[1] == replace(STATE.form, device="cuda", dtype="F32")
    panel.set_state(replace(STATE, form=forms[1]))
    panel.set_state(STATE)
    assert panel.form() == STATE.form


def test_the_button_exports_what_one_sees_and_a_reason_stops_it(panel: ExportPanel, qtbot: QtBot) -> None:
    seen, button = record(panel), child(panel, QPushButton, "export-button")
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    qtbot.keyClick(child(panel, QLineEdit, "export-target"), Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
    assert seen == [("export", STATE.form)] * 2
    panel.set_state(replace(STATE, reason="Needs <b>one</b> expert."))
    reason = child(panel, QLabel, "export-reason")
    assert not button.isEnabled()
    assert button.accessibleDescription() == "Needs <b>one</b> expert."
    assert reason.isVisible() and reason.text() == "Needs <b>one</b> expert."
    assert reason.textFormat() == Qt.TextFormat.PlainText
    qtbot.keyClick(child(panel, QLineEdit, "export-target"), Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
    assert len(seen) == 2
    qtbot.keyClick(panel, Qt.Key.Key_Escape)
    assert seen[-1] == ("close", None)


def test_browse_keeps_the_name_of_the_folder(panel: ExportPanel) -> None:
    forms: list[ExportForm] = []
    panel.formChanged.connect(forms.append)
    panel._fields.put_into("/elsewhere")
    assert [f.path for f in forms] == ["/elsewhere/mix"]


def test_the_wheel_changes_no_field_on_its_way(panel: ExportPanel) -> None:
    forms: list[ExportForm] = []
    panel.formChanged.connect(forms.append)
    child(panel, QLineEdit, "export-target").setFocus()
    for name in ("export-dtype", "export-device", "export-shard"):
        widget = child(panel, QWidget, name)
        where = QPointF(widget.rect().center())
        event = QWheelEvent(
            where, widget.mapToGlobal(where), QPoint(), QPoint(0, -120), Qt.MouseButton.NoButton,
            Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase, False,
        )  # fmt: skip
        QApplication.sendEvent(widget, event)
    assert forms == []


def test_a_job_from_start_to_failure(panel: ExportPanel, qtbot: QtBot) -> None:
    seen, job = record(panel), JobRow(number=1, title="Exporting mix", state="running", done=62_000_000)
    panel.set_state(replace(STATE, job=replace(job, total=248_000_000, stage="Writing <b>", remaining_s=6)))
    assert child(panel, QProgressBar, "export-progress").value() == 250
    assert not child(panel, QLineEdit, "export-target").isEnabled()
    assert not child(panel, QPushButton, "export-button").isEnabled()
    qtbot.mouseClick(child(panel, QPushButton, "export-cancel"), Qt.MouseButton.LeftButton)
    done = replace(job, state="done", message="Exported 248 MB.", actions=(("open_folder", "Open folder"),))
    panel.set_state(replace(STATE, job=done))
    assert child(panel, QLabel, "export-message").text() == "Exported 248 MB."
    qtbot.mouseClick(child(panel, QPushButton, "export-action-open_folder"), Qt.MouseButton.LeftButton)
    panel.set_state(replace(STATE, job=replace(job, state="failed", message="The disk is full.", can_retry=True)))
    qtbot.mouseClick(child(panel, QPushButton, "error-action-retry"), Qt.MouseButton.LeftButton)
    assert seen == [("cancel", None), ("job", "open_folder"), ("export", STATE.form)]


def test_enter_in_the_target_exports_or_says_why_not(panel: ExportPanel, qtbot: QtBot) -> None:
    seen, said, field = record(panel), list[str](), child(panel, QLineEdit, "export-target")
    panel.refused.connect(said.append)
    field.setFocus()
    qtbot.keyClick(field, Qt.Key.Key_Return)
    qtbot.keyClick(field, Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
    assert seen == [("export", STATE.form)] * 2 and said == []
    panel.set_state(replace(STATE, reason="The disk is full."))
    qtbot.keyClick(field, Qt.Key.Key_Enter)
    assert len(seen) == 2 and said == ["The disk is full."]
    child(panel, QWidget, "export-dtype").setFocus()
    qtbot.keyClick(child(panel, QWidget, "export-dtype"), Qt.Key.Key_Return)
    assert len(seen) == 2 and len(said) == 1


def test_copy_as_command(panel: ExportPanel, qtbot: QtBot) -> None:
    with qtbot.waitSignal(panel.copied) as caught:
        qtbot.mouseClick(child(panel, QPushButton, "export-copy"), Qt.MouseButton.LeftButton)
    assert caught.args == [STATE.command]
    assert QGuiApplication.clipboard().text() == STATE.command


def test_findings_are_words_in_order_and_rows_are_kept(panel: ExportPanel) -> None:
    notes = (Note(severity="ok", message="Same keys"), Note(severity="error", message="No <i>room</i>", hint="Free it"))
    panel.set_state(replace(STATE, notes=notes))
    rows = list(panel._checks._rows)
    assert [r.accessibleName() for r in rows] == ["Problem: No <i>room</i> Free it", "OK: Same keys"]
    panel.set_state(replace(STATE, notes=notes[:1]))
    assert panel._checks._rows == rows[:1], "rows are changed in place"
    assert rows[0].accessibleName() == "OK: Same keys"


def test_what_is_said() -> None:
    many = replace(STATE, bytes_out=12_000_000_000, free_bytes=10_000_000_000)
    assert written(STATE)[0] == "model.safetensors (248 MB)"
    assert written(many)[0] == "about 3 safetensors files of up to 5 GB, and their index"
    assert len(written(replace(STATE, form=replace(STATE.form, sidecars=False, card=False)))) == 1
    onnx = replace(STATE, form=replace(STATE.form, format="onnx"))
    assert written(onnx)[0].startswith("model.onnx") and not any("safetensors" in line for line in written(onnx))
    both = written(replace(STATE, form=replace(STATE.form, format="both")))
    assert both[0] == "model.safetensors (248 MB)" and both[1].startswith("model.onnx")
    assert not format_text(STATE.form) and "twice the space" in format_text(onnx.form)
    assert space_text(STATE) == "Needs 248 MB of 212 GB free"
    assert space_text(many) == "Needs 12 GB, only 10 GB free: 2 GB missing"
    assert space_text(ExportState()) == "Size not known yet"
    assert forecast_text(STATE) == "About 20 s, up to 600 MB of memory"
    assert forecast_text(ExportState()) == ""
    assert checks_text((Note(severity="error", message=""), Note(severity="warning", message=""))) == (
        "Checks: 1 problem, 1 warning"
    )


@pytest.mark.parametrize("width", [340, 440])
def test_nothing_is_cut_off_at_the_side(panel: ExportPanel, qtbot: QtBot, width: int) -> None:
    long = "a_very_long_tensor_name." * 8
    panel.set_state(replace(STATE, exists=True, notes=(Note(severity="warning", message=f"{long} differs"),)))
    panel.resize(width, 700)
    QApplication.processEvents()
    area = panel._checks.parentWidget().parentWidget()
    assert panel._checks.parentWidget().minimumSizeHint().width() <= area.width()
