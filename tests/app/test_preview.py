"""The live preview in the assembled window, on two experts of the demo, and the words it uses."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from PySide6.QtCore import QEvent, QPointF, Qt
from PySide6.QtGui import QMouseEvent
from pytestqt.qtbot import QtBot

from app.columns import columns
from app.demo import demo_recipe
from app.desk import Desk
from app.preview_state import LiveState, pairs_of, shared_cell, why
from app.preview_views import PreviewViews
from engine.errors import Cancelled, EvalProblem
from engine.files.model import Group, Layout, Place
from engine.preview.surrogate import Estimate
from engine.progress import Silent
from engine.recipe.recipe import Recipe
from widgets.desk.ghost import Ghost
from widgets.panels.examples import ExamplesPanel
from widgets.panels.score_words import state_words
from widgets.panels.scores_model import row_text
from widgets.panels.state import Reading, TaskScore

LEFT, NONE = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton


def small_demo() -> Recipe:
    whole = demo_recipe()
    names = [e.name for e in whole.experts[:2]]
    return replace(whole, experts=whole.experts[:2], tasks=tuple(t for t in whole.tasks if t.name in names))


@pytest.fixture
def heard(desk: Desk, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A desk whose live preview is open and full."""
    monkeypatch.setattr("app.preview_controller.ROWS", 24)
    desk.preview._opening.setInterval(0)
    desk.workspace.change_settings(live=True)
    desk.workspace.store.reset(small_demo(), None)
    qtbot.waitUntil(lambda: desk.preview.state.filled >= 1 and desk.preview.slopes() is not None, timeout=90_000)
    return desk


def send(desk: Desk, kind: QEvent.Type, column: int, value: float, button: Qt.MouseButton) -> None:
    canvas, expert = desk.window.canvas, desk.workspace.recipe.experts[0].id
    at, view = canvas.faderPoint(expert, column, value), canvas.table.viewport()
    held = NONE if kind == QEvent.Type.MouseButtonRelease else LEFT
    desk.app.sendEvent(view, QMouseEvent(kind, QPointF(view.mapFromGlobal(at)), QPointF(at), button, held,
                                         Qt.KeyboardModifier.NoModifier))  # fmt: skip


def states(desk: Desk) -> set[str]:
    return {e.state for e in desk.preview.estimates.values()}


def test_a_dragged_fader_is_heard_at_once_and_measured_on_release(heard: Desk, qtbot: QtBot) -> None:
    desk, preview = heard, heard.preview
    views = desk.findChild(PreviewViews)
    assert states(desk) == {"exact"} and len(preview.estimates) == 2
    table, shown = desk.window.canvas.table, desk.window.scores
    assert table.painter.slopes.shape == table.source.state.values.shape
    assert np.abs(table.painter.slopes).max() == 1.0
    spot = max(np.ndindex(table.painter.slopes.shape), key=lambda s: abs(table.painter.slopes[s]))
    assert table.source.remark(*spot).startswith("up ")
    spoken = str(table.source.data(table.index_of(spot), Qt.ItemDataRole.AccessibleTextRole))
    assert table.source.remark(*spot) in spoken
    views._hover(*spot)
    named = set(re.findall(r"[a-z]+", desk.window.status_right.text().partition("up ")[2])) - {"helps", "hurts"}
    assert named and named <= {row.task for row in shown.state.rows}, "called as in the rows of the score panel"

    send(desk, QEvent.Type.MouseButtonPress, 2, 1.0, LEFT)
    qtbot.waitUntil(lambda: views.ghost.isVisible() and not views.ghost.ghost.is_estimate, timeout=30_000)
    ghost = views.ghost.ghost
    mean = np.mean([e.value for e in preview.estimates.values()])
    assert ghost.here == 1.0 and ghost.score == pytest.approx(mean, abs=0.021) and len(ghost.nodes) == 5
    send(desk, QEvent.Type.MouseMove, 2, 0.6, NONE)
    send(desk, QEvent.Type.MouseMove, 2, 0.2, NONE)
    qtbot.waitUntil(lambda: states(desk) == {"estimate"}, timeout=2000)
    qtbot.waitUntil(lambda: all(r.quality == "estimate" for r in shown.state.rows), timeout=2000)
    assert views.ghost.ghost.here == pytest.approx(table.source.state.values[0, 2])
    send(desk, QEvent.Type.MouseButtonRelease, 2, 0.2, LEFT)
    assert not views.ghost.isVisible()
    qtbot.waitUntil(lambda: states(desk) == {"exact"}, timeout=30_000)
    live = preview.session()
    truth = {e.task: e.correct for e in live.truth(preview.point())}
    assert {e.task: e.correct for e in preview.estimates.values()} == truth
    assert preview.state.compared >= 2 and "off by" in preview.state.line


