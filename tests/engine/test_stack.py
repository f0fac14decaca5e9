"""Recipes that restack layers: what is refused and how it is said, configurations, caches, files that come back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file, save_file

from engine.bundle.compress import compress
from engine.errors import BadRecipe, MixdownError, NotEnoughExperts
from engine.export.beside import small_files
from engine.export.options import ExportOptions
from engine.files.layout import describe
from engine.files.model import TensorInfo
from engine.files.restack import numbered, restacked_config
from engine.merge.inputs import open_inputs
from engine.merge.plan import make_plan
from engine.merge.recall import sketch_keys
from engine.merge.run import merged_state
from engine.recipe.mergekit import Imported, export_mergekit, import_mergekit
from engine.recipe.project import from_json, load_project, save_project, to_json
from engine.recipe.recipe import Recipe
from engine.recipe.stack import Slice, Source, outer, words


def model(path: Path, layers: int, width: int = 4, vocabulary: int = 6, **config: object) -> None:
    """A tiny model: w and a bias a layer, embeddings, norm and head; every value tells where it is from."""
    path.mkdir(parents=True)
    seed = np.random.default_rng(len(path.name) * 100 + layers)
    tensors = {f"model.layers.{i}.mlp.up_proj.weight": seed.normal(size=(width, width)) for i in range(layers)}
    tensors |= {f"model.layers.{i}.self_attn.q_proj.weight": seed.normal(size=(width, width)) for i in range(layers)}
    tensors |= {"model.embed_tokens.weight": seed.normal(size=(vocabulary, width)),
                "model.norm.weight": seed.normal(size=width),
                "lm_head.weight": seed.normal(size=(vocabulary, width))}  # fmt: skip
    save_file({k: v.astype(np.float32) for k, v in tensors.items()}, path / "model.safetensors")
    (path / "config.json").write_text(json.dumps({"model_type": "llama", "num_hidden_layers": layers, **config}))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Models a (4 layers), b (6) and base (4) of one width; wide is wider."""
    for name, layers in (("a", 4), ("bb", 6), ("base", 4)):
        model(tmp_path / name, layers)
    model(tmp_path / "wide", 4, width=8)
    model(tmp_path / "words", 4, vocabulary=9)
    return tmp_path


def slices(*parts: list[tuple[str, int, int]], method: str = "passthrough", **top: object) -> str:
    """A configuration; a source is (model, first layer, one behind the last)."""
    listed = [{"sources": [{"model": m, "layer_range": [i, j]} for m, i, j in part]} for part in parts]
    return yaml.safe_dump({"slices": listed, "merge_method": method, **top})


def read(text: str, home: Path) -> Imported:
    return import_mergekit(text.encode(), home)


def recipe(text: str, home: Path) -> Recipe:
    got = read(text, home)
    got.refuse_errors()
    return got.recipe


FRANKEN = slices([("a", 0, 3)], [("bb", 2, 6)])


# -- what is refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "said"), {
    "range outside": (slices([("a", 0, 3)], [("a", 2, 6)]), r"Layer 5 is wanted, but a has the layers 0 to 3"),
    "other lengths": (slices([("a", 0, 3), ("bb", 0, 2)], method="linear"), "same number of layers"),
    "twice in a slice": (slices([("a", 0, 2), ("a", 1, 3)], method="linear"), "a is a source of this slice twice"),
    "two in passthrough": (slices([("a", 0, 2), ("bb", 1, 3)]), "takes 1 model in each slice; here are 2"),
    "base absent": (slices([("a", 1, 3)], method="task_arithmetic", base_model="base",
                           parameters={"weight": 1}), "base is the base of this slice but not one of its sources"),
    "no base": (slices([("a", 1, 3)], method="ties", parameters={"weight": 1}), "There is no base"),
    "backwards": (slices([("a", 3, 1)]), "two whole numbers"),
}.values())  # fmt: skip
def test_what_mergekit_refuses_is_refused_in_words(text: str, said: str, home: Path) -> None:
    with pytest.raises(BadRecipe, match=said):
        recipe(text, home)


@pytest.mark.parametrize(("text", "said"), {
    "width": (slices([("a", 0, 3)], [("wide", 2, 4)]), r"wide has shape \[8, 8\] where a has \[4, 4\]"),
    "vocabulary": (slices([("a", 0, 3)], [("words", 2, 4)]), r"words has shape \[9, 4\] where a has \[6, 4\]"),
}.values())  # fmt: skip
def test_models_of_other_widths_are_not_stacked(text: str, said: str, home: Path) -> None:
    with pytest.raises(MixdownError, match=said):
        open_inputs(recipe(text, home))


