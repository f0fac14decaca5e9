"""The forecast of memory against what a merge in a process of its own takes at most."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from engine.merge.inputs import open_inputs
from engine.merge.plan import make_plan
from engine.recipe.recipe import ModelRef, Recipe

SIDE = 1536
RUN = """
import json, sys, resource, torch
torch.set_num_threads(1)
from pathlib import Path
from safetensors.torch import save_file
from engine.export.preflight import peak_memory
from engine.merge.inputs import open_inputs
from engine.merge.plan import make_plan
from engine.merge.run import merge
from engine.recipe.recipe import ModelRef, Recipe
folder, method, side = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
count = int(sys.argv[4]) if len(sys.argv) > 4 else 3
files = [folder / f"m{1 + i % 3 if i else 0}.safetensors" for i in range(count + 1)]
refs = tuple(ModelRef(id=f"e{i}", name=f"e{i}", path=str(file)) for i, file in enumerate(files))
recipe = Recipe(base=refs[0], experts=refs[1:], method=method)
plan = make_plan(recipe, open_inputs(recipe))
class Nowhere:
    def write(self, index, offset, data): pass
merge(plan, Nowhere(), threads=2)
peak = next(l for l in open("/proc/self/status") if l.startswith("VmHWM"))
print(json.dumps([int(peak.split()[1]) * 1024, peak_memory(plan, 2), plan.whole_bytes]))
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("memory")
    for i in range(4):
        made = torch.Generator().manual_seed(i)
        state = {f"w{k}": torch.randn(SIDE, SIDE, generator=made).to(torch.bfloat16) for k in range(3)}
        save_file(state, folder / f"m{i}.safetensors")
    return folder


def test_whole_tensors_and_statistics_count(models: Path) -> None:
    from engine.export.preflight import peak_memory

    refs = tuple(ModelRef(id=f"e{i}", name=f"m{i}", path=str(models / f"m{i}.safetensors")) for i in range(4))
    plans = {m: make_plan(r := Recipe(base=refs[0], experts=refs[1:], method=m), open_inputs(r))
             for m in ("task_arithmetic", "iso_c", "ties")}  # fmt: skip
    plain, whole, sketched = (peak_memory(plan, 2) for plan in plans.values())
    assert whole == plain + 3 * plans["iso_c"].whole_bytes and plans["iso_c"].whole_bytes >= 4 * SIDE * SIDE * 8
    kept = make_plan(r := Recipe(base=refs[0], experts=refs[1:], method="model_stock"), open_inputs(r))
    for plan, each in ((plans["task_arithmetic"], 0), (kept, 4 * 4 * SIDE * SIDE)):  # a thread keeps a whole tensor
        assert peak_memory(plan, 5) - peak_memory(plan, 2) == 3 * ((32 << 20) + each)
    assert plain < sketched <= plain + (88 << 20) + 2 * (64 << 20)


@pytest.mark.soak
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
@pytest.mark.parametrize("method", ["model_stock", "star", "ties"])
def test_the_forecast_covers_what_was_measured(method: str, models: Path) -> None:
    done = subprocess.run([sys.executable, "-c", RUN, str(models), method, str(SIDE)], capture_output=True, text=True,
                          check=True)  # fmt: skip
    measured, said, _ = json.loads(done.stdout)
    assert measured <= said <= 4 * measured


@pytest.mark.soak
def test_sixty_four_experts_take_as_much_memory_as_two(models: Path) -> None:
    """The chunks become shorter instead."""

    def peak(count: int) -> int:
        done = subprocess.run([sys.executable, "-c", RUN, str(models), "task_arithmetic", str(SIDE), str(count)],
                              capture_output=True, check=True)  # fmt: skip
        return int(json.loads(done.stdout)[0])

    assert peak(64) <= 1.1 * peak(2)
