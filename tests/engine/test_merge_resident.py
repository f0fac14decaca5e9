"""Tensors kept in memory between measuring and merging, tied tensors, and tensors without elements."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from engine.merge import load
from engine.merge.inputs import open_inputs
from engine.merge.load import Loader
from engine.merge.plan import make_plan
from engine.merge.recall import SHARED
from engine.merge.run import merged_state
from engine.recipe.recipe import ModelRef, Recipe
from tests.engine.merge_cases import CONFIG, Family, base_state, digest, expert_state, family


@pytest.fixture(scope="module")
def trio(tmp_path_factory: pytest.TempPathFactory) -> Family:
    return family(tmp_path_factory.mktemp("trio"))


@pytest.mark.parametrize("method", ["slerp", "sce", "della", "model_stock", "breadcrumbs", "dare_linear", "ties"])
def test_what_is_kept_in_memory_gives_the_same_bytes(
    trio: Family, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = {"sce": {"density": 0.3}, "della": {"rescale": "l1"}, "breadcrumbs": {"ranks": "tensor"},
              "dare_linear": {"rescale_by": "l1"}, "ties": {"trim_scope": "tensor"}}.get(method, {})  # fmt: skip
    made, reads, real = trio.with_method(method, **params), [], Loader._read

    def counted(self: Loader, *given: object) -> None:
        reads.append(given)
        real(self, *given)

    monkeypatch.setattr(Loader, "_read", counted)
    SHARED.clear()
    kept = digest(merged_state(made.plan, chunk=4096))
    few = len(reads)
    monkeypatch.setattr(load, "RESIDENT", 0)
    SHARED.clear()
    assert digest(merged_state(made.plan, chunk=4096)) == kept
    assert len(reads) - few > 1.5 * few  # it had to read again


@pytest.mark.parametrize("tied", [True, False])
def test_weights_that_are_stored_twice_get_the_same_mask_if_they_are_tied(tmp_path: Path, tied: bool) -> None:
    base = base_state()
    refs = []
    for name, state in (("base", base), ("a", expert_state(0, base)), ("b", expert_state(1, base))):
        folder = tmp_path / name
        folder.mkdir()
        state["lm_head.weight"] = state["model.embed_tokens.weight"].clone()
        save_file(state, folder / "model.safetensors", {"format": "pt"})
        (folder / "config.json").write_text(json.dumps({**CONFIG, "tie_word_embeddings": tied}))
        refs.append(ModelRef(id=name, name=name, path=str(folder)))
    recipe = Recipe(base=refs[0], experts=tuple(refs[1:]), method="dare_linear", params=(("density", 0.5),))
    merged = merged_state(make_plan(recipe, open_inputs(recipe)))
    assert torch.equal(merged["lm_head.weight"], merged["model.embed_tokens.weight"]) == tied


def test_tensors_without_elements_stay_so(tmp_path: Path) -> None:
    refs = []
    for name in ("base", "a"):
        save_file(
            {"w.weight": torch.ones(2), "none.weight": torch.ones(0, 3)}, path := tmp_path / f"{name}.safetensors"
        )
        refs.append(ModelRef(id=name, name=name, path=str(path)))
    recipe = replace(Recipe(base=refs[0], experts=(refs[1],)), method="ties")
    assert merged_state(make_plan(recipe, open_inputs(recipe)))["none.weight"].shape == (0, 3)
