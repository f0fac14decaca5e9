"""First numbers: nothing that others do holds them up, and what they need was prepared before anybody asked."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

from app.desk import Desk
from app.overlap_state import basis
from engine.analyse.overlap import overlap
from engine.analyse.sample import RUN
from engine.merge.models import _keys
from tests.app.test_tensor_views import _loaded

Settled = Callable[[Desk], None]


@pytest.mark.parametrize("view", ["signs", "roles", "sizes"])
def test_first_numbers_do_not_wait_for_other_work(
    desk: Desk, qtbot: QtBot, tmp_path: Path, settled: Settled, view: str
) -> None:
    _loaded(desk, tmp_path, settled)
    go_on, runner = threading.Event(), desk.workspace.runner
    runner.submit("Something long", lambda _: go_on.wait(30), background=True)
    try:
        desk.window.docks["overlap"].setVisible(True)
        panel = desk.overlap.panel()
        asked: list[bool] = []
        panel.viewChanged.connect(lambda _: asked.append(any("first look" in job.title for job in runner.jobs)))
        panel.show_view(view)
        assert asked == [True]  # before the view was made, which takes a moment
        qtbot.waitUntil(lambda: not panel.frame(view).view.state.is_empty, timeout=20_000)
    finally:
        go_on.set()
    settled(desk)


def test_fingerprints_are_taken_when_models_are_there_and_no_more_come(
    desk: Desk, qtbot: QtBot, tmp_path: Path, settled: Settled
) -> None:
    _loaded(desk, tmp_path, settled)
    inputs = desk.workspace.inputs()
    assert inputs is not None and inputs.base is not None
    models = (inputs.base, *inputs.experts)
    assert not any(job.key == "overlap prepared" for job in desk.workspace.runner.jobs)  # the next drop comes first

    def taken() -> bool:
        known = {(key[0], key[-1]) for key in list(_keys)}
        return all((model.stamps, model.view) in known for model in models)

    qtbot.waitUntil(taken, timeout=20_000)


def test_the_views_have_numbers_when_they_are_opened_after_a_quiet_moment(
    desk: Desk, qtbot: QtBot, tmp_path: Path, settled: Settled
) -> None:
    """The first look is taken when nothing else is to do; opening a view then only draws it."""
    _loaded(desk, tmp_path, settled)
    overlap_views, runner = desk.overlap, desk.workspace.runner
    overlap_views._load()
    qtbot.waitUntil(lambda: overlap_views._found is not None and overlap_views._sizes is not None, timeout=20_000)
    settled(desk)
    desk.window.docks["overlap"].setVisible(True)
    panel = overlap_views.panel()
    for view in ("signs", "masks", "roles", "sizes"):
        panel.show_view(view)
        overlap_views.refresh()
        assert not panel.frame(view).view.state.is_empty, view
    assert not any("first look" in job.title for job in runner.jobs)
    settled(desk)


def test_a_first_look_that_comes_late_changes_nothing(
    desk: Desk, qtbot: QtBot, tmp_path: Path, settled: Settled
) -> None:
    """An expert has left while it was taken."""
    _loaded(desk, tmp_path, settled)
    go_on, runner, recipe = threading.Event(), desk.workspace.runner, desk.workspace.recipe
    runner.submit("Something long", lambda _: go_on.wait(30), background=True)
    inputs = desk.workspace.inputs()
    assert inputs is not None
    desk.overlap._glance(inputs)
    desk.workspace.store.apply(recipe.without_expert(recipe.experts[0].id), "Remove")
    go_on.set()
    settled(desk)
    assert desk.overlap._known(desk.overlap._found, "overlap") is None
    assert desk.overlap._known(desk.overlap._sizes, "magnitudes") is None
    desk.overlap._glance(inputs)  # of the old experts
    assert not any(job.title == "Looking at the overlap" and job.state == "waiting" for job in runner.jobs)


def test_a_small_sample_says_how_small_it_is(desk: Desk, tmp_path: Path, settled: Settled) -> None:
    _loaded(desk, tmp_path, settled)
    inputs = desk.workspace.inputs()
    assert inputs is not None
    found = overlap(inputs, sample=RUN)
    object.__setattr__(found, "share", 0.000021)
    assert basis(found) == ", sample of 0.002 % of the weights; exact follows"
    object.__setattr__(found, "share", 0.0152)
    assert basis(found) == ", sample of 1.5 % of the weights; exact follows"
