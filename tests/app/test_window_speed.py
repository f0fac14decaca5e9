"""What a fader event, a hidden panel and a loaded library cost: counted, because other programs share the clock."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pytestqt.qtbot import QtBot

from app import project, quiet
from app.desk import Desk
from app.desk_state import full_scale
from app.journal import Journal, State
from engine.recipe import resolve
from engine.recipe.recipe import ModelRef, Recipe, Rule
from tests.app.models import write_family
from widgets.panels.own_values import OwnValues
from widgets.panels.panel_parts import is_seen


class Count:
    """A function that counts its calls."""

    def __init__(self, inner: Callable[..., object]) -> None:
        self.inner, self.calls = inner, 0

    def __call__(self, *args: object, **named: object) -> object:
        """Count and pass on."""
        self.calls += 1
        return self.inner(*args, **named)


@pytest.fixture
def mixed(desk: Desk, qtbot: QtBot, tmp_path: Path, settled: Callable[[Desk], None]) -> Desk:
    """A desk with a base, three experts and their Gram matrix."""
    base, experts = write_family(tmp_path, 3)
    desk.shelf.drop([str(base)], "base")
    qtbot.waitUntil(lambda: desk.workspace.recipe.base is not None, timeout=20_000)
    desk.shelf.drop([str(e) for e in experts], "canvas")
    qtbot.waitUntil(lambda: len(desk.workspace.recipe.experts) == 3, timeout=20_000)
    settled(desk)
    assert desk.workspace.live.gram(desk.workspace.recipe) is not None
    return desk


def moved(desk: Desk, value: float) -> None:
    """One event of a drag on one fader."""
    expert = desk.workspace.recipe.experts[1].id
    desk.window.canvas.coefficientsEdited.emit([(expert, 1)], [value], "Set", "drag")


def test_a_fader_event_resolves_the_recipe_once_and_paints_little(
    mixed: Desk, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixed.window.docks["inspector"].raise_()
    moved(mixed, 0.5)
    qtbot.wait(150)
    made, masks, told = Count(resolve._Masks), Count(resolve._masks_of), list[object]()
    monkeypatch.setattr(resolve, "_Masks", made)
    monkeypatch.setattr(resolve, "_masks_of", masks)  # asked whenever rules are matched with places
    model = mixed.window.canvas.table.source
    model.dataChanged.connect(lambda *cells: told.append(cells))
    refreshed = Count(mixed.window.commands.refresh)
    monkeypatch.setattr(mixed.window.commands, "refresh", refreshed)
    for step in range(5):
        moved(mixed, 0.5 + 0.001 * (step + 1))
    mixed.inspector.refresh()
    qtbot.wait(150)  # the inspector and the frame come after the drag
    assert masks.calls == 5 and made.calls == 0
    assert len(told) <= 5 * 3  # the fader, and the pinned rows together (two runs where one of them stays)


def test_hashes_cost_nothing_while_only_faders_move() -> None:
    refs = tuple(ModelRef(id=f"e{i}", name=f"e{i}", path=f"/{i}", sha256="ab") for i in range(3))
    one = Recipe(experts=refs)
    two = one.with_rules([Rule(expert="e1", value=0.3)])
    assert project.without_hashes(one).experts is project.without_hashes(two).experts
    assert project.without_hashes(one) == Recipe(experts=tuple(replace(r, sha256="") for r in refs))
    plain = Recipe(experts=tuple(replace(r, sha256="") for r in refs))
    assert project.without_hashes(plain) is plain


@pytest.mark.parametrize("top", [3e-7, 0.0123, 0.1, 0.999, 1.0, 7.3, 1234.5])
def test_the_scale_of_a_row_is_round_and_stays(top: float) -> None:
    scale = full_scale(top)
    assert top <= scale * (1 + 1e-9) and scale <= top * 1.34
    assert f"{scale:.2e}" == f"{float(f'{scale:.2e}'):.2e}" and full_scale(scale) == pytest.approx(scale)
    assert len({full_scale(v) for v in np.linspace(0.5, 0.6, 50)}) <= 2


def test_the_journal_is_not_woken_by_every_event(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "session.mixdown", lambda _: None)
    (tmp_path / "session.mixdown").write_text("{}")
    woken = Count(journal._changed.notify_all)
    journal._changed.notify_all = woken
    for number in range(200):
        journal.put(State(Recipe().with_gain(f"e{number}", 0.5)))
    calls = woken.calls
    journal.stop()
    assert calls < 40


def test_a_panel_behind_another_tab_is_left_alone(mixed: Desk, qtbot: QtBot) -> None:
    docks = mixed.window.docks
    docks["scores"].raise_()
    qtbot.waitUntil(lambda: is_seen(docks["scores"]) and not is_seen(docks["jobs"]))
    before = mixed.window.jobs.state
    mixed.workspace.runner.submit("Something new", lambda _: None)
    qtbot.waitUntil(lambda: not mixed.workspace.runner.is_busy)
    qtbot.wait(150)
    assert mixed.window.jobs.state == before
    docks["jobs"].raise_()
    qtbot.waitUntil(lambda: [r.title for r in mixed.window.jobs.state][:1] == ["Something new"])
    assert is_seen(docks["jobs"]) and not is_seen(docks["scores"])


def test_own_values_are_made_when_they_are_unfolded(mixed: Desk) -> None:
    mixed.mix.choose("ties")
    lists = [w for w in mixed.window.method.findChildren(OwnValues) if w.param.each]
    assert lists and all(not w._lines for w in lists)
    lists[0].toggle.click()
    assert [line.expert for line in lists[0]._lines] == [e.name for e in mixed.workspace.recipe.experts]


def test_another_model_leaves_the_method_menu_alone(mixed: Desk) -> None:
    sentence = mixed.window.sentence
    before = list(sentence._actions)
    mixed.shelf.duplicate(mixed.workspace.recipe.experts[0].id)
    assert sentence._actions == before and len(before) > 20
    for _ in range(3):
        mixed.shelf.remove(mixed.workspace.recipe.experts[0].id)
    now = {a.data(): a for a in sentence._actions}["model_stock"]
    assert sentence._actions == before and not now.isEnabled() and "needs 2 experts" in now.text()


@pytest.fixture
def collecting(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Automatic collection, as in a process without a window."""
    monkeypatch.setattr(quiet, "_taken", False)
    was = gc.isenabled()
    gc.enable()
    yield
    if not was:
        gc.disable()


def test_nothing_is_collected_while_a_library_loads(collecting: None) -> None:
    with quiet.loading("one"):
        assert not gc.isenabled()
        with quiet.loading("two"):
            pass
        assert not gc.isenabled()
    assert gc.isenabled()
    frozen = gc.get_freeze_count()
    assert frozen > 10_000
    # objects that a second freeze would count; the count may fall at any time, when a frozen object ends
    keep: list[list[int]] = [[] for _ in range(1000)]
    with pytest.raises(ValueError, match="no"), quiet.loading("three"):
        raise ValueError("no")
    assert gc.isenabled() and gc.get_freeze_count() <= frozen
    with quiet.loading("two"):
        keep.append([])
    assert len(keep) > 1000 and gc.get_freeze_count() <= frozen
    quiet.release("nobody")
    assert gc.isenabled()
