"""mergekit's `modules`, against the numbers of mergekit 0.1.5 itself over tiny T5 models (mergekit_modules)."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.numpy import load_file

from engine.errors import BadRecipe
from engine.merge.inputs import open_inputs
from engine.merge.plan import make_plan
from engine.merge.run import merged_state
from engine.recipe.mergekit import export_mergekit, load_mergekit
from engine.recipe.mergekit_modules import module_of
from tests.golden.mergekit_runs import of, write_models

HERE = Path(__file__).resolve().parent.parent / "golden" / "mergekit_modules"
CASES: dict[str, str] = json.loads((HERE / "cases.json").read_text())
WANTED = load_file(HERE / "outputs.safetensors")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the models base, a, b and c."""
    torch.set_num_threads(1)
    return write_models(tmp_path_factory.mktemp("modules"), load_file(HERE / "inputs.safetensors"))


def codes(text: str, folder: Path) -> list[str]:
    path = folder / "other.yaml"
    path.write_text(text)
    return [f.code for f in load_mergekit(path).findings if f.severity == "error"]


@pytest.mark.parametrize("case", CASES)
def test_modules_give_mergekits_numbers_and_survive_the_way_back(case: str, models: Path) -> None:
    path = models / f"{case}.yaml"
    path.write_text(CASES[case])
    got = load_mergekit(path)
    assert not [f for f in got.findings if f.severity != "info"], got.findings
    state = merged_state(make_plan(got.recipe, open_inputs(got.recipe)), threads=1)
    wanted = of(WANTED, case)
    assert state.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_allclose(state[name].numpy(), value, atol=9e-7, rtol=0, err_msg=name)
    made = export_mergekit(got.recipe)
    assert all(f.severity == "info" for f in made.findings), made.findings
    path.write_text(made.text)
    assert replace(load_mergekit(path).recipe, extras=()) == replace(got.recipe, extras=())


def test_what_modules_cannot_say_is_listed(models: Path, tmp_path: Path) -> None:
    data = yaml.safe_load(CASES["ties"])
    assert codes(yaml.safe_dump(data), tmp_path) == ["mergekit:modules"], "no model is here"
    del data["modules"]["shared"]
    assert codes(yaml.safe_dump(data), models) == ["mergekit:modules"], "mergekit leaves out the shared tensors"
    data["modules"]["vision_tower"] = data["modules"]["encoder"]
    assert "mergekit:modules.vision_tower" in codes(yaml.safe_dump(data), models)
    data = yaml.safe_load(CASES["slerp"]) | {"merge_method": "model_stock", "base_model": "base"}
    data["modules"]["decoder"] = {"models": [{"model": "a"}, {"model": "c"}]}
    assert codes(yaml.safe_dump(data), models) == ["mergekit:modules"], "other models in each module"
    data["modules"]["decoder"]["slices"] = [{"sources": [{"model": "a", "layer_range": [0, 1]}]}]
    with pytest.raises(BadRecipe, match="Exactly one of models and slices") as caught:
        codes(yaml.safe_dump(data), models)
    assert "modules.decoder" in (caught.value.where or "")


def sliced(**changes: object) -> str:
    """The linear case, with another second slice of the encoder."""
    data = yaml.safe_load(CASES["slices_linear"])
    data["modules"]["encoder"]["slices"][1] |= changes
    return yaml.safe_dump(data)


def test_slices_of_a_module_that_move_layers_are_listed(models: Path) -> None:
    a, b, c = ({"model": m, "layer_range": [1, 2], "parameters": {"weight": 1}} for m in "abc")
    encoder = ["mergekit:modules.encoder.slices"]
    assert codes(sliced(), models) == []
    assert codes(sliced(sources=[a | {"layer_range": [0, 1]}, b]), models) == encoder, "layer 0 twice"
    assert codes(sliced(sources=[a | {"layer_range": [1, 3]}]), models) == encoder, "a layer too many"
    assert codes(sliced(base_model="c"), models) == encoder
    assert codes(sliced(sources=[a, b, c]), models) == encoder, "more sources than in the first slice"
    data = yaml.safe_load(sliced())
    data["modules"]["shared"] = data["modules"]["encoder"]
    assert codes(yaml.safe_dump(data), models) == ["mergekit:modules.shared.slices"], "no layers"
    data = yaml.safe_load(CASES["slices_slerp"])
    data["modules"]["encoder"]["slices"][1]["sources"][1]["model"] = "c"
    assert "mergekit:modules" in codes(yaml.safe_dump(data), models), "SLERP of other models in each slice"


@pytest.mark.parametrize(("name", "module"), [
    ("visual.merger.mlp.0.weight", "multi_modal_projector"), ("visual.blocks.0.norm1.weight", "vision_tower"),
    ("model.visual.deepstack_merger_list.0.norm.weight", "multi_modal_projector"), ("lm_head.weight", "text_decoder"),
    ("language_model.model.layers.0.mlp.up_proj.weight", "text_decoder"), ("something.weight", "")])  # fmt: skip
def test_models_that_see_have_the_modules_of_mergekit(name: str, module: str) -> None:
    assert module_of(name, ("text_decoder", "vision_tower")) == module
    assert module_of("a.layers.0.w", ("a.layers", "default")) == "a.layers"
    assert module_of("b.w", ("a.layers", "default")) == "default"
