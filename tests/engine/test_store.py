"""The score cache remembers, recovers, and never raises."""

from __future__ import annotations

import sqlite3
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from engine.evaluate.score import Score
from engine.store import cache as module
from engine.store.cache import ScoreCache

SCORE = Score(task="t", split="val", metric="accuracy", value=0.75, low=0.5, high=0.875, correct=3, count=4)
TABLE = "scores_1"


def other(correct: int) -> Score:
    return replace(SCORE, correct=correct, value=correct / 1000, low=0.0, high=1.0, count=1000)


def test_remembers_over_sessions_by_all_four_keys(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "scores.sqlite"
    ScoreCache(path).put("m", "t", "val", 300, SCORE)
    again = ScoreCache(path)
    assert again.get("m", "t", "val", 300) == SCORE
    for key in (("x", "t", "val", 300), ("m", "x", "val", 300), ("m", "t", "test", 300), ("m", "t", "val", 301)):
        assert again.get(*key) is None
    assert again.get("m", "t", "val", None) is None
    again.put("m", "t", "val", None, other(5))
    again.put("m", "t", "val", None, other(6))
    assert ScoreCache(path).get("m", "t", "val", None) == other(6)
    again.clear()
    assert again.get("m", "t", "val", 300) is None and ScoreCache(path).get("m", "t", "val", 300) is None


@pytest.mark.parametrize("damage", ["text", "tail", "half", "schema"])
def test_a_damaged_file_is_moved_aside(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "scores.sqlite"
    ScoreCache(path).put("m", "t", "val", 300, SCORE)
    raw = path.read_bytes()
    if damage == "schema":
        path.unlink()
        with sqlite3.connect(path) as connection:
            connection.execute(f"CREATE TABLE {TABLE} (id INTEGER PRIMARY KEY, nonsense TEXT)")
        connection.close()
        raw = path.read_bytes()
    else:
        raw = {"text": b"not a database at all" * 99, "tail": raw[:4096] + b"\xff" * 8192, "half": raw[:5000]}[damage]
        path.write_bytes(raw)
    cache = ScoreCache(path)
    assert cache.get("m", "t", "val", 300) is None
    cache.put("m", "t", "val", 300, SCORE)
    assert ScoreCache(path).get("m", "t", "val", 300) == SCORE
    assert path.with_name("scores.sqlite.damaged").read_bytes() == raw


@pytest.mark.parametrize(
    "wrong",
    ["value = 'NaN'", "value = 2.0", "low = 0.9", "correct = 5", "count = 0", "correct = 'x'", "metric = x'00'"],
)
def test_impossible_scores_are_measured_again(tmp_path: Path, wrong: str) -> None:
    path = tmp_path / "scores.sqlite"
    ScoreCache(path).put("m", "t", "val", 300, SCORE)
    with sqlite3.connect(path) as connection:
        connection.execute(f"UPDATE {TABLE} SET {wrong}")
    connection.close()
    assert ScoreCache(path).get("m", "t", "val", 300) is None


def test_where_nothing_can_be_written_scores_last_for_the_session(tmp_path: Path) -> None:
    (tmp_path / "folder.sqlite").mkdir()
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "folder.sqlite", tmp_path / "file" / "scores.sqlite", Path("/proc/none/scores.sqlite")):
        cache = ScoreCache(path)
        assert cache.get("m", "t", "val", 300) is None
        cache.put("m", "t", "val", 300, SCORE)
        assert cache.get("m", "t", "val", 300) == SCORE
    assert (tmp_path / "file").read_text() == "x"


def test_a_locked_file_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WAIT_S", 0.05)
    path = tmp_path / "scores.sqlite"
    ScoreCache(path).put("m", "t", "val", 300, SCORE)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    cache = ScoreCache(path)
    assert cache.get("m", "t", "val", 300) is None
    cache.put("m", "u", "val", 300, SCORE)
    holder.execute("COMMIT")
    holder.close()
    assert cache.get("m", "t", "val", 300) == SCORE
    assert not path.with_name("scores.sqlite.damaged").exists()


def test_many_threads(tmp_path: Path) -> None:
    path = tmp_path / "scores.sqlite"
    caches = [ScoreCache(path), ScoreCache(path)]

    def work(index: int) -> None:
        for n in range(10):
            caches[index % 2].put(f"m{index}", f"t{n}", "val", None, other(10 * index + n))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    fresh = ScoreCache(path)
    for index in range(4):
        assert [fresh.get(f"m{index}", f"t{n}", "val", None) for n in range(10)] == [
            other(10 * index + n) for n in range(10)
        ]


def test_the_oldest_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SCORES", 3)
    cache = ScoreCache(tmp_path / "scores.sqlite")
    for n in range(5):
        cache.put("m", str(n), "val", None, other(n))
    fresh = ScoreCache(tmp_path / "scores.sqlite")
    assert [fresh.get("m", str(n), "val", None) is not None for n in range(5)] == [False, False, True, True, True]
