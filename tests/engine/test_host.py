"""What numpy merges has the bytes that torch gives, and needs no torch at all."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.errors import NotFinite
from engine.merge import run
from engine.merge.inputs import open_inputs
from engine.merge.memory import HOST, home, suits_host
from engine.merge.plan import make_plan
from engine.methods import find, registered
from engine.recipe.recipe import ModelRef, Recipe, Rule
from tests.engine.test_registry import merged_state, recipe_of, settings_of

BLOCKS = 3 * 4096 + 5
ABLE = [name for name, method in registered().items() if method.host]


def models(folder: Path, dtype: torch.dtype, experts: int = 3) -> Recipe:
    """A base with zeros of both signs and task vectors that agree, cancel out, tie and vanish."""
    made = torch.Generator().manual_seed(5)
    shapes = {"matrix": (BLOCKS // 7, 7), "bias": (19,), "scalar": (), "empty": (0, 3)}
    base = {name: torch.randn(shape, generator=made) for name, shape in shapes.items()}
    base["matrix"][::3] = -0.0
    base["matrix"][1::3] = 0.0
    refs = []
    for number in range(experts + 1):
        state = {n: x + (number > 0) * 0.25 * torch.randn(x.shape, generator=made) for n, x in base.items()}
        if number:
            state["matrix"][::2] = base["matrix"][::2]
            state["matrix"][1::5] = base["matrix"][1::5] + (-1) ** number * 0.5
        stored = {n: x.to(dtype) for n, x in state.items()} | {"ids": torch.arange(4)}
        save_file(stored, path := folder / f"m{number}.safetensors")
        refs.append(ModelRef(id=f"e{number}", name=f"m{number}", path=str(path)))
    rule = Rule(value=0.6, expert="e1")  # the others have coefficients of 1, which kernels skip
    return Recipe(base=refs[0], experts=tuple(refs[1:]), method="linear", rules=(rule,), seed=3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("method", ABLE)
def test_numpy_and_torch_give_the_same_bytes(
    method: str, dtype: torch.dtype, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, seen = replace(models(tmp_path, dtype, find(method).max_experts or 3), method=method), 0
    for params in settings_of(find(method)):
        for out in ("", "F32", "BF16"):
            plan = make_plan(replace(recipe, params=tuple(sorted(params.items())), dtype=out), open_inputs(recipe))
            if not suits_host(plan):
                continue
            seen += 1
            with monkeypatch.context() as patch:
                patch.setattr(run, "home", lambda plan, device: HOST)
                merged = merged_state(plan, threads=2, chunk=4096)
            wanted = merged_state(plan, threads=1)
            for name, value in wanted.items():
                assert merged[name].reshape(-1).view(torch.uint8).equal(value.reshape(-1).view(torch.uint8)), (
                    name, params, out)  # fmt: skip
    assert seen >= 3


def test_rounding_to_bf16_is_to_the_even_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All bits that decide: below, at and above the middle, of both signs, up to the largest number."""
    bits = torch.arange(0, 0x7F7F, 7, dtype=torch.int32)[:, None] << 16
    values = (bits | torch.tensor([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF])).reshape(-1).view(torch.float32)
    base = {"w": torch.cat([values, -values])}
    save_file(base, tmp_path / "base.safetensors")
    save_file({"w": base["w"] * 1}, tmp_path / "a.safetensors")
    refs = [ModelRef(id=n, name=n, path=str(tmp_path / f"{n}.safetensors")) for n in ("base", "a")]
    recipe = Recipe(base=refs[0], experts=(refs[1],), method="task_arithmetic", dtype="BF16")
    recipe = replace(recipe, params=(("scale", 0.5),))
    plan = make_plan(recipe, open_inputs(recipe))
    monkeypatch.setattr(run, "home", lambda plan, device: HOST)
    merged = merged_state(plan)["w"]
    assert merged.view(torch.int16).equal((base["w"] + 0).to(torch.bfloat16).view(torch.int16))  # -0 + 0 = 0


@pytest.mark.parametrize(
    ("method", "dtype", "params"),
    [("linear", torch.float16, {}), ("linear", torch.float64, {}), ("task_arithmetic", torch.float32, {"post": "svc"}),
     ("ties", torch.bfloat16, {"drop_shared": True})],
)  # fmt: skip
def test_what_numpy_cannot_do_goes_to_torch(
    method: str, dtype: torch.dtype, params: dict[str, object], tmp_path: Path
) -> None:
    recipe = recipe_of(tmp_path, method, 2, dtype, 0, ["matrix"])
    plan = make_plan(replace(recipe, params=tuple(params.items())), open_inputs(recipe))
    assert not suits_host(plan)
    assert home(make_plan(recipe, open_inputs(recipe)), "cuda") == "cuda"


def test_commands_merge_without_torch(tmp_path: Path) -> None:
    """All in one process, one after the other: the first that loads torch is named."""
    models(tmp_path, torch.bfloat16)
    commands = {}
    for method in ABLE:
        out = tmp_path / "out" / method
        commands[method] = ["merge", "--base", str(tmp_path / "m0.safetensors"), "--method", method, "--out", str(out)]
        for number in range(1, 1 + (find(method).max_experts or 3)):
            commands[method] += ["--expert", str(tmp_path / f"m{number}.safetensors")]
    program = f"""import sys
from app.cli import run
for method, arguments in {commands!r}.items():
    assert run(arguments) == 0, method
    loaded = {{'torch', 'safetensors', 'transformers', 'PySide6'}} & set(sys.modules)
    assert not loaded, (method, loaded)"""
    root = Path(__file__).resolve().parents[2]
    environment = {"MIXDOWN_HOME": str(tmp_path / "home"), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", program], cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for method in ABLE:
        assert load_file(tmp_path / "out" / method / "model.safetensors")["matrix"].isfinite().all(), method


@pytest.mark.parametrize("method", ["task_arithmetic", "ties", "dare_linear", "slerp"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 3e38])
def test_numpy_refuses_what_is_not_finite_in_the_same_words(
    method: str, bad: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(models(tmp_path, torch.bfloat16, find(method).max_experts or 3), method=method)
    state = load_file(tmp_path / "m1.safetensors")
    state["matrix"].view(-1)[BLOCKS // 2] = bad
    save_file(state, tmp_path / "m1.safetensors")
    own = (("scale", 5.0),) if method != "slerp" else ()
    plan = make_plan(replace(recipe, params=own), open_inputs(recipe))
    if bad == 3e38 and method == "slerp":
        return  # a mean of two does not overflow
    said = []
    for where in (HOST, "cpu"):
        monkeypatch.setattr(run, "home", lambda plan, device, where=where: where)
        with pytest.raises(NotFinite) as caught:
            merged_state(plan, threads=1)
        said.append((caught.value.message.partition("(")[0], caught.value.where, caught.value.hint))
    assert said[0] == said[1] and said[0][1] == "matrix"
