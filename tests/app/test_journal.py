"""The gesture journal: whatever happens to the process or the file, at most the last moment is lost."""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from app import journal
from app.journal import Journal, State, View, applied, changes, digest, line_of, plain, read_records, replay, state_of
from app.project import ProjectStore
from app.session import Session
from engine.errors import WriteProblem
from engine.recipe.project import load_with_pins, save_project
from engine.recipe.recipe import ModelRef, Recipe, Rule, TaskRef

ROOT = Path(__file__).resolve().parent.parent.parent
START = Recipe(experts=(ModelRef(id="e1", name="a", path="/m/a"), ModelRef(id="e2", name="b", path="/m/b")))


def some_states(seed: int, count: int) -> list[State]:
    """A session: rules come and go in the middle, fields change, pins, project and selection too."""
    chance, made = random.Random(seed), [State(START)]
    for number in range(count):
        last = made[-1]
        recipe, what = last.recipe, chance.randrange(8)
        if what < 4:
            kind = chance.choice([None, "attn"])
            rule = Rule(value=chance.random(), expert="e1", layer=str(chance.randrange(6)), kind=kind)
            made.append(replace(last, recipe=recipe.with_rules([rule])))
        elif what == 4 and recipe.rules:
            made.append(replace(last, recipe=recipe.without_rules([chance.choice(recipe.rules).keys])))
        elif what == 5:
            tasks = (TaskRef(name=f"t{number}", path="/t"),)
            made.append(
                replace(last, recipe=replace(recipe, method="ties", tasks=tasks).with_gain("e2", chance.random()))
            )
        elif what == 6:
            made.append(replace(last, pins={f"p{number}": recipe}, project=chance.choice([None, Path("/x/ü.mixdown")])))
        else:
            made.append(replace(last, view=View("layer", ("3",), (("e1", (0, number)),))))
    return made


@pytest.mark.parametrize("seed", range(4))
def test_records_lead_from_state_to_state(seed: int) -> None:
    states = some_states(seed, 60)
    data = plain(states[0])
    for before, after in itertools.pairwise(states):
        data = applied(data, changes(before, after))
        assert state_of(data) == after
    assert not changes(states[-1], replace(states[-1]))


def test_records_of_equal_rules_lead_there_too() -> None:
    """A project file may hold a rule twice; then the equal ends of two lists overlap."""
    two = (Rule(value=1.0, layer="1"), Rule(value=2.0, layer="1"))
    lists = [rules for count in range(4) for rules in itertools.product(two, repeat=count)]
    for old, new in itertools.product(lists, repeat=2):
        before, after = (State(replace(START, rules=rules)) for rules in (old, new))
        assert state_of(applied(plain(before), changes(before, after))) == after, (old, new)


def written(folder: Path, states: list[State]) -> tuple[Path, Path]:
    """A base file of the first state, and the journal of the others."""
    base = folder / "session.mixdown"
    save_project(states[0].recipe, base)
    log = base.with_suffix(".journal")
    pairs = itertools.pairwise(states)
    log.write_bytes(b"".join([line_of({"base": digest(base)}), *(line_of(changes(a, b)) for a, b in pairs)]))
    return base, log


def test_a_journal_cut_anywhere_gives_the_last_whole_state(tmp_path: Path) -> None:
    states = some_states(1, 12)
    base, log = written(tmp_path, states)
    whole, known = log.read_bytes(), digest(base)
    ends = [i + 1 for i, byte in enumerate(whole) if byte == 10]
    for cut in sorted({*range(0, len(whole), 9), *ends, *(end - 1 for end in ends)}):
        log.write_bytes(whole[:cut])
        found, damaged = replay(states[0], known, log)
        lines = sum(end <= cut for end in ends) + (cut + 1 in ends)  # a line that lacks only its end is whole
        assert found == states[max(0, lines - 1)] and not damaged


def test_a_damaged_byte_ends_the_journal_there_and_is_noticed(tmp_path: Path) -> None:
    states = some_states(2, 12)
    base, log = written(tmp_path, states)
    whole = log.read_bytes()
    ends = [i for i, byte in enumerate(whole) if byte == 10]
    for number in (3, 7, len(ends) - 2):
        spot = ends[number] - 4
        log.write_bytes(whole[:spot] + bytes([whole[spot] ^ 1]) + whole[spot + 1 :])
        assert replay(states[0], digest(base), log) == (states[number - 1], True)


@pytest.mark.parametrize("record", [{"rules": 3}, {"rules": [0, 1]}, {"recipe": {"experts": 5}}, {"view": []},
                                    {"recipe": {"surprise": 1}}, {"pins": {"a": 1}}])  # fmt: skip
def test_a_stranger_record_is_refused_as_a_whole(tmp_path: Path, record: dict[str, object]) -> None:
    base, log = written(tmp_path, [State(START)])
    log.write_bytes(log.read_bytes() + line_of(record))
    assert replay(State(START), digest(base), log) == (State(START), True)


def test_a_journal_of_another_base_is_not_replayed(tmp_path: Path) -> None:
    states = some_states(3, 5)
    base, log = written(tmp_path, states)
    save_project(START.with_gain("e1", 3), base)  # killed between the new base and its journal
    assert replay(State(START), digest(base), log)[0] == State(START)


def test_the_session_is_on_the_disk_a_moment_later_and_the_journal_stays_small(
    qapp: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "COMPACT_BYTES", 4_000)
    monkeypatch.setattr(journal, "GAP_S", 0.005)
    store = ProjectStore()
    session = Session(store)
    largest = 0
    for number in range(120):
        store.apply(START.with_rules([Rule(value=number / 1000, expert="e1")]), "Drag", "one")
        time.sleep(0.002)
        largest = max(largest, session.journal.path.stat().st_size if session.journal.path.exists() else 0)
    time.sleep(0.3)
    last = session.restore()
    assert last is not None and last.recipe == store.recipe
    assert 0 < largest < 5_000 and len(read_records(session.journal.path)[0]) > 0
    session.release()


