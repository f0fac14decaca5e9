"""Mergekit's YAML: real-world configurations, the numbers of mergekit itself, round trips, hostile files."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from engine.errors import BadRecipe, MixdownError, NotEnoughExperts, UnknownMethod
from engine.methods import find
from engine.recipe.mergekit import Imported, export_mergekit, import_mergekit, load_mergekit, save_mergekit
from engine.recipe.mergekit_models import assumed_layout
from engine.recipe.mergekit_rules import coefficients, rules_for
from engine.recipe.mergekit_table import METHODS
from engine.recipe.mergekit_words import says, words
from engine.recipe.project import load_project, save_project
from engine.recipe.recipe import ModelRef, Recipe, Rule

GOLDEN = Path(__file__).resolve().parent.parent / "golden"

TIES = """
models:
  - model: psmathur/orca_mini_v3_13b
    parameters:
      density: [1, 0.7, 0.1] # density gradient
      weight: 1.0
  - model: garage-bAInd/Platypus2-13B
    parameters:
      density: 0.5
      weight: [0, 0.3, 0.7, 1] # weight gradient
  - model: WizardLM/WizardMath-13B-V1.0
    parameters:
      density: 0.33
      weight:
        - filter: mlp
          value: 0.5
        - value: 0
merge_method: ties
base_model: TheBloke/Llama-2-13B-fp16
parameters:
  normalize: true
  int8_mask: true
dtype: float16
"""
SLERP = """
slices:
  - sources:
      - {model: psmathur/orca_mini_v3_13b, layer_range: [0, 40]}
      - {model: garage-bAInd/Platypus2-13B, layer_range: [0, 40]}
merge_method: slerp
base_model: psmathur/orca_mini_v3_13b
parameters:
  t:
    - filter: self_attn
      value: [0, 0.5, 0.3, 0.7, 1]
    - filter: mlp
      value: [1, 0.5, 0.7, 0.3, 0]
    - value: 0.5 # fallback for rest of tensors
dtype: float16
"""
FRANKEN = """
slices:
  - sources: [{model: org/a, layer_range: [0, 16]}]
  - sources: [{model: org/b, layer_range: [8, 24]}]
