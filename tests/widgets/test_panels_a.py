"""Sentence, method panel, inspector, scores, history and jobs."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PySide6.QtCore import QPoint, QPointF, Qt, Signal
from PySide6.QtGui import QAction, QWheelEvent
from PySide6.QtWidgets import (
    QAbstractButton,
    QApplication,
    QCheckBox,
    QComboBox,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QProgressBar,
    QTableView,
    QToolButton,
    QTreeView,
    QWidget,
)

from engine.methods import registered
from engine.methods.spec import Param
from widgets.common.theme import apply_theme
from widgets.panels.history import HistoryPanel
from widgets.panels.history_models import PLACE_ROLE
from widgets.panels.inspector import ExpertFactsCard, Inspector, facts_texts, merged_text
from widgets.panels.jobs import JobsPanel
from widgets.panels.jobs_row import JobLine, status_text
from widgets.panels.method_fields import NumberField, ParamField
from widgets.panels.method_panel import MethodPanel
from widgets.panels.scores import ScoresPanel
from widgets.panels.scores_model import BASE, EXPERT, MIX, TASK, VERDICT, average, row_text, summary_text
from widgets.panels.sentence import Sentence, inline_params, sentence_text
from widgets.panels.state import (
    ExpertFacts,
    HistoryState,
    InspectorState,
    JobRow,
    MethodChoice,
    Note,
    PinRow,
    Reading,
    ScoresState,
    SentenceState,
    Step,
    TaskScore,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytestqt.qtbot import QtBot

EXPERTS = ("code", "<b>chat</b>", "a-very-long-model-name-v2-final_checkpoint-1200")
CHOICES = tuple(
    MethodChoice(id=m.id, title=m.title, family=m.family, summary=m.summary, help=m.help,
                 coefficient_help=m.coefficient_help, reason="takes at most 2 experts" if m.id == "slerp" else "")
    for m in registered().values()
)  # fmt: skip


def sentence_state(method: str = "ties", **values: Any) -> SentenceState:
    spec = registered()[method]
    return SentenceState(base="tiny-base", experts=EXPERTS, heard=2, methods=CHOICES, method=method,
                         params=spec.params, values=spec.complete(values))  # fmt: skip


def reading(value: float, count: int = 256) -> Reading:
    """With its 95 % Wilson interval."""
    z = 1.96
    centre, scale = (value + z * z / 2 / count), 1 + z * z / count
    half = z * math.sqrt(value * (1 - value) / count + z * z / 4 / count**2)
    return Reading(value, (centre - half) / scale, (centre + half) / scale, count)


SCORES = ScoresState(
    rows=(
        TaskScore(task="code", base=reading(0.5), expert=reading(0.8), expert_name="code", expert_index=0,
                  mix=reading(0.72)),
        TaskScore(task="<i>chat</i>", base=reading(0.6), expert=reading(0.9), expert_name="c", expert_index=1,
                  mix=reading(0.63)),
        TaskScore(task="safety", problem="The head has 12 classes, the data 15."),
    ),
    note="validation rows, 0.8 s ago",
)  # fmt: skip
INSPECTOR = InspectorState(
    title="chat · layers 3–6", tensors=16, weights=28_300_000, change=0.021, cancelled=0.142, quality="estimate",
    experts=tuple(ExpertFacts(index=i, name=n, low=0.66, high=0.78, share=0.4) for i, n in enumerate(EXPERTS)),
    notes=(Note(severity="warning", message="math is stored as F32.", hint="It is rounded on export."),),
    scores=(("chat", "52.3 → 55.9 ▲"),), overrides=3, names=("model.layers.3.self_attn.q_proj.weight",),
)  # fmt: skip
HISTORY = HistoryState(
    steps=(Step(text="Opened"), Step(text="Set chat 3-6 to 0.71", score=0.81, is_saved=True), Step(text="Mute math")),
    current=1,
    pins=(PinRow(name="A", detail="TIES", score=0.8, is_current=True), PinRow(name="B")),
)
JOBS = (
    JobRow(number=1, title="Exporting my-merge", state="running", done=10**9, total=4 * 10**9, log=("start",)),
    JobRow(number=2, title="Exporting other", state="failed", message="No space left.", hint="Choose another folder.",
           can_retry=True, log=("line 1", "line 2")),
    JobRow(number=3, title="Reading base", state="done", message="Done.", actions=(("open_folder", "Open folder"),)),
)  # fmt: skip
PANELS: dict[str, tuple[type[QWidget], Any, Any]] = {
    "sentence": (Sentence, sentence_state(), sentence_state("dare_ties", density=0.4)),
    "method": (MethodPanel, sentence_state(), sentence_state("tall_mask", task=EXPERTS[1])),
    "inspector": (Inspector, INSPECTOR, replace(INSPECTOR, experts=INSPECTOR.experts[:1], quality="stale", notes=())),
    "scores": (ScoresPanel, SCORES, replace(SCORES, rows=SCORES.rows[:1], is_auto=False, is_running=True)),
    "history": (HistoryPanel, HISTORY, HistoryState(steps=HISTORY.steps[:2], current=0, pins=HISTORY.pins[1:])),
    "jobs": (JobsPanel, JOBS, (replace(JOBS[1], state="running"), JOBS[0])),
}
EMPTY: dict[str, Any] = {"sentence": SentenceState(), "method": SentenceState(), "inspector": InspectorState(),
                         "scores": ScoresState(), "history": HistoryState(), "jobs": ()}  # fmt: skip


@pytest.fixture
def show(qtbot: QtBot, qapp: QApplication) -> Callable[..., Any]:
    def make(kind: type[QWidget], state: Any, width: int = 320, height: int = 640, scheme: str = "dark") -> Any:
        apply_theme(qapp, scheme)
        panel = kind()
        qtbot.addWidget(panel)
        panel.resize(width, height)
        panel.set_state(state)
        with qtbot.waitExposed(panel):
            panel.show()
        panel.activateWindow()
        qapp.processEvents()
        return panel

    return make


def signals_of(panel: QWidget) -> list[str]:
    """Names of the signals that the panel's own class declares."""
    return [name for name, value in vars(type(panel)).items() if isinstance(value, Signal)]


