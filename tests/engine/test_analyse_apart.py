"""Counting in processes: the same bits as in threads, the same errors, and only where a program allows it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch

from engine.analyse.overlap import overlap, overlap_of
from engine.errors import Cancelled, NotFinite
from engine.merge import forks
from engine.progress import Token
from tests.engine.merge_cases import Family, family, save
from tests.engine.test_analyse_overlap import arrays, with_frozen

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks")


@pytest.fixture
def four(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Family:
    monkeypatch.setattr(forks, "_allowed", True)
    monkeypatch.setattr(forks, "WORTHWHILE_BYTES", 0)
    return with_frozen(family(tmp_path, experts=4))


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The processes that were forked."""
    found, fork = list[int](), os.fork

    def spy() -> int:
        pid = fork()
        if pid:
            found.append(pid)
        return pid

    monkeypatch.setattr(os, "fork", spy)
    return found


def test_processes_find_what_threads_find_bit_for_bit(
    four: Family, started: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.analyse.sweep._RUN", 6000)  # several runs each
    token = Token()
    away = overlap_of(four.with_method("consensus").plan, threads=2, chunk=4096, progress=token)
    assert len(started) == 2 and token.total == token.done > 0
    monkeypatch.setattr(forks, "_allowed", False)
    here = overlap_of(four.with_method("consensus").plan, threads=2, chunk=4096)
    assert len(started) == 2
    assert arrays(away) == arrays(here)
    assert away.sizes.tolist() == here.sizes.tolist() and away.zeros.tolist() == here.zeros.tolist()


def test_a_process_names_the_model_with_a_nan(four: Family, started: list[int]) -> None:
    sick = {**four.experts[1], "model.norm.weight": torch.tensor(float("nan"), dtype=torch.bfloat16)}
    save(sick, Path(four.recipe.experts[1].path))
    with pytest.raises(NotFinite, match="expert 1"):
        overlap(four.inputs, threads=2)
    assert len(started) == 2
    for pid in started:
        with pytest.raises(ProcessLookupError):  # it has ended and was waited for
            os.kill(pid, 0)


def test_processes_can_be_stopped_and_a_sample_starts_none(four: Family, started: list[int]) -> None:
    token = Token()
    token.cancel()
    with pytest.raises(Cancelled):
        overlap(four.inputs, progress=token, threads=2)
    started.clear()
    overlap(four.inputs, threads=2, sample=1000)
    assert not started


def test_threads_count_where_no_process_is_to_be_had(four: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> int:
        raise BlockingIOError("no more processes")

    monkeypatch.setattr(os, "fork", refuse)
    found = overlap(four.inputs, threads=2)
    assert found.masks is not None and found.masks.active.sum() > 0
