"""Restacked layers against mergekit 0.1.5 itself: offsets, repeats, own bases (tests/golden/mergekit_stack)."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from engine.merge.inputs import open_inputs
from engine.merge.plan import make_plan
from engine.merge.run import merged_state
from engine.recipe.mergekit import export_mergekit, load_mergekit
from engine.recipe.project import from_json, to_json
from engine.recipe.recipe import Recipe
from tests.golden.mergekit_runs import of, write_models

HERE = Path(__file__).resolve().parent.parent / "golden" / "mergekit_stack"
CASES: dict[str, str] = json.loads((HERE / "cases.json").read_text())
LAYERS: dict[str, int] = json.loads((HERE / "layers.json").read_text())
WANTED = load_file(HERE / "outputs.safetensors")
ATOL = 1e-6  # float32 sums in another order
LOOSE = {
    "karcher": 3e-5,
    "multislerp": 6e-6,
    "nuslerp": 3e-6,
    "fusion": 3e-6,
    "rounded": 0.05,
}  # mergekit rounds to bfloat16 before it scales, Mixdown after it


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the models base (4 layers), a (4), b (6), c (3) and half (4, bfloat16)."""
    torch.set_num_threads(1)
    tensors, configs = load_file(HERE / "inputs.safetensors"), {}
    for who in dict.fromkeys(key.partition("/")[0] for key in tensors):
        layers = 1 + max(int(name.split(".")[2]) for name in of(tensors, who) if ".layers." in name)
        configs[who] = {"model_type": "llama", "num_hidden_layers": layers, "torch_dtype": "float32"}
    return write_models(tmp_path_factory.mktemp("stack"), tensors, configs)


def recipe_of(text: str, folder: Path) -> Recipe:
    path = folder / "case.yaml"
    path.write_text(text)
    got = load_mergekit(path)
    assert not [f for f in got.findings if f.severity == "error"], got.findings
    return got.recipe


def run(recipe: Recipe) -> dict[str, torch.Tensor]:
    return merged_state(make_plan(recipe, open_inputs(recipe)), threads=1)


@pytest.mark.parametrize("case", CASES)
def test_a_stack_gives_mergekits_tensors(case: str, models: Path) -> None:
    merged = run(recipe_of(CASES[case], models))
    wanted = of(WANTED, case)
    assert merged.keys() == wanted.keys()
    exact = "passthrough" in CASES[case] and case != "rounded"
    for name, value in wanted.items():
        assert merged[name].dtype == value.dtype, name
        if exact:
            assert torch.equal(merged[name].view(torch.uint8), value.view(torch.uint8)), name
        else:
            torch.testing.assert_close(merged[name], value, rtol=0, atol=LOOSE.get(case, ATOL), msg=name)


@pytest.mark.parametrize("case", CASES)
def test_a_stack_survives_yaml_and_project(case: str, models: Path) -> None:
    recipe = recipe_of(CASES[case], models)
    assert recipe.stack and from_json(to_json(recipe)) == recipe
    made = export_mergekit(recipe)
    assert not [f for f in made.findings if f.severity == "error"], made.findings
    again = recipe_of(made.text, models)
    plain = {"extras": (), "rules": (), "dtype": ""}
    assert replace(again, **plain) == replace(recipe, **plain)
    first, second = run(recipe), run(again)
    assert all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.parametrize("case", CASES)
def test_the_configuration_has_the_new_number_of_layers(case: str, models: Path) -> None:
    recipe = recipe_of(CASES[case], models)
    inputs = open_inputs(recipe)
    config = (inputs.base or inputs.experts[0]).config
    assert config is not None and config["num_hidden_layers"] == LAYERS[case]