def wishes(panel: QWidget) -> list[tuple[object, ...]]:
    heard: list[tuple[object, ...]] = []
    for name in signals_of(panel):
        getattr(panel, name).connect(lambda *args, name=name: heard.append((name, *args)))
    return heard


def find(panel: QWidget, kind: type[Any], name: str) -> Any:
    """The visible child of a kind whose object or accessible name begins with `name`."""
    found = [c for c in panel.findChildren(kind) if name in (c.objectName(), c.accessibleName()) and not c.isHidden()]
    found = found or [c for c in panel.findChildren(kind) if c.accessibleName().startswith(name) and not c.isHidden()]
    assert found, f"no {kind.__name__} {name!r}"
    return found[0]


# ---- all panels


@pytest.mark.parametrize("kind", PANELS)
def test_a_state_never_becomes_a_wish(show: Callable[..., Any], kind: str, qapp: QApplication) -> None:
    make, first, second = PANELS[kind]
    panel = show(make, first)
    assert signals_of(panel)
    heard = wishes(panel)
    for control in panel.findChildren(QWidget):
        if control.focusPolicy() != Qt.FocusPolicy.NoFocus and control.isVisible():
            control.setFocus()
            for state in (second, first, EMPTY[kind], first):
                panel.set_state(state)
                qapp.processEvents()
            break
    assert heard == []


@pytest.mark.parametrize("kind", PANELS)
def test_the_same_structure_keeps_its_widgets(show: Callable[..., Any], kind: str) -> None:
    make, first, _ = PANELS[kind]
    panel = show(make, first)
    before = panel.findChildren(QWidget)
    other: Any = {
        "sentence": sentence_state(density=0.7),
        "method": sentence_state(density=0.7, scale=2.0),
        "inspector": replace(INSPECTOR, change=0.5, experts=tuple(replace(e, low=0.1) for e in INSPECTOR.experts)),
        "scores": replace(SCORES, rows=tuple(replace(r, is_stale=True) for r in SCORES.rows)),
        "history": replace(HISTORY, steps=(*HISTORY.steps[:-1], Step(text="Mute chat"))),
        "jobs": tuple(replace(j, done=j.done + 5) for j in JOBS),
    }[kind]
    panel.set_state(other)
    assert panel.findChildren(QWidget) == before