def test_handing_over_never_waits_for_the_disk(tmp_path: Path) -> None:
    def slow(state: State) -> None:
        time.sleep(0.5)
        save_project(state.recipe, tmp_path / "s.mixdown")

    log = Journal(tmp_path / "s.mixdown", slow)
    started = time.perf_counter()
    for number in range(200):
        log.put(State(START.with_gain("e1", number)))
    assert time.perf_counter() - started < 0.2
    assert log.flush(5) and load_with_pins(tmp_path / "s.mixdown")[0].gain("e1") == 199
    log.stop()


def test_after_a_full_disk_nothing_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The changes wait in memory; a half line is never followed by others."""
    monkeypatch.setattr(journal, "RETRY_S", 0.02)
    monkeypatch.setattr(journal, "GAP_S", 0.0)
    base, full = tmp_path / "s.mixdown", [True]

    def save(state: State) -> None:
        if full[0]:
            raise WriteProblem("full")
        save_project(state.recipe, base)

    log = Journal(base, save)
    log.put(State(START))
    time.sleep(0.1)
    full[0] = False
    write, broken = os.write, [0]

    def half(handle: int, data: bytes) -> int:
        if handle == log._handle and len(data) > 40:
            broken[0] += 1
            if broken[0] == 3:
                write(handle, data[:20])
                raise OSError(28, "No space left on device")
        return write(handle, data)

    monkeypatch.setattr(os, "write", half)
    for number in range(12):
        log.put(State(START.with_gain("e1", number)))
        time.sleep(0.03)
    time.sleep(0.2)
    log.stop()
    recipe, _ = load_with_pins(base)
    found, damaged = replay(State(recipe), digest(base), base.with_suffix(".journal"))
    assert broken[0] >= 3 and not damaged and found.recipe.gain("e1") == 11


@pytest.fixture
def drags() -> Iterator[Callable[[Path], Path]]:
    """Opens windows in a drag without end; gives the file in which each tells what it does."""
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}
    server = subprocess.Popen([sys.executable, "-m", "tests.app.drag_session"], env=environment, cwd=ROOT,
                              stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)  # fmt: skip
    assert server.stdin is not None

    def start(home: Path) -> Path:
        home.mkdir()
        assert server.stdin is not None
        server.stdin.write(f"{home}\n".encode())
        server.stdin.flush()
        return Path(f"{home}.told")

    yield start
    server.stdin.close()
    server.wait()


def wait_until(what: Callable[[], bool]) -> None:
    """Wait up to a minute."""
    end = time.monotonic() + 60
    while not what():
        assert time.monotonic() < end
        time.sleep(0.005)


def lost_by_a_kill(told_in: Path, home: Path, moment_s: float) -> tuple[int, float]:
    """Kill a window in a drag: whole gestures and seconds that its session lacks."""
    wait_until(lambda: told_in.exists() and b"ready\n" in told_in.read_bytes())
    time.sleep(moment_s)
    process = int(told_in.read_text().split("\n", 1)[0])
    os.kill(process, signal.SIGKILL)
    killed = time.monotonic()
    wait_until(lambda: not Path(f"/proc/{process}").exists())
    told = [line.split() for line in told_in.read_text().splitlines(keepends=True)[2:] if line.endswith("\n")]
    session = Session(ProjectStore())
    assert session.file.parent == home and session.ended_badly is not None
    last = session.restore()
    session.release()
    assert last is not None and len(last.recipe.experts) == 6 and len(last.view.cells) in (0, 2)
    values = {rule.value for rule in last.recipe.rules}
    known = [i for i, (_, value, _) in enumerate(told) if float(value) in values]
    first_lost = max(known, default=-1) + 1
    if first_lost == len(told):
        return 0, 0.0
    ended = {gesture for gesture, _, _ in told[first_lost:]} - {told[-1][0]}
    return len(ended), killed - float(told[first_lost][2])


def check_kills(
    drags: Callable[[Path], Path], folder: Path, moments: list[float], monkeypatch: pytest.MonkeyPatch
) -> list[float]:
    """Kill windows at these moments, three that run at once; seconds lost by each kill."""
    seconds = []
    numbered = list(enumerate(moments))
    for batch in (numbered[i : i + 3] for i in range(0, len(numbered), 3)):
        children = [(drags(folder / f"home {number}"), folder / f"home {number}", moment) for number, moment in batch]
        for child, home, moment_s in children:
            monkeypatch.setenv("MIXDOWN_HOME", str(home))
            gestures, lost = lost_by_a_kill(child, home, moment_s)
            assert gestures <= 1 or lost <= 0.5, f"{gestures} gestures, {lost:.2f} s lost"
            seconds.append(lost)
    return seconds


def test_killed_in_a_drag(
    drags: Callable[[Path], Path], tmp_path: Path, qapp: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_kills(drags, tmp_path, [0.31, 0.9, 0.1], monkeypatch)


@pytest.mark.soak
def test_killed_in_a_hundred_drags(
    drags: Callable[[Path], Path], tmp_path: Path, qapp: object, monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:  # fmt: skip
    chance = random.Random(6)
    lost = sorted(check_kills(drags, tmp_path, [chance.uniform(0.0, 2.5) for _ in range(100)], monkeypatch))
    record_property("seconds lost, median and most", (lost[50], lost[-1]))
    (tmp_path / "lost.txt").write_text(f"{lost[50]:.3f} {lost[-1]:.3f}")
