"""The history: nothing acknowledged is lost, damage is healed, filters are typed, families are found."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import create_engine, event, text

from engine.errors import MixdownError, OutOfRange, WriteProblem
from engine.history import keeping, migrate
from engine.history.connect import explained, url_of
from engine.history.history import History
from engine.history.lineage import graph, linked, relatives
from engine.history.pareto import front
from engine.history.recipes import canonical, key_of, recipe_of
from engine.history.schema import HEAD, Base
from engine.history.terms import parse_filter
from engine.history.values import Facts, Input, Kin, Query
from engine.recipe.recipe import ModelRef, Recipe, Rule
from tests.engine.history_kills import facts

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "history.sqlite"


def ids(history: History, filter: str = "", **more: object) -> list[int]:
    return [r.id for r in history.page(Query(filter=filter, **more)).runs]


@pytest.fixture(scope="module")
def ten(tmp_path_factory: pytest.TempPathFactory) -> History:
    history = History(tmp_path_factory.mktemp("ten") / "history.sqlite")
    for number in range(1, 11):
        history.record(facts(number))
    history.set_tags([5], add=["good"])
    return history


def test_what_is_recorded_comes_back(file: Path) -> None:
    history, one = History(file), facts(7)
    number = history.record(one)
    run = History(file).run(number)
    assert run.facts == one and run.is_intact
    assert run.mean is not None and (run.mean.value, run.mean.count, run.mean.unit) == (pytest.approx(7), 100, "%")
    assert history.record(one) == number, "recording twice is recording once"


def test_marks_and_deletion_with_undo(file: Path) -> None:
    history = History(file)
    a, b = history.record(facts(1)), history.record(facts(2))
    history.set_star([a], True)
    history.set_tags([a, b], add=["good", "  two   words "])
    history.set_tags([b], remove=["good"])
    history.set_note(a, "try less")
    history.delete([b])
    run = history.run(a)
    assert (run.star, run.tags, run.note, run.is_intact) == (True, ("good", "two words"), "try less", True)
    assert ids(history) == [a] and ids(history, deleted=True) == [b]
    history.delete([b], False)
    assert ids(history) == [b, a] and history.run(b).tags == ("two words",)


@pytest.mark.parametrize(
    ("filter", "wanted"),
    [
        ("score>=8 score<10", {8, 9}), ("score.digits=3", {3}), ("param.density>0.0085 chat", {9, 10}),
        ("input=CHAT base~AS ties", set(range(1, 11))), ("input!=chat", set()), ("seconds<=2", {1, 2}),
        ('"TIES 7"', {7}), ("output~/out/1", {1, 10}), ("star=no id!=4 score<6", {1, 2, 3, 5}), ("tag=good", {5}),
        ("title~%", set()), ("title=x';drop_table_runs;--", set()), ("created>=2023-11-14", set(range(1, 11))),
        ("created<2023", set()), ("created=2023-11-14", set(range(1, 11))), ("param.rescale=1", set()),
    ],
)  # fmt: skip
def test_filters(ten: History, filter: str, wanted: set[int]) -> None:
    assert set(ids(ten, filter)) == wanted


def test_sorting_and_pages(ten: History) -> None:
    assert ids(ten, sort="score.digits", descending=False) == list(range(1, 11))
    assert ids(ten, sort="param.density", offset=2, limit=3) == [8, 7, 6]
    assert ids(ten, sort="tag", limit=2) == [5, 10], "what has no value comes last, the newest first"


@pytest.mark.parametrize("text", ["nope>1", "score>x", "score~1", "star=maybe", "created>yesterday", "score>nan"])
def test_bad_filters_say_what_to_write(text: str) -> None:
    with pytest.raises(OutOfRange) as told:
        parse_filter(text)
    assert told.value.hint


def test_migrations_and_models_agree_and_old_tables_are_upgraded(tmp_path: Path) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.migration import MigrationContext

    assert migrate.scripts().get_heads() == [HEAD]
    engine = create_engine(f"sqlite:///{tmp_path / 'a.sqlite'}")
    with engine.begin() as connection:
        assert migrate.upgrade(connection, "r0001") == "" and migrate.current(connection) == "r0001"
        connection.execute(
            text(
                "INSERT INTO runs (uid, kind, created, key, method, title, recipe, search, base, experts, device,"
                " versions, output_path, output_sha256, output_bytes, score_unit, digest)"
                " VALUES ('u', 'export', 1, 'k', 'ties', 'Old', '{}', 'old', '', 0, '', '{}', '', '', 0, '', '')"
            )
        )
    with engine.begin() as connection:
        assert migrate.upgrade(connection) == ""
        context = MigrationContext.configure(connection, opts={"version_table": migrate.VERSION_TABLE})
        assert compare_metadata(context, Base.metadata) == []
    engine.dispose()
    old = History(tmp_path / "a.sqlite").run(1)
    assert (old.facts.title, old.star, old.tags, old.is_intact) == ("Old", False, (), False)


def test_a_newer_schema_is_only_read(file: Path) -> None:
    History(file).record(facts(1))
    with closing(sqlite3.connect(file)) as raw:
        raw.execute(f"UPDATE {migrate.VERSION_TABLE} SET version_num = 'r9999'")
        raw.execute("ALTER TABLE runs ADD COLUMN future TEXT")
        raw.commit()
    before = file.read_bytes()
    history = History(file)
    assert history.status.is_read_only and "newer Mixdown" in history.status.reason
    assert ids(history) == [1]
    with pytest.raises(WriteProblem, match="newer"):
        history.record(facts(2))
    assert file.read_bytes() == before


@pytest.mark.parametrize("harm", ["garbage", "truncated", "empty", "gone"])
def test_a_damaged_file_is_moved_aside_and_restored_from_a_backup(file: Path, harm: str) -> None:
    history = History(file)
    for number in range(1, 40):
        history.record(facts(number))
    with history._lock.held():
        assert keeping.back_up(file, every_s=0) is not None
    whole = file.read_bytes()
    damaged = {"garbage": whole[:5000] + os.urandom(9000) + whole[14000:], "truncated": whole[: len(whole) // 3],
               "empty": b""}  # fmt: skip
    file.unlink() if harm == "gone" else file.write_bytes(damaged[harm])
    again = History(file)
    assert "restored from the backup" in again.status.told and not again.status.is_read_only
    assert len(ids(again, limit=100)) == 39
    aside = list(file.parent.glob("*.damaged *"))
    assert len(aside) == (harm in ("garbage", "truncated")) and all(p.read_bytes() == damaged[harm] for p in aside)
    assert again.record(facts(99)) and not History(file).status.told


def test_damage_without_a_backup_starts_anew_and_keeps_the_file(file: Path) -> None:
    file.write_bytes(b"this is no database, " * 100)
    history = History(file)
    assert "starts anew" in history.status.told and history.record(facts(1)) == 1
    assert [p.read_bytes()[:7] for p in file.parent.glob("*.damaged *")] == [b"this is"]


def test_a_damaged_backup_is_passed_over_and_some_are_kept(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "KEEP", 3)
    history = History(file)
    for number in range(1, 7):
        history.record(facts(number))
        os.utime(file, (time.time() + number, time.time() + number))
        keeping.back_up(file, every_s=-1e9, apart_s=0.0)
    assert [p.name[-1] for p in keeping.backups(file)] == ["1", "2", "3"]
    keeping.backups(file)[0].write_bytes(b"x" * 5000)
    file.write_bytes(b"y" * 5000)
    assert len(ids(History(file))) == 5, "from the second newest"


def test_a_changed_row_is_told(file: Path) -> None:
    number = History(file).record(facts(1))
    with closing(sqlite3.connect(file)) as raw:
        raw.execute("UPDATE runs SET seconds = 0.001")
        raw.commit()
    assert not History(file).run(number).is_intact


def test_two_processes_and_four_threads_write_at_once(file: Path) -> None:
    history = History(file)
    other = subprocess.Popen([sys.executable, "-m", "tests.engine.history_kills", str(file), "1000"], cwd=ROOT,
                             stdout=subprocess.PIPE)  # fmt: skip
    assert other.stdout is not None and other.stdout.readline() == b"ready\n"
    threads = [threading.Thread(target=lambda s=s: [history.record(facts(s * 20 + n)) for n in range(10)])
               for s in range(1, 5)]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.kill()
    told = [int(line) for line in other.communicate()[0].split()]
    seconds = {r.facts.seconds for r in history.page(Query(limit=10_000)).runs}
    assert seconds >= {float(s * 20 + n) for s in range(1, 5) for n in range(10)} | {float(t) for t in told}
    assert keeping.problem_of(file) == ""


def kill_writers(file: Path, kills: int) -> None:
    done = subprocess.run([sys.executable, "-m", "tests.engine.history_kills", str(file), "-", str(kills)], cwd=ROOT,
                          capture_output=True, check=True)  # fmt: skip
    told = set(json.loads(done.stdout))
    started = time.monotonic()
    history = History(file)
    opened = time.monotonic() - started
    found = {int(r.facts.seconds or 0) for r in history.page(Query(limit=1_000_000)).runs}
    assert len(told) > 1 and told <= found, sorted(told - found)
    assert not history.status.told and opened < 0.5
    assert all(r.is_intact for r in history.page(Query(limit=1_000_000)).runs)


def test_no_acknowledged_row_is_lost_when_the_writer_is_killed(file: Path) -> None:
    kill_writers(file, 5)


@pytest.mark.soak
def test_no_acknowledged_row_is_lost_in_200_kills(file: Path) -> None:
    kill_writers(file, 200)


def test_scores_find_their_exports_and_are_not_repeated(file: Path) -> None:
    history = History(file)
    bare = history.record(facts(1, scores=(), key="k" * 64))
    scored = facts(2, kind="score", key="k" * 64, output_path="", output_sha256="")
    number = history.record(scored)
    assert history.run(bare).facts.scores == scored.scores
    assert history.record(replace(scored, uid="f" * 32, created=1.0)) == number
    later = history.record(facts(3, scores=(), key="k" * 64))
    assert history.run(later).facts.scores == scored.scores


def test_merges_of_merges_are_told_by_content(file: Path) -> None:
    history = History(file)
    one = history.record(facts(1, output_sha256="1" * 64))
    two = history.record(facts(2, output_sha256="", inputs=(
        Input(role="expert", name="moved", path="/elsewhere", sha256="1" * 64),
        Input(role="expert", name="chat", path="/c", sha256="c" * 64))))  # fmt: skip
    lone = history.record(facts(3))
    assert history.run(two).parents == (one,) and history.links() == ((one, two),)
    assert history.unhashed() == ((two, "/out/2", 1_700_000_002.0),)
    history.set_output_hash(two, "2" * 64)
    three = history.record(facts(4, inputs=(Input(role="expert", name="m", path="/x", sha256="2" * 64),)))
    assert set(relatives(history.links(), three)) == {one, two, three} and linked(history.links()) == (three, two, one)
    made = graph(history.kin(relatives(history.links(), three)))
    layer = {n.run or n.name: n.layer for n in made.nodes}
    assert (layer["base"], layer[one], layer[two], layer[three]) == (0, 1, 2, 3) and lone not in layer
    at = {n.run or n.name: i for i, n in enumerate(made.nodes)}
    passed = dict(zip(made.edges, made.bends, strict=True))[at["chat"], at[two]]
    assert [layer for layer, _ in passed] == [1], "an edge over a layer has a place in it"
    spots = [(n.layer, n.place) for n in made.nodes] + list({b for bend in made.bends for b in bend})
    assert len(spots) == len(set(spots))
    history.delete([one])
    assert history.links() == ((two, three),)


def test_a_map_of_a_thousand_runs_is_whole_wide_and_free_of_overlaps() -> None:
    rng, runs = random.Random(1), list[Kin]()
    base = Input(role="base", name="base", path="/b", sha256="b" * 64)
    for number in range(1, 1001):
        parents = rng.sample(runs[-60:], min(len(runs), rng.randint(0, 2)))
        inputs = [Input(role="expert", name="m", path=f"/{p.id}", sha256=p.output_sha256) for p in parents]
        runs.append(Kin(number, "T", f"/out/{number}", f"{number:064x}", (base, *inputs)))
    made = graph(runs[::-1])
    assert (len(made.nodes), made.left_out) == (1001, 0)
    drawn = {(made.nodes[a].run, made.nodes[b].run) for a, b in made.edges}
    assert drawn == {(int(i.sha256, 16) if i is not run.inputs[0] else 0, run.id) for run in runs for i in run.inputs}
    assert all(made.nodes[a].layer < made.nodes[b].layer for a, b in made.edges)
    columns = defaultdict[int, list[float]](list)
    for node in made.nodes:
        columns[node.layer].append(node.place)
    assert all(b - a >= 1 for spots in columns.values() for a, b in pairwise(sorted(spots))), "no box over another"
    assert max(map(len, columns.values())) <= 27 and len(columns) < 60, "wide rather than tall"


def test_parents_of_many_runs_are_read_at_once(ten: History) -> None:
    count = 0

    def seen(*_: object) -> None:
        nonlocal count
        count += 1

    event.listen(ten._engine, "before_cursor_execute", seen)
    runs = ten.runs(range(1, 11))
    assert count <= 8 and [r.id for r in runs] == list(range(1, 11))
    kin = ten.kin([3, 99, 2])
    event.remove(ten._engine, "before_cursor_execute", seen)
    assert [(k.id, k.title, k.mean, k.inputs) for k in kin] == [
        (r.id, r.facts.title, r.mean, r.facts.inputs) for r in (runs[2], runs[1])]  # fmt: skip
    assert ten.numbers(Query(filter="score>=8", limit=1)) == (10, 9, 8)


def test_the_pareto_front_is_what_nobody_beats() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 12, 200).astype(float), rng.integers(0, 12, 200).astype(float)
    for x_up in (True, False):
        for y_up in (True, False):
            a, b = (x if x_up else -x), (y if y_up else -y)
            beaten = [any(p >= i and q >= j and (p > i or q > j) for p, q in zip(a, b, strict=True))
                      for i, j in zip(a, b, strict=True)]  # fmt: skip
            assert front(x, y, x_up=x_up, y_up=y_up).tolist() == [not it for it in beaten]


def test_recipes_come_back_and_keys_say_what_is_merged() -> None:
    base = ModelRef(id="base", name="base", path="/b", sha256="b" * 64)
    one, two = (ModelRef(id=f"e{n}", name=f"x{n}", path=f"/{n}", sha256=str(n) * 64) for n in (1, 2))
    recipe = Recipe(base=base, experts=(one, two), method="ties", params=(("density", 0.2),),
                    rules=(Rule(value=0.5, expert="e1"),), muted=("e2",))  # fmt: skip
    assert recipe_of(canonical(recipe)) == recipe
    moved = replace(recipe, experts=(replace(one, path="/moved", id="e9"), two), rules=(Rule(value=0.5, expert="e9"),))
    assert key_of(moved) == key_of(recipe)
    assert key_of(recipe.with_param("density", 0.3)) != key_of(recipe) != key_of(recipe.with_muted("e2", False))
    with pytest.raises(MixdownError):
        recipe_of('{"experts": [], "method": "ties", "__import__": 1}')


def test_ten_thousand_runs_are_listed_at_once(file: Path) -> None:
    from engine.history import rows

    history = History(file)
    history._write(lambda session: session.add_all([rows.row_of(facts(n)) for n in range(1, 501)]))
    with closing(sqlite3.connect(file)) as raw:  # each of them twenty times
        for turn in range(1, 20):
            for table in ("runs", "run_inputs", "run_scores", "run_params"):
                names = [c[1] for c in raw.execute(f"PRAGMA table_info({table})") if c[1] != "id"]
                quoted = [f'"{n}"' for n in names]
                values = [{"run_id": f"run_id + {500 * turn}", "uid": f"uid || '-{turn}'"}.get(n, n) for n in names]
                raw.execute(f"INSERT INTO {table} ({', '.join(quoted)}) SELECT {', '.join(values)} "
                            f"FROM {table} ORDER BY id LIMIT (SELECT count(*) / {turn} FROM {table})")  # fmt: skip
        raw.commit()
    started = time.monotonic()
    page = history.page(Query(filter="ties score>50", sort="score.digits", limit=200))
    listed = time.monotonic() - started
    started = time.monotonic()
    x, _, _ = history.points("seconds", "score", Query())
    assert (page.total, len(page.runs), len(x)) == (4900, 200, 10_000)
    assert listed < 2.0 and time.monotonic() - started < 2.0


def test_a_password_is_never_shown() -> None:
    url = url_of("postgresql://ada:se%20cret@nowhere/db")
    assert url.drivername == "postgresql+psycopg"
    told = explained(OSError('connection failed: password "se cret" wrong'), url)
    assert "cret" not in str(told).replace("***", "")


# A team's server --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL server of our own on a socket in a folder; nothing listens on a port."""
    import shutil

    pytest.importorskip("psycopg")
    places = [*map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), os.environ.get("PATH", "")]
    tools = {name: shutil.which(name, path=os.pathsep.join(places)) for name in ("initdb", "pg_ctl")}
    if not all(tools.values()):
        pytest.skip("PostgreSQL is not installed")
    folder = Path("/tmp") / f"mixdown-pg-{os.getpid()}"  # a socket's path must be short
    folder.mkdir(mode=0o777)
    as_who = []
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
        as_who = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    try:
        data, options = folder / "data", f"-k {folder} -c listen_addresses= -c fsync=off"
        run = {"check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
        subprocess.run([*as_who, tools["initdb"], "-D", str(data), "-U", "ada", "-A", "trust", "-N"], **run)
        subprocess.run([*as_who, tools["pg_ctl"], "-D", str(data), "-w", "-o", options, "-l", str(folder / "log"),
                        "start"], **run)  # fmt: skip
        yield f"postgresql://ada@/postgres?host={folder}"
        subprocess.run([*as_who, tools["pg_ctl"], "-D", str(data), "-m", "immediate", "stop"], **run)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_a_team_shares_a_postgresql_server(server: str) -> None:
    made = list[History]()
    starts = [threading.Thread(target=lambda: made.append(History(server))) for _ in range(3)]
    for start in starts:
        start.start()
    for start in starts:
        start.join()
    assert len(made) == 3, "first starts at once do not disturb each other"
    ada, bob = made[0], made[1]
    writers = [threading.Thread(target=lambda h=h, s=s: [h.record(facts(s + n)) for n in range(10)])
               for h, s in ((ada, 1), (bob, 11))]  # fmt: skip
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    ada.set_tags([1], add=["good", "süß"])
    ada.set_star([2], True)
    bob.delete([3])
    assert bob.page(Query(filter="tag=süß")).total == 1 and ids(ada, "star=yes") == [2]
    assert ada.page(Query(filter="score>=5 param.density<0.0085 created>=2023 chat", sort="input")).total in range(3, 5)
    assert len(ids(ada, sort="score.digits")) == 19 and len(ada.points("score", "seconds", Query())[0]) == 19
    assert ada.run(1).is_intact and "score.digits" in {c.name for c in ada.columns()}
    odd = Facts(kind="export", recipe="{}", key="k", method="m", title="nul \0 and \udcff", output_path="/x\udcff")
    assert ada.run(ada.record(odd)).is_intact
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.migration import MigrationContext

    with ada._engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": migrate.VERSION_TABLE})
        assert compare_metadata(context, Base.metadata) == []
    for history in made:
        history.close()