@pytest.mark.parametrize("kind", PANELS)
def test_names_are_text_and_controls_have_names(show: Callable[..., Any], kind: str) -> None:
    make, first, _ = PANELS[kind]
    panel = show(make, first)
    for label in panel.findChildren(QLabel):
        assert label.textFormat() == Qt.TextFormat.PlainText, label.text()
    for control in panel.findChildren(QWidget):
        if (
            isinstance(control, (QAbstractButton, QComboBox, NumberField, QTableView, QTreeView))
            and control.isVisible()
        ):
            assert control.accessibleName() or control.property("text"), control


@pytest.mark.parametrize("scheme", ["light", "dark", "contrast"])
@pytest.mark.parametrize("width", [240, 420])
@pytest.mark.parametrize("kind", [k for k in PANELS if k != "sentence"])
def test_no_control_is_clipped(show: Callable[..., Any], kind: str, width: int, scheme: str) -> None:
    make, first, _ = PANELS[kind]
    panel = show(make, first, width, scheme=scheme)
    assert panel.width() == width
    for control in panel.findChildren(QWidget):
        if isinstance(control, (QAbstractButton, QComboBox, NumberField, QProgressBar, QLabel)) and control.isVisible():
            left, right = control.mapTo(panel, QPoint(0, 0)).x(), control.mapTo(panel, QPoint(control.width(), 0)).x()
            assert left >= 0 and right <= width, (control.accessibleName(), control.geometry())
            if isinstance(control, QAbstractButton):
                assert control.width() >= control.sizeHint().width() - 2, control.accessibleName()
    grabbed = panel.grab().toImage()
    assert len({grabbed.pixel(x, y) for x in range(0, width, 7) for y in range(0, 600, 7)}) > 3


# ---- sentence and method panel


def test_the_sentence_reads_as_one() -> None:
    state = sentence_state(density=0.25)
    assert sentence_text(state).startswith(
        "Base tiny-base + 2 of 3 experts merged by TIES with density 0.25, scale 1.0"
    )
    assert sentence_text(SentenceState()) == "Base none + no experts"


def test_parameters_give_way_and_are_counted(show: Callable[..., Any], qapp: QApplication) -> None:
    sentence = show(Sentence, sentence_state(), 900, 40)
    fields = sentence.findChildren(ParamField)
    shown = [f.param.name for f in fields if f.isVisible()]
    assert shown[:2] == ["density", "scale"]
    more = find(sentence, QToolButton, "Method settings")
    assert more.text() == f"{len(registered()['ties'].params) - len(shown)} more"
    narrow = sentence.minimumSizeHint().width()
    sentence.resize(narrow, 40)
    qapp.processEvents()
    assert not any(f.isVisible() for f in fields)
    assert more.text() == f"{len(registered()['ties'].params)} more"
    assert more.mapTo(sentence, QPoint(more.width(), 0)).x() <= narrow


def test_a_method_is_chosen_from_the_menu(show: Callable[..., Any]) -> None:
    sentence = show(Sentence, sentence_state(), 900, 40)
    heard = wishes(sentence)
    assert not [a for a in sentence.findChildren(QAction) if a.data()]  # made when the menu is opened
    find(sentence, QToolButton, "Merge method").menu().aboutToShow.emit()
    actions = {a.data(): a for a in sentence.findChildren(QAction) if a.data()}
    assert set(actions) == set(registered())
    assert actions["ties"].isChecked()
    assert not actions["slerp"].isEnabled() and "at most 2" in actions["slerp"].text()
    actions["ties"].trigger()
    actions["linear"].trigger()
    assert heard == [("methodChosen", "linear")]


def density_of(panel: QWidget) -> NumberField:
    field = find(panel, NumberField, "density")
    assert isinstance(field, NumberField)
    return field


def test_typing_is_left_alone_and_sent_once(show: Callable[..., Any], qtbot: QtBot) -> None:
    sentence = show(Sentence, sentence_state(), 900, 40)
    heard, field = wishes(sentence), density_of(sentence)
    field.setFocus()
    field.selectAll()
    qtbot.keyClicks(field, "0,35")
    sentence.set_state(sentence_state(density=0.5))
    assert field.text() == "0,35" and heard == []
    qtbot.keyClick(field, Qt.Key.Key_Return)
    assert [h[:3] for h in heard] == [("paramEdited", "density", 0.35)]
    sentence.set_state(sentence_state(density=0.2))  # the app refused
    assert field.text() == "0.20" and len(heard) == 1


