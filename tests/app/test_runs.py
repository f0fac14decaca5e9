"""The panel of runs, what is recorded by itself, and the command line."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PySide6.QtCore import QEvent, QPoint, QPointF, QRectF, Qt
from PySide6.QtGui import QMouseEvent, QWheelEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from app import cli, recording
from app.desk import Desk
from app.explain_controller import ExplainController
from app.runs_controller import RunsController
from engine.evaluate.score import Score
from engine.history.values import Query
from tests.app.models import write_family
from tests.engine.history_kills import facts
from widgets.panels.runs_state import Family, FamilyNode

Settled = Callable[[Desk], None]


@pytest.fixture
def runs(desk: Desk, settled: Settled) -> RunsController:
    found = desk.findChild(RunsController)
    assert isinstance(found, RunsController)
    return found


def calm(qtbot: QtBot, desk: Desk, settled: Settled) -> None:
    controller = desk.findChild(RunsController)
    for _ in range(3):
        qtbot.wait(80)
        qtbot.waitUntil(lambda: not controller._soon.isActive(), timeout=10_000)
        settled(desk)
        assert recording.recorder().flush(20)
    qtbot.wait(20)


def fill(count: int, first: int = 1, **more: object) -> None:
    for number in range(first, first + count):
        one = facts(number, **more)
        recording.recorder().submit(lambda h, f=one: h.record(f)).result()


def shown(runs: RunsController) -> list[int]:
    return [line.id for line in runs.panel.model.rows]


def test_the_panel_lists_sorts_filters_marks_and_deletes_with_undo(
    desk: Desk, runs: RunsController, settled: Settled, qtbot: QtBot
) -> None:
    desk.window.commands.trigger("view.runs")
    calm(qtbot, desk, settled)
    assert not runs.panel.pages.isVisible(), "an empty panel says what to do"
    fill(3)
    runs.refresh()
    calm(qtbot, desk, settled)
    panel, table = runs.panel, runs.panel.table
    assert shown(runs) == [3, 2, 1] and panel.pages.isVisible()
    table.sortWanted.emit("score", False)
    panel.filter.setText("score>=2")
    qtbot.wait(250)
    calm(qtbot, desk, settled)
    assert shown(runs) == [2, 3]
    panel.filter.setText("score>>")
    qtbot.wait(250)
    calm(qtbot, desk, settled)
    assert "not a number" in panel.state.problem and panel.pages.isVisible()
    panel.filter.clear()
    qtbot.wait(250)
    calm(qtbot, desk, settled)
    table.choose([1, 3])
    table.setFocus()
    QTest.keyClick(table, Qt.Key.Key_S)
    runs.acts.tag([1, 3], set(), {"good"})
    calm(qtbot, desk, settled)
    assert [line.star for line in panel.model.rows] == [True, False, True]
    assert panel.model.rows[0].cells["tag"] == "good" and table.chosen_runs() == [1, 3], "a selection survives"
    QTest.keyClick(table, Qt.Key.Key_Delete)
    calm(qtbot, desk, settled)
    assert shown(runs) == [2]
    desk.window.toasts.actionTriggered.emit("runs deleted", "undo")
    calm(qtbot, desk, settled)
    assert shown(runs) == [1, 2, 3]


def test_pages_arrive_when_they_are_scrolled_to(desk: Desk, runs: RunsController, qtbot: QtBot) -> None:
    fill(7)
    runs._ask_for(limit=3)
    desk.window.commands.trigger("view.runs")
    qtbot.waitUntil(lambda: shown(runs)[:3] == [7, 6, 5], timeout=20_000)
    model, start = runs.panel.model, runs.panel.model.index(-1, -1)

    def fetched() -> bool:
        if model.canFetchMore(start):
            model.fetchMore(start)
        return shown(runs) == [7, 6, 5, 4, 3, 2, 1]

    qtbot.waitUntil(fetched, timeout=20_000)
    assert runs.panel.state.total == 7 and not model.canFetchMore(start)


def test_scatter_and_lineage_follow_the_table(desk: Desk, runs: RunsController, settled: Settled, qtbot: QtBot) -> None:
    fill(4)
    desk.window.commands.trigger("view.runs")
    runs.panel.show_page("scatter")
    calm(qtbot, desk, settled)
    view = runs.scatter().view
    assert view.state.ids.tolist() == [1, 2, 3, 4] and view.state.front.tolist() == [True] * 4
    runs.scatter().directionChosen.emit(True, True)
    calm(qtbot, desk, settled)
    assert view.state.front.tolist() == [False, False, False, True]
    view.setFocus()
    QTest.keyClick(view, Qt.Key.Key_Right)
    QTest.keyClick(view, Qt.Key.Key_Return)
    QTest.keyClick(view, Qt.Key.Key_Right)
    QTest.keyClick(view, Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
    assert sorted(runs.panel.table.chosen_runs()) == [2, 3]
    assert view.state.names[1] and not any(view.state.notes)
    runs.acts._write(lambda history: (history.set_star([2], True), history.set_tags([2], add=["good"])))
    qtbot.waitUntil(lambda: view.state.notes[1] != "", timeout=10_000)
    assert view.state.notes == ("", "★ starred, tags: good", "", "") and view.state.names[1] in view.text(1)
    runs.panel.show_page("family")
    calm(qtbot, desk, settled)
    assert {n.title for n in runs.panel.family.canvas.state.nodes} == {"base", "chat", "3 · 3"}


def test_the_map_is_walked_by_keys(qtbot: QtBot) -> None:
    from widgets.panels.runs_family import FamilyView

    view, chosen = FamilyView(), list[int]()
    qtbot.addWidget(view)
    view.chosen.connect(chosen.append)
    nodes = (FamilyNode(0, "<b>base</b>"), FamilyNode(0, "chat", place=1), FamilyNode(1, "one", layer=1),
             FamilyNode(2, "two", layer=2, is_focus=True))  # fmt: skip
    view.set_state(Family(nodes, ((0, 2), (1, 2), (2, 3)), ((), (), ())))
    canvas = view.canvas
    keys = Qt.Key
    for key in (keys.Key_Left, keys.Key_Return, keys.Key_Left, keys.Key_Down, keys.Key_Right, keys.Key_Right,
                keys.Key_Return):  # fmt: skip
        QTest.keyClick(canvas, key)
    assert chosen == [1, 2] and "made from one" in canvas.accessibleDescription()
    view.resize(700, 200)
    assert not view.grab().isNull()


def test_a_large_map_is_culled_zoomed_pulled_and_searched(qtbot: QtBot) -> None:
    from widgets.panels.runs_family import FamilyView

    view, opened = FamilyView(), list[int]()
    qtbot.addWidget(view)
    view.opened.connect(opened.append)
    nodes = tuple(FamilyNode(1 + i, f"run {i}", layer=i // 25, place=float(i % 25), is_hit=i in (30, 700))
                  for i in range(1000))  # fmt: skip
    edges = tuple((i, i + 25) for i in range(975))
    view.resize(1100, 400)
    view.show()
    view.set_state(Family(nodes, edges, ((),) * 975, scope="all"))
    canvas, area = view.canvas, view.area
    assert canvas.scale < 0.2 and canvas.width() <= area.viewport().width() + 1, "all of it at first"
    QTest.keyClick(canvas, Qt.Key.Key_N)
    QTest.keyClicks(canvas, "1")
    assert (canvas.at, canvas.scale) == (30, 1.0)

    def is_seen(at: int) -> bool:
        return area.viewport().rect().contains(canvas.mapTo(area.viewport(), canvas.box(at).center().toPoint()))

    assert is_seen(30)
    seen = QRectF(canvas.visibleRegion().boundingRect())
    assert 0 < len(canvas.shape.nodes_in(seen)) < 60 and 0 < len(canvas.shape.segments_in(seen)) < 60
    QTest.keyClick(canvas, Qt.Key.Key_N)
    assert canvas.at == 700 and is_seen(700) and not is_seen(30)
    QTest.keyClick(canvas, Qt.Key.Key_N, Qt.KeyboardModifier.ShiftModifier)
    QTest.keyClick(canvas, Qt.Key.Key_Right)
    assert canvas.at == 55 and "made from run 30" in canvas.accessibleDescription()
    bar, start = area.horizontalScrollBar(), canvas.box(canvas.at).center().toPoint()
    before, origin = bar.value(), QPointF(canvas.mapToGlobal(start))
    QTest.mousePress(canvas, Qt.MouseButton.LeftButton, pos=start)
    for step in (10, 40, 80):
        pull = QMouseEvent(QEvent.Type.MouseMove, QPointF(start), origin - QPointF(step, 0), Qt.MouseButton.NoButton,
                           Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier)  # fmt: skip
        QApplication.sendEvent(canvas, pull)
    QTest.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=start)
    assert bar.value() == before + 80 and canvas.at == 55, "a pull is no click"
    canvas.go(512)
    point = canvas.box(512).center()
    wheel = QWheelEvent(point, QPointF(canvas.mapToGlobal(point.toPoint())), QPoint(), QPoint(0, -120),
                        Qt.MouseButton.NoButton, Qt.KeyboardModifier.ControlModifier, Qt.ScrollPhase.NoScrollPhase,
                        False)  # fmt: skip
    was = canvas.mapTo(view, point.toPoint())
    QApplication.sendEvent(canvas, wheel)
    now = canvas.mapTo(view, canvas.box(512).center().toPoint())
    assert canvas.scale == pytest.approx(0.8) and (now - was).manhattanLength() <= 2, "what is pointed at stays"
    QTest.mouseDClick(canvas, Qt.MouseButton.LeftButton, pos=canvas.box(512).center().toPoint())
    assert opened == [513]
    QTest.keyClicks(canvas, "0")
    assert not view.grab().isNull() and canvas.scale < 0.2


def test_a_run_chosen_in_the_map_is_found_in_the_table_though_it_is_pages_away(
    desk: Desk, runs: RunsController, settled: Settled, qtbot: QtBot
) -> None:
    from engine.history.values import Input

    fill(1, output_sha256="1" * 64)
    child = facts(2, inputs=(Input(role="expert", name="m", path="/x", sha256="1" * 64),))
    recording.recorder().submit(lambda h: h.record(child)).result()
    fill(6, first=3)
    runs._ask_for(limit=2)
    desk.window.commands.trigger("view.runs")
    calm(qtbot, desk, settled)
    runs.panel.show_page("family")
    calm(qtbot, desk, settled)
    canvas = runs.panel.family.canvas
    assert [n.id for n in canvas.state.nodes if n.id] == [2, 1], "all merges of merges while nothing is chosen"
    canvas.go(next(i for i, n in enumerate(canvas.state.nodes) if n.id == 1))
    QTest.keyClick(canvas, Qt.Key.Key_Return)
    calm(qtbot, desk, settled)
    assert runs.panel.table.chosen_runs() == [1] and canvas.state.nodes[canvas.at].id == 1
    runs.panel.filter.setText('"TIES 2"')
    qtbot.wait(250)
    calm(qtbot, desk, settled)
    assert [canvas.state.nodes[n].id for n in canvas.hits()] == [2], "what fits the filter is marked"


def test_an_export_is_recorded_used_compared_and_made_again(
    desk: Desk, runs: RunsController, settled: Settled, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.recipe.recipe import ModelRef

    monkeypatch.setenv("MIXDOWN_EXPORT", "thread")
    base, (chat, code, _) = write_family(tmp_path)
    store = desk.workspace.store
    recipe = store.recipe.with_base(ModelRef(id="base", name="base", path=str(base)))
    for number, path in enumerate((chat, code), 1):
        recipe = recipe.with_expert(ModelRef(id=f"e{number}", name=path.name, path=str(path)))
    store.apply(recipe, "Add models")
    calm(qtbot, desk, settled)
    desk.window.commands.trigger("view.runs")
    desk.export._form = type(desk.export._form)(path=str(tmp_path / "merged"), device="cpu")
    desk.export.export(desk.export._form)
    calm(qtbot, desk, settled)
    calm(qtbot, desk, settled)
    assert shown(runs) == [1]
    history = recording.open_history()
    assert history is not None
    run = history.run(1)
    assert (run.facts.output_path, run.facts.method) == (str(tmp_path / "merged"), "task_arithmetic")
    assert run.facts.output_sha256 and all(i.sha256 for i in run.facts.inputs), "found out in the background"
    store.apply(store.recipe.with_muted("e1", True), "Mute")
    scores = (Score(task="t", split="val", metric="accuracy", value=0.5, low=0.4, high=0.6, correct=5, count=10),)
    runs.acts.record_scores(store.recipe, scores, 0.1)
    calm(qtbot, desk, settled)
    assert sorted(shown(runs)) == [1, 2]
    runs.acts.do("use", [1])
    calm(qtbot, desk, settled)
    assert store.recipe.muted == () and store.undo_stack.undoText() == "Use run 1"
    runs.acts.do("compare", [1, 2])
    calm(qtbot, desk, settled)
    dialog = desk.findChild(ExplainController)._dialog
    assert dialog is not None and dialog.isVisible() and len(dialog.state.changes) >= 1
    assert dialog.state.names[0].startswith("Run 1")
    dialog.hide()
    told: list[str] = []
    monkeypatch.setattr(runs.acts, "tell", lambda text, *_: told.append(text))
    runs.acts.do("rerun", [1])
    calm(qtbot, desk, settled)
    calm(qtbot, desk, settled)
    assert told == ["Run 1 was made again as merged-2. The weights are the same, byte by byte."]
    assert sorted(shown(runs)) == [1, 2, 3]
    runs.acts.save_csv(str(tmp_path / "runs.csv"))
    calm(qtbot, desk, settled)
    with (tmp_path / "runs.csv").open() as file:
        assert [row["kind"] for row in csv.DictReader(file)] == ["export", "score", "export"]


def test_a_quick_eval_that_is_done_is_recorded(
    desk: Desk, runs: RunsController, settled: Settled, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.scoring import Board, Mix

    score = Score(task="t", split="val", metric="accuracy", value=0.5, low=0.4, high=0.6, correct=5, count=10)
    desk.workspace.scoring.board = Board(mix=Mix(desk.workspace.recipe, {"t": score}))
    desk.workspace.runner.submit("Scoring the mix", lambda _: None, key="score mix", lane="files")
    calm(qtbot, desk, settled)
    history = recording.open_history()
    assert history is not None
    (run,) = history.page(Query()).runs
    assert run.facts.kind == "score" and run.facts.scores == (score,)


def test_the_command_line_records_and_tells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, (chat, code, _) = write_family(tmp_path)
    out = tmp_path / "merged"
    flags = ["merge", "--base", str(base), "--expert", str(chat), "--expert", str(code), "--threads", "1"]
    assert cli.run([*flags, "--method", "ties", "--param", "density=0.3", "--out", str(out)]) == 0
    assert cli.run(["merge", "--base", str(base), "--expert", str(out), "--out", str(tmp_path / "more")]) == 0
    assert cli.run(["history", "tag", "1", "=good"]) == 0
    capsys.readouterr()
    assert cli.run(["history", "--json", "--filter", "ties param.density=0.3"]) == 0
    (run,) = json.loads(capsys.readouterr().out)
    assert (run["id"], run["output"]["path"], run["tags"], run["intact"]) == (1, str(out), ["=good"], True)
    assert cli.run(["history", "show", "2"]) == 0
    assert "made from  run 1" in capsys.readouterr().out
    assert cli.run(["history", "--csv"]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [(r["id"], r["method"], r["tag"]) for r in rows] == [("2", "task_arithmetic", ""), ("1", "ties", "'=good")]
    assert cli.run(["history", "show", "9"]) == 1 and "no run 9" in capsys.readouterr().err
    assert cli.run(["history", "--filter", "nonsense>1"]) == 1
    assert cli.run(["history", "--url", str(tmp_path / "other.sqlite")]) == 0
    assert "No runs yet" in capsys.readouterr().out


def test_a_history_that_cannot_be_written_never_fails_an_export(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    base, (chat, *_) = write_family(tmp_path)
    flags = ["merge", "--base", str(base), "--expert", str(chat), "--threads", "1"]
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(recording.VARIABLE, str(tmp_path / "file" / "history.sqlite"))
    assert cli.run([*flags, "--out", str(tmp_path / "one")]) == 0
    assert "not in the history" in capsys.readouterr().err and (tmp_path / "one").is_dir()
    monkeypatch.setenv(recording.VARIABLE, "off")
    assert cli.run([*flags, "--out", str(tmp_path / "two")]) == 0
    assert not capsys.readouterr().err and not (Path(os.environ["MIXDOWN_HOME"]) / "history.sqlite").exists()