def test_examples_flip_and_the_switch_gives_everything_back(heard: Desk, qtbot: QtBot) -> None:
    desk, dock = heard, heard.window.docks["examples"]
    desk.features["view.examples"](True)
    qtbot.waitUntil(lambda: isinstance(dock.widget(), ExamplesPanel) and len(dock.widget().cards) == 8, timeout=30_000)
    panel = dock.widget()
    before = [c.state for c in panel.cards]
    assert all(c.pixels is not None and c.label for c in panel.cards)
    cells = tuple((e.id, c) for e in desk.workspace.recipe.experts for c in range(len(desk.desk.columns)))
    desk.window.canvas.coefficientsEdited.emit(cells, tuple(0.0 for _ in cells), "Set", "")
    qtbot.waitUntil(lambda: [c.state for c in panel.cards] != before, timeout=5000)
    assert any(c.flipped for c in panel.cards)

    desk.workspace.change_settings(live=False)
    assert desk.preview.session() is None and not desk.preview.estimates
    qtbot.waitUntil(lambda: not panel.cards and "is off" in desk.window.scores.state.live, timeout=2000)
    assert not desk.window.commands["view.live"].isChecked()
    qtbot.waitUntil(lambda: desk.window.canvas.table.painter.slopes.size == 0, timeout=2000)


def test_a_cancelled_move_leaves_the_session_whole(heard: Desk) -> None:
    live, calls = heard.preview.session(), []

    class Stop(Silent):
        def check(self) -> None:
            calls.append(1)
            if len(calls) > len(live.theta) + 3:
                raise Cancelled

    here, there = live.reference.copy(), live.reference + 0.05
    wanted = live.at(there)
    with pytest.raises(Cancelled):
        live.move(there, Stop())
    for a, b in zip(live.at(there), wanted, strict=True):
        assert np.allclose(a, b, atol=1e-4)
    assert not np.array_equal(live.reference, here)


def test_a_model_that_cannot_be_heard_says_why(desk: Desk, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise EvalProblem("This network cannot be cut.", hint="It is scored on release.")

    monkeypatch.setattr("app.preview_work.open_session", refuse)
    desk.preview._opening.setInterval(0)
    desk.workspace.change_settings(live=True)
    desk.workspace.store.reset(small_demo(), None)
    qtbot.waitUntil(lambda: "This network cannot be cut." in desk.window.scores.state.live, timeout=30_000)
    jobs = len(desk.workspace.runner.jobs)
    desk.workspace.store.apply(desk.workspace.recipe.with_gain("e1", 0.5), "Gain")
    qtbot.wait(60)
    assert not [j for j in desk.workspace.runner.jobs[jobs:] if j.key.startswith("live")], "asked again for nothing"


def test_words_of_every_kind_of_number() -> None:
    def guess(state: str, error: float = 0.008, compared: int = 6) -> Estimate:
        return Estimate(
            task="t",
            value=0.75,
            low=0.6,
            high=0.85,
            correct=48,
            count=64,
            loss=0.7,
            error=error,
            compared=compared,
            state=state,
        )

    assert "off by 0.8 points in the last 6" in why(guess("estimate"))
    assert "presumed" in why(guess("estimate", 0.01, 0)) and "between true runs" in why(guess("estimate", 0.0, 0))
    assert why(guess("waiting")).startswith("Waiting") and why(guess("stale")).startswith("Old")
    assert why(guess("estimate"), overridden=True).startswith("Old")
    mix = Reading(0.75, 0.6, 0.85, 64)
    words = {q: state_words(TaskScore(task="t", mix=mix, quality=q, error=0.008))[0]
             for q in ("exact", "estimate", "stale", "waiting")}  # fmt: skip
    assert words == {"exact": "exact", "estimate": "estimate, off by 0.8", "stale": "old estimate",
                     "waiting": "waiting for the fader"}  # fmt: skip
    assert "≈75.0" in row_text(TaskScore(task="t", mix=mix, quality="estimate", why="Estimate on 64 rows."))
    state = LiveState("ready", rows=64, filled=0.5, bytes=3 << 20)
    assert "50 %" in state.line and "3" in state.tip and "Memory" in state.tip


def test_cells_that_can_be_followed() -> None:
    groups = tuple(Group(Place(layer, kind), (f"{layer}.{kind}",), 1) for layer in "01" for kind in ("attn", "mlp"))
    layout = Layout("x", ("0", "1"), groups, {t: g.place for g in groups for t in g.tensors})
    cols = columns(layout, "layer")
    assert pairs_of(cols, layout, 1, 0) == ((1, 0), (1, 1))
    assert pairs_of(columns(layout, "tensor"), layout, 0, 0) == ()
    gain = np.full((2, 4), 0.3)
    block = ((0, 0), (0, 1), (1, 0), (1, 1))
    cell, unit = shared_cell(block, gain)
    assert (cell.experts, cell.groups, unit) == ((0, 1), (0, 1), 0.3)
    assert shared_cell(block[:3], gain) is None, "no block"
    gain[1] = 0.15
    assert shared_cell(block, gain) is None, "another gain"
    assert shared_cell(block[:1], np.zeros((2, 4))) is None, "muted"


def test_the_best_place_of_a_curve_is_the_middle_of_its_plateau() -> None:
    values = np.linspace(0, 2, 9)
    shares = np.array([0.5, 0.6, 0.8, 0.8, 0.8, 0.6, 0.8, 0.5, 0.4])
    ghost = Ghost(title="mean", values=values, shares=shares, nodes=np.zeros((0, 2)), here=0.0, is_estimate=True)
    assert ghost.best == (0.75, 0.8) and ghost.score == 0.5 and "about 50.0 here" in ghost.sentence