def test_escape_restores_the_number(show: Callable[..., Any], qtbot: QtBot) -> None:
    sentence = show(Sentence, sentence_state(density=0.3), 900, 40)
    heard, field = wishes(sentence), density_of(sentence)
    field.setFocus()
    field.selectAll()
    qtbot.keyClicks(field, "0.9")
    qtbot.keyClick(field, Qt.Key.Key_Escape)
    assert field.text() == "0.30" and heard == []
    qtbot.keyClick(field, Qt.Key.Key_Return)
    assert heard == []


def wheel(widget: QWidget) -> None:
    at = QPointF(5, 5)
    event = QWheelEvent(at, widget.mapToGlobal(at), QPoint(0, 120), QPoint(0, 120), Qt.MouseButton.NoButton,
                        Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase, False)  # fmt: skip
    QApplication.sendEvent(widget, event)


def test_the_wheel_needs_the_focus_and_steps_share_a_gesture(show: Callable[..., Any]) -> None:
    sentence = show(Sentence, sentence_state(), 900, 40)
    heard, field = wishes(sentence), density_of(sentence)
    find(sentence, NumberField, "scale").setFocus()
    wheel(field)
    assert heard == []
    field.setFocus()
    wheel(field)
    wheel(field)
    assert [h[2] for h in heard] == [0.25, 0.3]
    assert heard[0][3] == heard[1][3] != ""


@given(value=st.integers(-5_000_000, 5_000_000).map(lambda n: n / 10**6))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_number_reads_back_as_itself(qapp: QApplication, value: float) -> None:
    field = NumberField(Param("scale", 1.0, help="", low=-5.0, high=5.0))
    text = field.textFromValue(value)
    assert field.valueFromText(text) == value and ("e" in text or len(text.partition(".")[2]) >= 2)
    assert field.valueFromText(text.replace(".", ",").replace("-", "−")) == value


def test_a_tiny_number_is_shown_and_typed_as_a_power(qtbot: QtBot) -> None:
    field = NumberField(Param("ridge", 1e-8, help="", low=0.0, high=1.0, step=1e-8))
    qtbot.addWidget(field)
    field.show()
    heard: list[float] = []
    field.committed.connect(heard.append)
    field.show_value(1e-8)
    assert field.text() == "1e-8"
    for typed, value in (("2.5e-6", 2.5e-6), ("3E-2", 0.03), ("0.5", 0.5)):
        field.selectAll()
        qtbot.keyClicks(field, typed)
        qtbot.keyClick(field, Qt.Key.Key_Return)
        assert heard[-1] == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize("method", registered())
def test_every_parameter_has_a_control_that_shows_it(show: Callable[..., Any], method: str) -> None:
    spec = registered()[method]
    panel = show(MethodPanel, sentence_state(method), 300)
    fields = {f.param.name: f.control for f in panel.findChildren(ParamField)}
    own = {f"{p.name}@{name}" for p in spec.params if p.each for name in EXPERTS}  # may differ between experts
    assert {name for name in fields if "@" in name} <= own
    assert [name for name in fields if "@" not in name] == [p.name for p in spec.params]
    for param in spec.params:
        control = fields[param.name]
        shown = (control.value() if isinstance(control, NumberField) else control.isChecked()
                 if isinstance(control, QCheckBox) else control.currentData()
                 if isinstance(control, QComboBox) else control.text())  # fmt: skip
        assert shown == param.default
    assert len(inline_params(spec.params)) <= 4


def test_reset_is_there_while_a_value_is_not_the_default(show: Callable[..., Any], qtbot: QtBot) -> None:
    panel = show(MethodPanel, sentence_state(density=0.6))
    heard = wishes(panel)
    reset = find(panel, QToolButton, "Reset density to 0.2")
    reset.setFocus()
    qtbot.keyClick(reset, Qt.Key.Key_Space)
    assert heard == [("paramEdited", "density", 0.2, "")]
    panel.set_state(sentence_state(density=0.2))
    assert not reset.isVisible() and density_of(panel).hasFocus()


def test_an_expert_can_be_chosen_even_when_it_is_gone(show: Callable[..., Any]) -> None:
    panel = show(MethodPanel, sentence_state("tall_mask", task="gone"))
    combo = find(panel, QComboBox, registered()["tall_mask"].param("task").label)
    assert [combo.itemData(i) for i in range(combo.count())] == ["", *EXPERTS, "gone"]
    assert combo.currentData() == "gone" and "not here" in combo.currentText()