merge_method: passthrough
dtype: bfloat16
"""


def read(text: str, folder: Path) -> Imported:
    return import_mergekit(text.encode(), folder)


def told(found: Imported, severity: str) -> list[str]:
    return [f"{f.code} {f.message}" for f in found.findings if f.severity == severity]


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    """A base and experts a, b, c of four layers, and their folder."""
    rng = np.random.default_rng(0)
    names = list(assumed_layout(4).places)
    base = {n: rng.normal(0, 1, (4, 4) if "norm" not in n else (4,)).astype(np.float32) for n in names}
    for who in ("base", "a", "b", "c"):
        change = {n: (w + (who != "base") * rng.normal(0, 0.1, w.shape)).astype(np.float32) for n, w in base.items()}
        (tmp_path / who).mkdir()
        (tmp_path / who / "config.json").write_text(json.dumps({"model_type": "llama"}))
        save_file(change, tmp_path / who / "model.safetensors", metadata={"format": "pt"})
    return tmp_path


def config(method: str, models: Sequence[str], settings_: dict[str, Any] | None = None, **top: Any) -> str:
    listed = [{"model": m, **({"parameters": settings_} if settings_ else {})} for m in models]
    return yaml.safe_dump({"models": listed, "merge_method": method, "base_model": "base", **top})


# -- what the documentation's examples mean --------------------------------------------------------------


def test_the_documented_ties_example_without_its_models(tmp_path: Path) -> None:
    got = read(TIES, tmp_path)
    recipe = got.recipe
    assert recipe.method == "ties" and recipe.dtype == "F16"
    assert [e.name for e in recipe.experts] == ["orca_mini_v3_13b", "Platypus2-13B", "WizardMath-13B-V1.0"]
    params = find("ties").complete(dict(recipe.params))
    assert (params["trim"], params["trim_scope"], params["zero_sum"]) == ("count", "tensor", "positive")
    assert params["merge"] == "weighted" and params["scale"] == 1.0
    lost = " ".join(told(got, "warning"))
    assert (params["density"], params["density@Platypus2-13B"]) == (0.6, 0.5)
    assert params["density@WizardMath-13B-V1.0"] == 0.33
    for what in ("Gradients need the number of layers", "not on this machine"):
        assert what in lost, lost
    row = coefficients(recipe, assumed_layout(2), np.nan)
    names = list(assumed_layout(2).places)
    mlp = names.index("model.layers.1.mlp.up_proj.weight")
    attn = names.index("model.layers.1.self_attn.q_proj.weight")
    assert row[:, mlp].tolist() == [1.0, 0.5, 0.5] and row[:, attn].tolist() == [1.0, 0.5, 0.0]


def test_the_documented_slerp_example_and_its_way_back(tmp_path: Path) -> None:
    got = read(SLERP, tmp_path)
    assert not told(got, "error")
    layout, curve = assumed_layout(40), [0, 0.5, 0.3, 0.7, 1]
    row = coefficients(got.recipe, layout, np.nan)[0]
    for i, name in enumerate(layout.places):
        if ".layers." not in name or "norm" in name:
            assert row[i] == 0.5, name
        else:
            want = np.interp(int(name.split(".")[2]) / 39, np.linspace(0, 1, 5), curve)
            assert row[i] == pytest.approx(want if "self_attn" in name else np.interp(
                int(name.split(".")[2]) / 39, np.linspace(0, 1, 5), [1, 0.5, 0.7, 0.3, 0]), abs=1e-12)  # fmt: skip
    back = yaml.safe_load(export_mergekit(got.recipe, layout).text)
    assert back["parameters"]["t"] == yaml.safe_load(SLERP)["parameters"]["t"]
    assert (back["base_model"], back["dtype"]) == ("psmathur/orca_mini_v3_13b", "float16")


def test_restacked_layers_are_read_and_written_without_the_models(tmp_path: Path) -> None:
    got = read(FRANKEN, tmp_path)
    assert not told(got, "error") and got.recipe.method == "passthrough"
    assert [(s.sources[0].model, s.sources[0].first, s.count) for s in got.recipe.stack] == [
        ("e1", 0, 16), ("e2", 8, 16)]  # fmt: skip
    back = yaml.safe_load(export_mergekit(got.recipe).text)
    assert back == yaml.safe_load(FRANKEN)


def test_slices_in_place_take_each_layer_from_its_model(llama: Path) -> None:
    text = FRANKEN.replace("org/a", "a").replace("org/b", "b").replace("[0, 16]", "[0, 2]").replace("[8, 24]", "[2, 4]")
    got = read(text.replace("bfloat16", "float32"), llama)
    assert not told(got, "error") and got.recipe.method == "linear"
    merged, a, b = run(got.recipe), weights(llama, "a"), weights(llama, "b")
    for name, value in merged.items():
        late = name in ("model.norm.weight", "lm_head.weight") or any(f"layers.{i}." in name for i in (2, 3))
        assert value.tobytes() == (b if late else a)[name].tobytes(), name


def test_slices_that_drop_layers_are_a_stack(llama: Path) -> None:
    text = "slices: [{sources: [{model: a, layer_range: [0, 3]}]}]\nmerge_method: passthrough"
    got = read(text, llama)
    assert not told(got, "error") and got.recipe.stack
    merged, a = run(got.recipe), weights(llama, "a")
    assert merged.keys() == {name for name in a if "layers.3." not in name}
    assert all(value.tobytes() == a[name].tobytes() for name, value in merged.items())


def test_everything_that_is_not_expressed_is_listed(llama: Path) -> None:
    text = config("ties", ["a+lora", "b@main", "b"], {"weight": 1, "odd": 3}, parameters={"int8_mask": True},
                  tokenizer_source="union", chat_template="chatml", surprise=1, dtype="bfloat16")  # fmt: skip
    got = read(text, llama)
    everything = " ".join(f"{f.severity} {f.code} {f.message}" for f in got.findings)
    for what in ("LoRA", "revision 'main'", "listed twice", "parameter 'odd'", "Without effect here", "surprise",
                 "tokenizer_source is kept", "chat_template is kept", "calculates in bfloat16"):  # fmt: skip
        assert what in everything, what
    back = yaml.safe_load(export_mergekit(got.recipe).text)
    assert (back["tokenizer_source"], back["chat_template"], back["dtype"]) == ("union", "chatml", "bfloat16")


def test_nested_scopes_and_exact_tensor_values(llama: Path) -> None:
    weight = [{"filter": "q_proj", "value": 0.9}, {"filter": "layers.2.mlp", "value": [0.0, 1.0]}]
    text = config("task_arithmetic", ["a"], {"weight": weight}, parameters={"weight": 0.25, "lambda": "5e-1"})
    recipe = read(text, llama).recipe
    layout = assumed_layout(4)
    got = dict(zip(layout.places, coefficients(recipe, layout, np.nan)[0], strict=True))
    assert {n for n, v in got.items() if v == 0.9} == {n for n in got if "q_proj" in n}
    assert {v for n, v in got.items() if "layers.2.mlp" in n} == {2 / 3}
    assert got["lm_head.weight"] == 0.25 and dict(recipe.params)["scale"] == 0.5


# -- the numbers of mergekit itself ----------------------------------------------------------------------


def weights(root: Path, who: str) -> dict[str, np.ndarray]:
    return dict(load_file(root / who / "model.safetensors"))


def run(recipe: Recipe) -> dict[str, np.ndarray]:
    from engine.merge.inputs import open_inputs
    from engine.merge.plan import make_plan
    from engine.merge.run import merged_state
    from engine.progress import Silent

    merged = merged_state(make_plan(recipe, open_inputs(recipe)), Silent())
    return {name: tensor.numpy() for name, tensor in merged.items()}


def cases() -> list[dict[str, Any]]:
    listed = json.loads((GOLDEN / "manifest.json").read_text())["cases"]
    return [c for c in listed if c["method"].startswith("mergekit:") and c["params"].get("seed") is None
            and c["inputs"] in ("A", "ATV") and "parameters" in c["params"]
            and "keep0" not in str(c["outputs"])]  # fmt: skip


@pytest.mark.parametrize("case", cases(), ids=lambda c: c["id"])
def test_a_configuration_gives_mergekits_own_numbers(case: dict[str, Any], tmp_path: Path) -> None:
    arrays = load_file(GOLDEN / "inputs" / f"{case['inputs']}.safetensors")
    asked = case["params"]
    for who in {key.partition("/")[0] for key in arrays}:
        (tmp_path / who).mkdir()
        part = {k.partition("/")[2]: v for k, v in arrays.items() if k.startswith(f"{who}/")}
        save_file(part, tmp_path / who / "model.safetensors")
    each = {k: v for k, v in asked["parameters"].items() if isinstance(v, dict)}
    shared = {k: v for k, v in asked["parameters"].items() if not isinstance(v, dict)}
    method = case["method"].partition(":")[2]
    experts = [w for w in sorted({k.partition("/")[0] for k in arrays}) if w != "base"]
    models = [{"model": experts[i], "parameters": {k: v[f"m{i}"] for k, v in each.items()}} for i in asked["models"]]
    data = {
        "models": models,
        "merge_method": method,
        "parameters": shared,
        **({"base_model": "base"} if asked["base"] else {}),
    }
    got = read(yaml.safe_dump(data), tmp_path)
    assert not told(got, "error") and not told(got, "warning"), got.findings
    merged, want = run(got.recipe), load_file(GOLDEN / case["file"])
    for name in want:
        np.testing.assert_allclose(merged[name], want[name], rtol=0, atol=1e-5 * abs(want[name]).max(), err_msg=name)


# -- round trips -----------------------------------------------------------------------------------------

PARAMS: dict[str, dict[str, Any]] = {
    "slerp": {"t": [0.1, 0.9]}, "nearswap": {"t": 0.01}, "sce": {"select_topk": 0.3}, "ties": {"density": 0.4},
    "nuslerp": {"nuslerp_flatten": False}, "della": {"density": 0.6, "epsilon": 0.1}, "karcher": {"max_iter": 20},
    "breadcrumbs": {"gamma": 0.02, "rescale": True}, "dare_ties": {"density": 0.6, "normalize": True},
}  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
def test_every_method_of_mergekit_comes_back_the_same(method: str, llama: Path) -> None:
    assert METHODS[method].missing() == ""
    most = METHODS[method].models[1]
    models = ["a", "b", "c"][: most or 3]
    weight = {"weight": [{"filter": "mlp", "value": [0.25, 0.5, 1]}, {"value": 0.75}]}
    each = weight if METHODS[method].fader == "weight" else None
    base = {} if METHODS[method].everyone else {"base_model": "base"}
    data = {"models": [{"model": m, **({"parameters": each} if each else {})} for m in models], "merge_method": method,
            "parameters": PARAMS.get(method, {}), **base, "dtype": "bfloat16"}  # fmt: skip
    first = read(yaml.safe_dump(data), llama)
    assert not told(first, "error") and not told(first, "warning"), first.findings
    made = export_mergekit(first.recipe)
    assert all(f.severity == "info" for f in made.findings), made.findings
    again = yaml.safe_load(made.text)
    assert again["merge_method"] == method and again.get("parameters", {}).keys() == PARAMS.get(method, {}).keys()
    assert read(made.text, llama).recipe == first.recipe


NAMES = list(assumed_layout(4).places)
STEPS = st.sampled_from([0.0, -1.0, 0.3, 1 / 3, 0.7])


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, min_size=len(NAMES), max_size=len(NAMES)), st.sampled_from([1, 3, 9, 0]))
def test_any_coefficients_survive_rules_and_words(values: list[float], period: int) -> None:
    layout = assumed_layout(4)
    wanted = {name: values[i % period] if period else values[i] for i, name in enumerate(NAMES)}
    recipe = Recipe(experts=(ModelRef(id="e1", name="a", path="/a"),), rules=tuple(rules_for("e1", wanted, layout)))
    assert dict(zip(NAMES, coefficients(recipe, layout, np.nan)[0], strict=True)) == wanted
    assert says(words(wanted, layout), wanted, layout)


def test_faders_of_the_desk_are_written_in_few_words(llama: Path) -> None:
    recipe = read(config("task_arithmetic", ["a", "b", "c"], {"weight": 0.3}), llama).recipe
    recipe = recipe.with_rules([Rule(expert="e1", kind="attn", value=0.9), Rule(layer="2", value=0.1)])
    recipe = recipe.with_gain("e2", 2.0).with_muted("e3", True)
    made = export_mergekit(recipe)
    first, second = yaml.safe_load(made.text)["models"]
    assert first["parameters"]["weight"] == [{"filter": "self_attn", "value": [0.9, 0.9, 0.1, 0.9]},
                                             {"value": [0.3, 0.3, 0.1, 0.3]}]  # fmt: skip
    assert second["parameters"]["weight"] == [0.6, 0.6, 0.2, 0.6]
    assert [f.message for f in made.findings if "silent" in f.message] == ["c is silent and was left out."]


def test_what_mergekit_cannot_say_is_listed_or_refused(llama: Path, tmp_path: Path) -> None:
    ties = read(config("ties", ["a"], {"weight": 1}), llama).recipe.with_param("trim_scope", "global")
    lost = [f.code for f in export_mergekit(ties.with_param("merge", "mean")).findings if f.severity == "warning"]
    assert lost == ["mergekit:parameters.merge", "mergekit:parameters.trim_scope"]
    with pytest.raises(UnknownMethod, match="no counterpart"):
        export_mergekit(ties.with_method("consensus"))
    with pytest.raises(NotEnoughExperts, match="silent"):
        export_mergekit(ties.with_muted("e1", True))


def test_files_and_the_record_in_a_project(llama: Path) -> None:
    (llama / "in.yaml").write_text(config("linear", ["a", "b"], {"weight": 1}, tokenizer_source="union"))
    recipe = load_mergekit(llama / "in.yaml").recipe
    save_project(recipe, llama / "mix.mixdown")
    loaded = load_project(llama / "mix.mixdown")
    assert loaded == recipe and ("mergekit.tokenizer_source", "union") in loaded.extras
    save_mergekit(loaded, llama / "out.yaml")
    assert load_mergekit(llama / "out.yaml").recipe.rules == recipe.rules


def test_a_hub_name_stays_with_its_model(tmp_path: Path) -> None:
    recipe = read(config("linear", ["org/one", "org/two"], {"weight": 1}), tmp_path).recipe
    changed = recipe.without_expert("e1").with_expert(ModelRef(id="e1", name="mine", path="/models/mine"))
    listed = [m["model"] for m in yaml.safe_load(export_mergekit(changed, assumed_layout(1)).text)["models"]]
    assert listed == ["org/two", "/models/mine"]


# -- files from strangers --------------------------------------------------------------------------------

LAUGHS = "a: &a [x, x]\n" + "".join(
    f"{c}: &{c} [{', '.join(['*' + p] * 9)}]\n" for p, c in zip("abcdefg", "bcdefgh", strict=True)
)
HOSTILE = {
    "python object": "merge_method: !!python/object/apply:os.system ['echo hacked']",
    "python name": "merge_method: !!python/name:os.system ''",
    "laughs": LAUGHS,
    "many aliases": "a: &a 1\nb: [" + ", ".join(["*a"] * 100) + "]",
    "cycle": "models: &a [*a]\nmerge_method: linear",
    "deep": "[" * 5000,
    "deep tables": "\n".join("  " * i + "a:" for i in range(40)),
    "duplicate key": "merge_method: linear\nmerge_method: ties",
    "nan": "merge_method: linear\nmodels: [{model: a, parameters: {weight: .nan}}]",
    "infinity": "merge_method: linear\nmodels: [{model: a, parameters: {weight: 1e999}}]",
    "huge integer": "merge_method: linear\nmodels: [{model: a, parameters: {weight: " + "9" * 6000 + "}}]",
    "date": "merge_method: 2026-01-01",
    "binary": "merge_method: !!binary aGVsbG8=",
    "set": "merge_method: !!set {a, b}",
    "number keys": "1: 2",
    "list key": "? [a, b]\n: c",
    "two documents": "merge_method: linear\n---\nmerge_method: ties",
    "empty": "",
    "text": "hello",
    "not utf-8": b"\xff\xfe\x00",
    "too large": "a: " + "x" * 1_100_000,
    "too many entries": "a: [" + "1," * 150_000 + "]",
    "tab": "a:\n\t- b",
    "no method": "models: [{model: a}]",
    "models no list": "merge_method: linear\nmodels: a",
    "model no table": "merge_method: linear\nmodels: [a]",
    "both": "merge_method: linear\nmodels: [{model: a}]\nslices: []",
    "bad range": "merge_method: passthrough\nslices: [{sources: [{model: a, layer_range: [0, 99999999]}]}]",
    "too many layers": "merge_method: passthrough\nslices: ["
    + "{sources: [{model: a, layer_range: [0, 999]}]}," * 9
    + "]",
    "bad weight": "merge_method: linear\nmodels: [{model: a, parameters: {weight: {value: {x: 1}}}}]",
    "bad switch": "merge_method: linear\nmodels: [{model: a, parameters: {weight: 1}}]\nparameters: {normalize: maybe}",
    "bad dtype": "merge_method: linear\nmodels: [{model: a, parameters: {weight: 1}}]\ndtype: int3",
    "out of range": "merge_method: nearswap\nbase_model: b\nmodels: [{model: a}]\nparameters: {t: 1e6}",
    "no such method": "merge_method: magic\nmodels: [{model: a}]",
    "zero byte in a path": 'merge_method: linear\nmodels: [{model: "a\\0b", parameters: {weight: 1}}]',
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_and_broken_files_are_refused_in_plain_words(name: str, tmp_path: Path) -> None:
    text = HOSTILE[name]
    with pytest.raises(BadRecipe) as caught:
        import_mergekit(text if isinstance(text, bytes) else text.encode(), tmp_path, where="stranger.yaml")
    assert "stranger.yaml" in caught.value.where and caught.value.message


@settings(max_examples=60, deadline=None)
@given(st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["models", "model", "slices", "sources", "layer_range", "parameters", "weight", "value", "filter", "modules",
         "merge_method", "base_model", "dtype", "tokenizer_source"]), inner, max_size=5),
    max_leaves=12,
))  # fmt: skip
def test_nonsense_never_crashes(data: Any) -> None:
    table = {
        "merge_method": "ties",
        "models": [{"model": "a"}],
        **(data if isinstance(data, dict) else {"models": data}),
    }
    with contextlib.suppress(MixdownError):
        import_mergekit(yaml.safe_dump(table).encode(), Path("/nonexistent"))