def test_a_model_of_two_stacks_cannot_be_restacked(home: Path) -> None:
    both = {f"{side}.layers.{i}.mlp.fc1.weight": np.ones((2, 2), np.float32) for side in ("encoder", "decoder")
            for i in range(3)}  # fmt: skip
    (home / "t5").mkdir()
    save_file(both, home / "t5" / "model.safetensors")
    with pytest.raises(BadRecipe, match="does not have one plain stack of numbered layers"):
        recipe(slices([("t5", 0, 2)], [("t5", 1, 3)]), home)


def test_taking_experts_away_is_refused_slice_by_slice(home: Path) -> None:
    made = recipe(FRANKEN, home)
    with pytest.raises(BadRecipe, match="slice 2: No model is left for these layers"):
        open_inputs(made.without_expert("e2"))
    inputs = open_inputs(made)
    with pytest.raises(NotEnoughExperts, match="All sources of this tensor are silent"):
        make_plan(made.with_muted("e2", True), inputs)
    with pytest.raises(MixdownError, match="TIES needs a base in every slice of the stack"):
        make_plan(made.with_method("ties"), inputs)
    with pytest.raises(BadRecipe, match="A bundle needs layers that stay in place"):
        compress(inputs, home / "bundle.safetensors")


def test_an_expert_in_no_slice_is_said(home: Path) -> None:
    made = recipe(FRANKEN, home)
    more = made.with_expert(replace(made.experts[0], id="e9", name="third"))
    done = open_inputs(more).stacked
    assert done is not None and done.findings[0].message.startswith("third: in no slice of the stack")
    plain, with_more = (
        merged_state(make_plan(made, open_inputs(made))),
        merged_state(make_plan(more, open_inputs(more))),
    )
    assert all(np.array_equal(with_more[name], value) for name, value in plain.items())


# -- what comes out --------------------------------------------------------------------------------------


def test_bytes_names_and_ends_are_those_of_the_slices(home: Path) -> None:
    made = recipe(FRANKEN, home)
    merged = merged_state(make_plan(made, open_inputs(made)))
    a, b = (load_file(home / who / "model.safetensors") for who in ("a", "bb"))
    assert {n for n in merged if ".layers." in n} == {n for n in a | b if ".layers." in n} | {
        f"model.layers.6.{part}.weight" for part in ("mlp.up_proj", "self_attn.q_proj")}  # fmt: skip
    for name, value in merged.items():
        parts = name.split(".")
        layer = int(parts[2]) if ".layers." in name else None
        if layer is None:
            wanted = (a if "embed" in name else b)[name]
        else:
            parts[2] = str(layer if layer < 3 else layer - 1)
            wanted = (a if layer < 3 else b)[".".join(parts)]
        assert value.numpy().tobytes() == wanted.tobytes(), name


def test_the_configuration_counts_and_lists_layers(home: Path) -> None:
    names = ("a", "bb")
    for who, layers in zip(names, (4, 6), strict=True):
        config = json.loads((home / who / "config.json").read_text())
        config |= {"layer_types": [f"{who}{i}" for i in range(layers)], "layer_norm_eps": 1e-5, "vocab_size": 6}
        (home / who / "config.json").write_text(json.dumps(config))
    made = recipe(FRANKEN, home)
    plan = make_plan(made, open_inputs(made))
    files = dict(small_files(plan, {}, ExportOptions(card=False)))
    config = json.loads(files["config.json"])
    assert config["num_hidden_layers"] == 7 and config["vocab_size"] == 6
    assert config["layer_types"] == ["a0", "a1", "a2", "bb2", "bb3", "bb4", "bb5"]


def test_other_names_for_the_number_of_layers() -> None:
    picks = [(None, 0), (None, 1), (None, 1)]
    assert restacked_config({"n_layer": 2, "n_head": 2}, 2, picks) == ({"n_layer": 3, "n_head": 2}, True)
    nested = {"text_config": {"num_hidden_layers": 2}, "vision_config": {"num_hidden_layers": 2}}
    made, said = restacked_config(nested, 2, picks)
    assert said and made == {"text_config": {"num_hidden_layers": 3}, "vision_config": {"num_hidden_layers": 2}}
    assert restacked_config({"depth": 2}, 2, picks) == ({"depth": 2}, False)