# ---- inspector


def test_unknown_facts_are_left_out() -> None:
    facts = ExpertFacts(index=0, name="x", low=0.5, high=0.5, cosine=-0.04)
    assert facts_texts(facts) == ["cosine −0.04"]
    assert facts_texts(replace(facts, cosine=None)) == ["not measured yet"]
    assert merged_text(InspectorState(change=0.5)) == "change 50.0 %"


def test_the_inspector_follows_the_selection(show: Callable[..., Any], qtbot: QtBot) -> None:
    panel = show(Inspector, INSPECTOR)
    heard = wishes(panel)
    clear = find(panel, QAbstractButton, "clear-overrides")
    assert clear.text() == "Clear 3 finer coefficients"
    qtbot.mouseClick(clear, Qt.MouseButton.LeftButton)
    assert heard == [("clearOverridesRequested",)]
    cards = [c for c in panel.findChildren(ExpertFactsCard) if c.isVisible()]
    assert len(cards) == 3 and "<b>chat</b>, coefficient 0.66 – 0.78" in cards[1].accessibleName()
    panel.set_state(replace(INSPECTOR, overrides=0, experts=INSPECTOR.experts[:1]))
    assert not clear.isVisible() and sum(c.isVisible() for c in cards) == 1
    panel.set_state(InspectorState())
    assert any("Nothing selected" in w.accessibleName() and w.isVisible() for w in panel.findChildren(QWidget))


# ---- scores


def test_averages_count_only_complete_tasks() -> None:
    mean = average(SCORES.rows)
    assert mean is not None and mean.count == 2
    assert mean.normalised == pytest.approx((0.72 / 0.8 + 0.63 / 0.9) / 2)
    assert summary_text(SCORES.rows) == "Average 67.5 over 2 of 3 tasks: 80.0 % of the experts' own scores"
    assert average(SCORES.rows[2:]) is None


def test_a_row_says_everything_to_a_screen_reader(show: Callable[..., Any]) -> None:
    panel = show(ScoresPanel, SCORES)
    model = panel.findChild(QTableView).model()
    said = [str(model.index(r, TASK).data(Qt.ItemDataRole.AccessibleTextRole)) for r in range(4)]
    assert "Mix 72.0 ±5.5, 256 rows" in said[0] and "+22.0 to the base: better" in said[0]
    assert "no clear difference" in said[1]
    assert "12 classes" in said[2] and said[3].startswith("Average 67.5")
    assert "older recipe" in row_text(replace(SCORES.rows[0], is_stale=True))
    assert model.index(0, VERDICT).data() == "▲ better" and model.index(1, VERDICT).data() == "≈ unclear"


def test_narrow_tables_keep_task_and_mix(show: Callable[..., Any], qapp: QApplication) -> None:
    panel = show(ScoresPanel, SCORES, 240)
    table = panel.findChild(QTableView)
    hidden = [c for c in range(6) if table.isColumnHidden(c)]
    assert hidden == [BASE, EXPERT, VERDICT] and table.model().index(0, 4).data() == "+22.0 ▲"
    panel.resize(900, 640)
    qapp.processEvents()
    assert not any(table.isColumnHidden(c) for c in range(6)) and table.model().index(0, 4).data() == "+22.0"


