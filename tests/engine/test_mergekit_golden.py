"""The numbers of mergekit 0.1.5 itself, from whole configurations over four tiny models (tests/golden/mergekit).

Cases that end in ".places" give every parameter other values in other tensors, by gradients, filters and slices.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.numpy import load_file

from engine.merge.inputs import open_inputs
from engine.merge.plan import make_plan
from engine.merge.run import merged_state
from engine.recipe.mergekit import export_mergekit, load_mergekit
from engine.recipe.mergekit_table import METHODS
from engine.recipe.recipe import Recipe
from tests.golden.mergekit_runs import of, write_models

HERE = Path(__file__).resolve().parent.parent / "golden" / "mergekit"
PLACES: dict[str, str] = json.loads((HERE / "cases_places.json").read_text())
CASES: dict[str, str] = json.loads((HERE / "cases.json").read_text()) | {f"{k}.places": v for k, v in PLACES.items()}
WANTED = load_file(HERE / "outputs.safetensors") | {
    k.replace("/", ".places/", 1): v for k, v in load_file(HERE / "outputs_places.safetensors").items()
}
ATOL = 3e-7  # float32 sums in another order
LOOSE = {"karcher": 1e-5, "multislerp": 2e-6, "multislerp_base": 2e-6, "nuslerp_base": 2e-6, "model_stock_filter": 1e-6}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the models base, a, b and c."""
    torch.set_num_threads(1)
    return write_models(tmp_path_factory.mktemp("mergekit"), load_file(HERE / "inputs.safetensors"))


def outputs(case: str) -> dict[str, np.ndarray]:
    return of(WANTED, case)


def recipe_of(case: str, folder: Path) -> Recipe:
    path = folder / f"{case}.yaml"
    path.write_text(CASES[case])
    got = load_mergekit(path)
    assert not [f for f in got.findings if f.severity != "info"], got.findings
    return got.recipe


def run(recipe: Recipe) -> dict[str, np.ndarray]:
    state = merged_state(make_plan(recipe, open_inputs(recipe)), threads=1)
    return {name: tensor.numpy() for name, tensor in state.items()}


def test_there_is_a_case_for_every_method_of_mergekit() -> None:
    assert {yaml.safe_load(text)["merge_method"] for text in CASES.values()} == set(METHODS)


@pytest.mark.parametrize("case", [c for c in CASES if not c.startswith("random_")])
def test_a_whole_configuration_gives_mergekits_numbers(case: str, models: Path) -> None:
    merged, wanted = run(recipe_of(case, models)), outputs(case)
    assert merged.keys() == wanted.keys()
    worst = {name: float(np.abs(merged[name] - wanted[name]).max()) for name in wanted}
    assert max(worst.values()) <= LOOSE.get(case.removesuffix(".places"), ATOL) * 3, dict(
        sorted(worst.items(), key=lambda p: -p[1])[:4]
    )


@pytest.mark.parametrize("case", CASES)
def test_a_configuration_survives_the_way_back(case: str, models: Path) -> None:
    recipe = recipe_of(case, models)
    made = export_mergekit(recipe)
    assert all(f.severity == "info" for f in made.findings), made.findings
    path = models / f"{case}-again.yaml"
    path.write_text(made.text)
    again = load_mergekit(path).recipe
    assert replace(again, extras=()) == replace(recipe, extras=())
    assert dict(recipe.extras).items() >= dict(again.extras).items()


@pytest.mark.parametrize("case", ["random_dare_linear", "random_della_linear"])
def test_random_masks_agree_in_their_statistics(case: str, models: Path) -> None:
    tensors = load_file(HERE / "inputs.safetensors")
    kept = []
    for state in (run(recipe_of(case, models)), outputs(case)):
        shares, norms = [], []
        for name, value in state.items():
            delta = value - tensors[f"base/{name}"]
            whole = np.abs(tensors[f"a/{name}"] - tensors[f"base/{name}"]).sum()
            shares.append((delta != 0).sum())
            norms.append(np.abs(delta).sum() / whole)
        np.testing.assert_allclose(norms, 1, rtol=1e-4)  # mergekit's rescale: the L1 norm of every tensor
        kept.append(sum(shares) / sum(v.size for v in state.values()))
    share = float(next(iter(yaml.safe_load(CASES[case])["models"]))["parameters"]["density"])
    np.testing.assert_allclose(kept, share, atol=4 * np.sqrt(share * (1 - share) / 1900))


def test_an_experts_own_value_goes_where_the_expert_goes(models: Path) -> None:
    recipe = recipe_of("ties_each", models)
    own: dict[str, Any] = dict(recipe.params)
    assert (own["density"], own["density@b"], own["density@c"]) == (0.3, 0.6, 1.0)
    other = recipe.with_replaced(replace(recipe.expert("e2"), name="maths"))
    assert dict(other.params)["density@maths"] == 0.6 and "density@b" not in dict(other.params)
    assert "density@c" not in dict(recipe.without_expert("e3").params)
    same, moved = run(other), run(recipe.with_order(["e3", "e1", "e2"]))
    for name, value in run(recipe).items():
        assert value.tobytes() == same[name].tobytes() == moved[name].tobytes()


@pytest.mark.parametrize("case", ["random_dare_linear.places", "random_della_linear.places"])
def test_random_masks_follow_the_density_of_each_place(case: str, models: Path) -> None:
    base = of(load_file(HERE / "inputs.safetensors"), "base")
    share = {"0.mlp": 0.9 if "dare" in case else 0.8, "1.mlp": 0.5, "attn": 0.25, "": 0.6}
    for state in (run(recipe_of(case, models)), outputs(case)):
        for part, wanted in share.items():
            names = [n for n in base if (part in n if part else "mlp" not in n and "attn" not in n)]
            kept = sum(int((state[n] != base[n]).sum()) for n in names)
            size = sum(base[n].size for n in names)
            assert kept / size == pytest.approx(wanted, abs=4 * np.sqrt(wanted * (1 - wanted) / size)), (part, case)


def test_every_parameter_of_mergekit_has_a_case_where_it_differs_between_tensors() -> None:
    """Only for its own sake: what a table entry gains, a case must show."""
    said: dict[str, set[str]] = {}

    def look(method: str, table: Any) -> None:
        for key, value in (table or {}).items():
            if isinstance(value, list):
                said.setdefault(method, set()).add(key)

    for text in CASES.values():
        data = yaml.safe_load(text)
        method = data["merge_method"]
        look(method, data.get("parameters"))
        for part in data.get("slices", [data]):
            look(method, part.get("parameters"))
            for model in part.get("models", part.get("sources", [])):
                look(method, model.get("parameters"))
    open_ = {name: sorted(entry.known - entry.ignored - said.get(name, set())) for name, entry in METHODS.items()}
    same = {"weight", "density", "lambda", "rescale", "epsilon", "normalize"}  # shown by another method of the family
    assert {name: left for name, left in open_.items() if set(left) - same} == {}
