"""What a designer looks for: units, scales, hints, contrast, and no tools where there is nothing to use them on."""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import QRect
from PySide6.QtGui import QColor, QImage
from PySide6.QtWidgets import QLabel, QLineEdit, QToolButton, QWidget
from pytestqt.qtbot import QtBot

from app.explain_state import score_hint
from app.overlap_state import _reach, _role_inks
from widgets.common.format import rate_text
from widgets.common.pieces import CalmSpinBox, dimmed
from widgets.common.theme import Scheme
from widgets.desk.inks import luminance
from widgets.plots.axes import power
from widgets.plots.explain_dialog import ExplainDialog, ExplainState, _placed
from widgets.plots.frame import PlotFrame
from widgets.plots.heat_view import HeatView
from widgets.plots.ramp import Ramp
from widgets.plots.state import Heat

LONG = "A sentence so long that it cannot stand beside the title in a narrow dock. " * 4
HEAT = Heat(title="Shares", rows=("a", "b"), columns=("0", "1"), values=np.array([[0.1, 0.2], [0.3, 0.4]]), high=0.5,
            unit="%", meaning=LONG)  # fmt: skip


def contrast(first: QColor, second: QColor) -> float:
    """As WCAG defines it, 1 to 21."""
    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def boldest(widget: QWidget) -> float:
    """Contrast between a widget's background and the pixel that differs most from it."""
    inner = QRect(widget.rect()).adjusted(4, 3, -4, -3)
    image: QImage = widget.grab(inner).toImage()
    ground = image.pixelColor(image.width() - 1, 0)
    return max(contrast(image.pixelColor(x, y), ground) for x in range(image.width()) for y in range(image.height()))


def test_quiet_words_can_still_be_read(scheme: Scheme, qtbot: QtBot) -> None:
    label, edit = dimmed("mmmmmm HHHHH", wrap=False), QLineEdit()
    edit.setPlaceholderText("mmmmmm HHHHH")
    for widget in (label, edit):
        qtbot.addWidget(widget)
        widget.resize(300, 30)
        widget.ensurePolished()
        assert boldest(widget) >= 4.3, widget  # 4.5 but for the smoothing of thin letters


def test_shared_weights_have_greys_of_their_own_in_every_theme(scheme: Scheme) -> None:
    inks = _role_inks(12)
    assert len(set(inks[13:])) == 11 and not set(inks[13:]) & set(inks[1:13])


def test_a_heatmap_explains_its_colours_and_an_empty_one_offers_nothing(qtbot: QtBot) -> None:
    frame = PlotFrame(HeatView())
    qtbot.addWidget(frame)
    frame.show()
    frame.set_state(HEAT)
    ramp, tools = frame.findChild(Ramp), frame.findChildren(QToolButton)
    assert ramp.isVisible() and ramp.accessibleName() == "Colours: 0 % to 50 %"
    assert len(tools) == 4 and all(t.isEnabled() for t in tools)
    assert frame.minimumSizeHint().width() < 500, "a long sentence must not widen the window"
    frame.set_state(Heat(title="Shares", empty="Drop a model."))
    assert not ramp.isVisible() and not any(t.isEnabled() for t in tools)
    assert any(w.isVisible() and w.text() == "Drop a model." for w in frame.findChildren(QLabel))


def test_explain_without_tasks_says_what_to_do(qtbot: QtBot) -> None:
    dialog = ExplainDialog()
    qtbot.addWidget(dialog)
    dialog.show()
    hint = score_hint(0, is_ready=True, is_scoring=False)
    dialog.set_state(ExplainState(names=("Now",), score_hint=hint))
    assert "Ctrl+T" in hint and any(w.isVisible() and w.text() == hint for w in dialog.findChildren(QLabel))
    row = ("digits", "69.0 % [63.6, 74.0]", "67.3 % [61.8, 72.4]", "−1.7 points", "−9.1 … +5.8")
    dialog.set_state(ExplainState(names=("Now",), scores=(row,), score_hint=hint))
    table = dialog.scores
    assert table.isVisible()
    for column, text in enumerate(row):
        assert table.fontMetrics().horizontalAdvance(text) < table.columnWidth(column), f"{text} is cut off"


def test_numbers_have_units_and_room(qtbot: QtBot) -> None:
    assert rate_text(0.02, "mixes") == "1 mixes/min" and rate_text(0.001, "mixes") == ""
    assert rate_text(1200.0, "rows").endswith("rows/s")
    assert [power(v) for v in (-7, -1, 0, 2, 5)] == ["10⁻⁷", "0.1", "1", "100", "10⁵"] and power(-2.25) == "0.0056"
    assert [_reach(np.array([v])) for v in (0.09, -0.3, 0.8)] == [0.25, 0.5, 1.0]
    box = CalmSpinBox()
    qtbot.addWidget(box)
    assert box.lineEdit().textMargins().left() >= 4


def test_a_place_in_the_list_of_changes_keeps_layer_and_kind_whatever_the_name() -> None:
    assert _placed("legal-contracts-de-2026-lora-r64-merge00 · 4 · attn") == "legal-c…e00 · 4 · attn"
    assert _placed("density") == "density"