def test_a_stale_bar_is_hatched(show: Callable[..., Any], qapp: QApplication) -> None:
    panel = show(ScoresPanel, SCORES, 900)
    table = panel.findChild(QTableView)

    def colours() -> set[int]:
        qapp.processEvents()
        image, box = table.viewport().grab().toImage(), table.visualRect(table.model().index(0, MIX))
        y = round((box.bottom() - 9) * image.devicePixelRatio())
        return {image.pixel(x, y) for x in range(box.left() + 10, box.left() + box.width() // 3)}

    assert len(colours()) == 1
    panel.set_state(replace(SCORES, rows=(replace(SCORES.rows[0], is_stale=True), *SCORES.rows[1:])))
    assert len(colours()) > 1


def test_evaluating_and_stopping(show: Callable[..., Any], qtbot: QtBot) -> None:
    panel = show(ScoresPanel, SCORES)
    heard = wishes(panel)
    evaluate, stop = find(panel, QAbstractButton, "evaluate-now"), find(panel, QAbstractButton, "evaluate-stop")
    evaluate.setFocus()
    qtbot.keyClick(evaluate, Qt.Key.Key_Space)
    panel.set_state(replace(SCORES, is_running=True))
    assert not evaluate.isEnabled() and stop.hasFocus() and find(panel, QProgressBar, "Evaluation").isVisible()
    qtbot.keyClick(stop, Qt.Key.Key_Space)
    panel.set_state(replace(SCORES, reason="Needs a base."))
    assert not evaluate.isEnabled() and "Needs a base" in evaluate.toolTip()
    find(panel, QCheckBox, "evaluate-auto").click()
    assert heard == [("evaluateRequested",), ("stopRequested",), ("autoToggled", False)]


def test_going_to_a_task_and_removing_it(show: Callable[..., Any], qtbot: QtBot) -> None:
    panel = show(ScoresPanel, SCORES)
    heard, table = wishes(panel), panel.findChild(QTableView)
    qtbot.mouseClick(
        table.viewport(), Qt.MouseButton.LeftButton, pos=table.visualRect(table.model().index(0, MIX)).center()
    )
    qtbot.keyClick(table, Qt.Key.Key_Down)
    qtbot.keyClick(table, Qt.Key.Key_Delete)
    assert heard == [("taskChosen", "code"), ("taskChosen", "<i>chat</i>"), ("removeTaskRequested", "<i>chat</i>")]


# ---- history


def test_steps_are_gone_to_and_shown_as_undone(show: Callable[..., Any], qtbot: QtBot) -> None:
    panel = show(HistoryPanel, HISTORY)
    heard, steps = wishes(panel), find(panel, QTreeView, "history-steps")
    model = steps.model()
    assert [model.index(r, 0).data(PLACE_ROLE) for r in range(3)] == [-1, 0, 1]
    assert "undone" in model.index(2, 0).data(Qt.ItemDataRole.AccessibleTextRole)
    for row in (1, 2):  # the current one is no change
        at = steps.visualRect(model.index(row, 0)).center()
        qtbot.mouseClick(steps.viewport(), Qt.MouseButton.LeftButton, pos=at)
    steps.setFocus()
    qtbot.keyClick(steps, Qt.Key.Key_Home)
    assert heard == [("stepChosen", 2)]
    qtbot.keyClick(steps, Qt.Key.Key_Return)
    assert heard == [("stepChosen", 2), ("stepChosen", 0)]


def test_a_growing_history_is_not_reset(show: Callable[..., Any]) -> None:
    panel = show(HistoryPanel, HISTORY)
    model = find(panel, QTreeView, "history-steps").model()
    events: list[tuple[object, ...]] = []
    model.modelReset.connect(lambda: events.append(("reset",)))
    model.rowsInserted.connect(lambda _, a, b: events.append(("in", a, b)))
    model.rowsRemoved.connect(lambda _, a, b: events.append(("out", a, b)))
    model.dataChanged.connect(lambda a, b, *_: events.append(("data", a.row(), b.row())))
    panel.set_state(replace(HISTORY, steps=(*HISTORY.steps[:2], Step(text="Solo chat"), Step(text="More")), current=3))
    assert events == [("in", 3, 3), ("data", 1, 3)]
    events.clear()
    panel.set_state(replace(HISTORY, steps=HISTORY.steps[:2]))
    assert events[0] == ("out", 2, 3) and [model.index(r, 0).data() for r in range(2)] == [
        "Opened",
        "Set chat 3-6 to 0.71",
    ]


def test_pins_are_used_renamed_and_removed(show: Callable[..., Any], qtbot: QtBot) -> None:
    panel = show(HistoryPanel, HISTORY)
    heard, pins = wishes(panel), find(panel, QTreeView, "history-pins")
    pins.setFocus()
    pins.setCurrentIndex(pins.model().index(1, 0))
    qtbot.keyClick(pins, Qt.Key.Key_Return)
    qtbot.keyClick(pins, Qt.Key.Key_F2)
    line = pins.findChild(QLineEdit)
    line.setText(" Best ")
    panel.set_state(replace(HISTORY, current=0))  # while the name is being typed
    assert line.isVisible() and line.text() == " Best "
    qtbot.keyClick(line, Qt.Key.Key_Return)
    QApplication.processEvents()  # views close their editors later
    assert pins.model().index(1, 0).data() == "B"
    qtbot.keyClick(pins, Qt.Key.Key_Delete)
    qtbot.mouseClick(find(panel, QAbstractButton, "pin"), Qt.MouseButton.LeftButton)
    assert heard == [("pinChosen", "B"), ("pinRenamed", "B", "Best"), ("pinRemoved", "B"), ("pinRequested",)]


# ---- jobs


def shown_buttons(line: JobLine) -> list[str]:
    return [b.toolTip() for b in line.findChildren(QToolButton) if not b.isHidden() and b.toolTip()]


def test_each_state_has_its_buttons_and_words() -> None:
    job = JobRow(number=1, title="Exporting", done=5 * 10**8, total=10**9, stage="Writing", remaining_s=6, elapsed_s=5)
    assert status_text(replace(job, state="running")) == "Running · Writing · 500 of 1000 MB · 100 MB/s · 6 s left" or (
        status_text(replace(job, state="running")) == "Running · Writing · 500 MB of 1 GB · 100 MB/s · 6 s left"
    )
    assert status_text(replace(job, state="waiting")) == "Waiting"
    assert status_text(replace(job, state="failed")) == "Failed · after 5.0 s"


@pytest.mark.parametrize(
    ("state", "buttons"),
    [("waiting", ["Cancel"]), ("running", ["Pause", "Cancel"]), ("paused", ["Resume", "Cancel"]), ("done", []),
     ("failed", ["Retry"]), ("cancelled", ["Retry"])],
)  # fmt: skip
def test_buttons_of_a_state(show: Callable[..., Any], state: Any, buttons: list[str]) -> None:
    panel = show(JobsPanel, (JobRow(number=1, title="x", state=state, can_retry=True),))
    assert shown_buttons(panel.findChild(JobLine)) == buttons


def test_jobs_ask_with_their_numbers(show: Callable[..., Any], qtbot: QtBot) -> None:
    panel = show(JobsPanel, JOBS)
    heard = wishes(panel)
    for name in ("Pause: Exporting my-merge", "Cancel: Exporting my-merge", "Retry: Exporting other", "Open folder"):
        qtbot.mouseClick(find(panel, QAbstractButton, name), Qt.MouseButton.LeftButton)
    panel.set_state((replace(JOBS[0], state="paused"), *JOBS[1:]))
    qtbot.mouseClick(find(panel, QAbstractButton, "Resume: Exporting"), Qt.MouseButton.LeftButton)
    qtbot.mouseClick(find(panel, QAbstractButton, "jobs-clear"), Qt.MouseButton.LeftButton)
    assert heard == [("pauseRequested", 1), ("cancelRequested", 1), ("retryRequested", 2),
                     ("actionTriggered", 3, "open_folder"), ("resumeRequested", 1), ("clearRequested",)]  # fmt: skip


def test_a_log_stays_open_and_grows(show: Callable[..., Any]) -> None:
    panel = show(JobsPanel, JOBS)
    line = panel.findChild(JobLine, "job-2")
    details, log = find(line, QToolButton, "Details"), line.findChild(QPlainTextEdit)
    details.click()
    assert log.isVisible()
    cursor = log.textCursor()
    cursor.setPosition(4, cursor.MoveMode.KeepAnchor)
    log.setTextCursor(cursor)
    panel.set_state((JOBS[0], replace(JOBS[1], log=("line 1", "line 2", "<b>line 3</b>")), JOBS[2]))
    assert log.isVisible() and log.toPlainText() == "line 1\nline 2\n<b>line 3</b>"
    assert log.textCursor().selectedText() == "line"
    panel.set_state((JOBS[2], replace(JOBS[1], log=("new",))))
    assert panel.findChild(JobLine, "job-2") is line and log.toPlainText() == "new"


def test_the_focus_stays_in_a_job_that_fails(show: Callable[..., Any]) -> None:
    panel = show(JobsPanel, JOBS)
    cancel = find(panel, QToolButton, "Cancel: Exporting my-merge")
    cancel.setFocus()
    panel.set_state((replace(JOBS[0], state="failed", can_retry=True), *JOBS[1:]))
    assert find(panel, QToolButton, "Retry: Exporting my-merge").hasFocus() and not cancel.isVisible()