def test_the_layers_number_is_told_from_other_numbers() -> None:
    names = [f"model.layers.{i}.moe.experts.{j}.w1.weight" for i in range(2) for j in range(3)]
    tensors = {name: TensorInfo(name, "F32", (1,), Path(), 0) for name in names}
    found = numbered(tensors, describe(tensors))
    made = dict(found.under([1, None, 0], before=True, after=True))
    assert made["model.layers.0.moe.experts.2.w1.weight"].name == "model.layers.1.moe.experts.2.w1.weight"
    assert made["model.layers.2.moe.experts.1.w1.weight"].name == "model.layers.0.moe.experts.1.w1.weight"
    assert len(made) == 6


def test_the_last_slice_gives_as_many_sources_to_the_head_as_the_first_has() -> None:
    one, two = Slice((Source("e1", 0),), 2), Slice((Source("e2", 0), Source("e3", 0)), 2)
    assert [s.model for s in outer((one, two), after=True).sources] == ["e2"]
    based = Slice((Source("e2", 0), Source("base", 0)), 2)
    assert outer((one, based), after=True) == based  # mergekit stops here: the base would be lost
    assert words((one, two), {"e1": "chat"}) == "chat 0–1, e2 0–1 + e3 0–1"


def test_statistics_of_other_stacks_are_not_taken_for_these(home: Path) -> None:
    def keys(first: int) -> object:
        text = slices([("base", 0, 2), ("a", first, first + 2)], method="ties", base_model="base",
                      parameters={"weight": 1, "density": 0.5})  # fmt: skip
        made = recipe(text, home)
        plan = make_plan(made, open_inputs(made))
        return sketch_keys(plan, [job for job in plan.jobs if job.is_float]), plan.keys

    assert keys(1) == keys(1) and keys(1) != keys(2)
    assert keys(1)[0] != keys(2)[0]


def test_threads_chunks_and_row_order_change_nothing(home: Path) -> None:
    text = slices([("base", 0, 2), ("a", 1, 3), ("bb", 3, 5)], [("base", 1, 3), ("bb", 0, 2)], method="della_linear",
                  base_model="base", parameters={"weight": 0.5, "density": 0.5})  # fmt: skip
    made = recipe(text, home)
    turned = made.with_order(["e2", "e1"])
    first = merged_state(make_plan(made, open_inputs(made)), threads=1)
    other = merged_state(make_plan(turned, open_inputs(turned)), threads=2, chunk=64)
    assert all(np.array_equal(other[name], value) for name, value in first.items())


def test_projects_and_yaml_keep_the_stack(home: Path) -> None:
    made = recipe(slices([("a", 0, 3)], [("a", 1, 4)], base_model="base"), home)
    assert made.base is not None and made.base.name == "base"  # gives configuration and tokenizer
    save_project(made, home / "mix.mixdown")
    assert load_project(home / "mix.mixdown") == made
    back = yaml.safe_load(export_mergekit(made).text)
    assert back["base_model"].endswith("base") and [s["sources"][0]["layer_range"] for s in back["slices"]] == [
        [0, 3], [1, 4]]  # fmt: skip
    bad = {**to_json(made), "stack": [{"sources": [{"model": "e1", "first": -1}], "count": 1}]}
    with pytest.raises(MixdownError, match="stack"):
        from_json(bad)


def test_tensors_that_the_configuration_does_not_expect_are_said(home: Path) -> None:
    path = home / "bb" / "model.safetensors"
    tensors = load_file(path)
    del tensors["lm_head.weight"]
    save_file(tensors | {"model.layers.2.mlp.up_proj.bias": np.ones(4, np.float32)}, path)
    done = open_inputs(recipe(FRANKEN, home)).stacked
    assert done is not None
    said = [f.message for f in done.findings]
    assert said == ["a, whose configuration is taken, has 1 tensor that the merged model lacks: lm_head.weight.",
                    "The merged model has 1 tensor that a, whose configuration is taken, does not know: "
                    "model.layers.3.mlp.up_proj.bias."]  # fmt: skip


def test_models_that_are_not_here_are_taken_to_be_like_those_that_are(home: Path) -> None:
    (home / "bb").rename(home / "elsewhere")
    got = read(slices([("a", 0, 3)], [("bb", 30, 33)]), home)
    assert [f.message[:26] for f in got.findings] == ["bb is not on this machine."]
    assert got.recipe.stack[1] == Slice((Source("e2", 30),), 3)
    assert yaml.safe_load(export_mergekit(got.recipe).text)["slices"][1]["sources"][0]["layer_range"] == [30, 33]
