"""Adding a method is one short file in engine/methods: nothing else names it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
import torch

import engine.methods
from engine.methods import spec
from engine.methods.spec import Param, find, merge_method, registered
from tests.engine.memory_view import merge, merge_kernel, view_of
from tests.engine.test_methods import models

if TYPE_CHECKING:
    from pathlib import Path

FILE = '''"""MagMax: the largest change of each weight."""

from engine import steps
from engine.methods.spec import Param, merge_method


@merge_method(
    id="magmax_example", title="MagMax", family="sparse", space="delta",
    summary="Takes the largest change of each weight.", paper="Marczak et al. 2024, MagMax",
    params=[Param("scale", 0.5, help="Multiplies the result.", low=-5.0, high=5.0)],
)
def magmax(deltas, weights, *, scale):
    """scale * the largest of c_t tau_t."""
    return steps.disjoint.merge(steps.reduce.scaled(deltas, weights), None, "max", weights).mul_(scale)
'''


@pytest.fixture
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spec, "_METHODS", registered())


@pytest.mark.usefixtures("own_registry")
def test_one_short_file_is_a_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert FILE.count("\n") <= 16
    (tmp_path / "magmax_example.py").write_text(FILE, "utf-8")
    monkeypatch.setattr(engine.methods, "__path__", [*engine.methods.__path__, str(tmp_path)])
    known = set(registered())
    engine.methods.discover()  # what starting the program does: import every module in the folder
    assert set(registered()) - known == {"magmax_example"}

    base, experts = models(3)
    weights = [1.0, -2.0, 0.5]
    merged = merge("magmax_example", base, experts, weights, {"scale": "0.25"})
    scaled = torch.stack([w * (e["a.weight"] - base["a.weight"]) for e, w in zip(experts, weights, strict=True)])
    largest = scaled.gather(0, scaled.abs().argmax(0, keepdim=True))[0]
    assert torch.equal(merged["a.weight"], base["a.weight"] + 0.25 * largest)
    assert all(torch.equal(merge("magmax_example", base, experts, [0.0] * 3)[n], base[n]) for n in base)
    monkeypatch.delitem(sys.modules, "engine.methods.magmax_example")


@pytest.mark.usefixtures("own_registry")
def test_two_methods_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two methods are called 'ties'"):
        merge_method(id="ties", title="T", family="f", summary="S.", paper="P", space="delta")(
            lambda deltas, weights: 0
        )


@pytest.mark.usefixtures("own_registry")
def test_a_survey_reaches_measure_and_its_result_the_kernel() -> None:
    @merge_method(
        id="chain", title="T", family="f", summary="S.", paper="P", space="delta",
        params=[Param("add", 1.0, help="H.", low=0.0, high=9.0)],
        survey=lambda view, add: view.numel * 1000.0,
        measure=lambda view, add, stats: stats + view.numel,
    )  # fmt: skip
    def kernel(deltas, weights, *, add, stats, span):
        return torch.full_like(deltas[0], stats + add + span.start)

    base, experts = models(1)
    merged = merge_kernel(view_of(find("chain"), base, experts, [1.0]), find("chain"), {})
    elements = sum(x.numel() for x in base.values())
    assert {n: float(x.mean()) for n, x in merged.items() if x.numel()} == {
        n: elements * 1000.0 + x.numel() + 1.0 for n, x in base.items() if x.numel()
    }
