"""What an export contains: the merged bytes, loadable by others, with proof of origin and without surprises."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from safetensors import safe_open

from engine.errors import FileProblem, NotEnoughDisk, WriteProblem
from engine.export.beside import MAX_SIDECAR
from engine.export.folder import ExportOptions, export
from engine.export.preflight import preflight
from engine.export.shards import make_shards
from engine.files.checkpoint import open_checkpoint
from engine.files.model import ITEM_BYTES
from engine.merge.inputs import open_inputs
from engine.merge.plan import make_plan
from engine.merge.run import merged_state
from tests.engine.merge_cases import CONFIG, Family, digest, family, loaded, methods, opened, save, tree

PROOF = {"app": "Mixdown 0", "experts": [{"name": "expert 0", "sha256": "ab", "rules": []}]}


@pytest.fixture
def trio(tmp_path: Path) -> Family:
    return family(tmp_path / "models")


@pytest.fixture
def in_folders(tmp_path: Path) -> Family:
    """The base as a model folder with configuration, tokenizer data and things that must not be carried along."""
    models = family(tmp_path / "models")
    folder = tmp_path / "base"
    save(models.base, folder / "model.safetensors")
    config = {
        **CONFIG,
        "auto_map": {"AutoModel": "evil--code"},
        "_name_or_path": "/home/me/x",
        "text_config": {"dtype": "float32"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text('{"version": "1.0"}')
    (folder / "tokenizer_config.json").write_text(
        '{"auto_map": {"AutoTokenizer": "evil"}, "chat_template": "' + "x" * 9000 + '"}'
    )
    (folder / "generation_config.json").write_text("not json")
    (folder / "modeling_evil.py").write_text("raise SystemExit")
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    return replace(models, recipe=models.recipe.with_base(replace(models.recipe.base, path=str(folder))))


@pytest.mark.parametrize("method", methods())
def test_exported_bytes_are_the_merged_state(method: str, trio: Family, tmp_path: Path) -> None:
    plan = trio.with_method(method).plan
    done = export(plan, tmp_path / "out.safetensors", threads=2)
    assert digest(loaded(done.path)) == digest(merged_state(plan, threads=1))
    assert done.bytes == done.path.stat().st_size
    assert done.files == (done.path,)


def test_equal_merges_give_equal_files(in_folders: Family, tmp_path: Path) -> None:
    recipe = in_folders.with_method("ties").recipe
    turned = recipe.with_order([e.id for e in reversed(recipe.experts)])
    for name, chosen, threads in (("a", recipe, 1), ("b", turned, 3)):
        export(
            make_plan(chosen, replace(in_folders, recipe=chosen).inputs),
            tmp_path / name,
            provenance=PROOF,
            threads=threads,
        )
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    assert str(tmp_path).encode() not in b"".join(tree(tmp_path / "a").values()), "a path of this machine got out"


def test_only_data_is_carried_along(in_folders: Family, tmp_path: Path) -> None:
    plan = make_plan(replace(in_folders.recipe, dtype="F16"), in_folders.inputs)
    done = export(plan, tmp_path / "out")
    assert sorted(f.name for f in done.files) == ["README.md", "config.json", "manifest.json", "model.safetensors",
                                                  "tokenizer.json", "tokenizer_config.json"]  # fmt: skip
    assert sorted(f.name for f in done.files) == sorted(p.name for p in (tmp_path / "out").iterdir())
    assert done.bytes == sum(f.stat().st_size for f in done.files)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config == {**CONFIG, "torch_dtype": "float16", "text_config": {"dtype": "float16"}}
    tokenizer = json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())
    assert tokenizer == {"chat_template": "x" * 9000}
    bare = export(plan, tmp_path / "bare", options=ExportOptions(card=False, sidecars=False))
    assert [f.name for f in bare.files] == ["model.safetensors", "manifest.json"]


def test_shards_are_readable_by_others_and_again_by_us(trio: Family, tmp_path: Path) -> None:
    plan = trio.with_method("task_arithmetic").plan
    done = export(plan, tmp_path / "out", options=ExportOptions(shard_bytes=30_000), provenance=PROOF)
    weights = [f for f in done.files if f.suffix == ".safetensors"]
    assert len(weights) > 2
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    assert {name: index["weight_map"][name] for name in index["weight_map"]} == {
        name: file.name
        for file in weights
        for name in safe_open(file, "pt").keys()  # noqa: SIM118  # a safetensors file is no mapping
    }
    for file in weights:
        metadata = safe_open(file, "pt").metadata()
        told = json.loads(metadata.pop("mixdown"))
        assert set(told.pop("tree")) == {"block", "hash", "leaves", "root"}
        assert metadata == {"format": "pt"} and told == PROOF
    assert digest(loaded(tmp_path / "out")) == digest(merged_state(plan, threads=1))
    again = opened(tmp_path / "out")
    assert set(again.tensors) == set(trio.base) and not again.warnings


def test_a_shard_that_is_exactly_full_is_one_shard(trio: Family) -> None:
    plan = trio.with_method("task_arithmetic", 0.4).plan
    assert len(make_shards(plan, {}, limit=plan.bytes_out)) == 1
    assert len(make_shards(plan, {}, limit=plan.bytes_out - 1)) == 2


def test_transformers_loads_a_sharded_export(tmp_path: Path) -> None:
    from transformers import AutoModel, LlamaConfig, LlamaModel

    config = LlamaConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
                         num_key_value_heads=2, vocab_size=100)  # fmt: skip
    torch.manual_seed(0)
    LlamaModel(config).save_pretrained(tmp_path / "base")
    LlamaModel(config).save_pretrained(tmp_path / "expert")
    models = family(tmp_path / "unused", 1)
    recipe = models.recipe.with_base(replace(models.recipe.base, path=str(tmp_path / "base")))
    recipe = recipe.with_replaced(replace(recipe.experts[0], path=str(tmp_path / "expert")))
    plan = replace(models, recipe=recipe).with_method("task_arithmetic", 0.5, scale=1.0).plan
    export(plan, tmp_path / "out", options=ExportOptions(shard_bytes=20_000))
    assert (tmp_path / "out" / "model.safetensors.index.json").exists()
    model, report = AutoModel.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert digest(dict(model.state_dict())) == digest(merged_state(plan, threads=1))


def test_odd_shapes_and_dtypes_stay_aligned(tmp_path: Path) -> None:
    state = {
        "a.flag": torch.tensor([True, False, True]),
        "b.wide": torch.tensor([1.5], dtype=torch.float64),
        "c.empty": torch.zeros(0, 4),
        "d.byte": torch.arange(3, dtype=torch.uint8),
        "e.half": torch.ones(3, dtype=torch.float16),
        "f.small": torch.ones(5).to(torch.float8_e4m3fn),
    }
    models = family(tmp_path / "models", 1)
    for ref in (models.recipe.base, models.recipe.experts[0]):
        save(state, Path(ref.path))
    done = export(models.with_method("task_arithmetic", 0.5).plan, tmp_path / "out.safetensors")
    assert digest(loaded(done.path)) == digest(state)
    assert all(info.start % ITEM_BYTES[info.dtype] == 0 for info in opened(done.path).tensors.values())


def test_names_are_never_interpreted(trio: Family, tmp_path: Path) -> None:
    evil = '"]\ntags: [owned]\n---\n<img src=x onerror=alert(1)> [a](http://b.c) `x` | y\u202e https://d.e'
    recipe = trio.recipe.with_replaced(replace(trio.recipe.experts[0], name=evil))
    recipe = recipe.with_base(replace(recipe.base, name="# base *bold* \\"))
    export(
        make_plan(recipe, replace(trio, recipe=recipe).inputs), tmp_path / "out", provenance={"base": {"name": evil}}
    )
    card = (tmp_path / "out" / "README.md").read_text()
    _, head, body = card.split("---\n", 2)
    parsed = yaml.safe_load(head)
    assert parsed["tags"] == ["merge", "mixdown"]
    assert len(parsed["base_model"]) == 4 and "# base *bold* \\" in parsed["base_model"]
    assert not re.search(r"(?<!\\)[<\[`*]\w|\w://", body.replace("`mixdown`", "")), "Markdown would interpret a name"
    assert all(line.count(" | ") == 2 for line in body.splitlines() if line.startswith("| ") and "img" in line)


def test_preflight_is_quick_and_says_what_is_in_the_way(in_folders: Family, tmp_path: Path) -> None:
    plan = make_plan(replace(in_folders.recipe, dtype="F8_E5M2"), in_folders.inputs)
    start = time.thread_time()
    seen = preflight(plan, tmp_path / "new" / "out")
    assert time.thread_time() - start < 0.05
    assert seen.is_ready and [(f.code, f.severity) for f in seen.findings] == [("dtype", "warning")]
    assert plan.bytes_out < seen.bytes_out < plan.bytes_out + 2_000_000 < seen.free_bytes
    assert 0 < seen.forecast_s < 5 and seen.peak_memory_bytes > 100e6
    assert not (tmp_path / "new").exists()

    export(plan, tmp_path / "out")
    assert [f.code for f in preflight(plan, tmp_path / "out").findings] == ["exists", "dtype"]
    assert preflight(plan, tmp_path / "out", ExportOptions(replace=True)).is_ready
    (tmp_path / "out" / "my notes.txt").write_text("mine")
    for target, code in (
        (tmp_path / "out", "foreign"),
        (tmp_path / "base", "inside-input"),
        (tmp_path / "base" / "merged", "inside-input"),
        (tmp_path, "inside-input"),
        (tmp_path / "models" / "expert1.safetensors", "inside-input"),
        (tmp_path / ("n" * 201), "name"),
        (tmp_path / "base" / "config.json" / "x", "inside-input"),
        (tmp_path / "out" / "README.md" / "x", "read-only"),
    ):
        found = preflight(plan, target, ExportOptions(replace=True))
        assert code in [f.code for f in found.findings if f.severity == "error"], target
        with pytest.raises((WriteProblem, NotEnoughDisk)):
            export(plan, target, options=ExportOptions(replace=True))
    assert (tmp_path / "out" / "my notes.txt").exists() and open_checkpoint(tmp_path / "base").tensors


def test_replacing_leaves_nothing_of_the_old_shards(trio: Family, tmp_path: Path) -> None:
    plan = trio.plan
    export(plan, tmp_path / "out", options=ExportOptions(shard_bytes=20_000))
    done = export(plan, tmp_path / "out", options=ExportOptions(replace=True))
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(f.name for f in done.files)
    assert len([f for f in done.files if f.suffix == ".safetensors"]) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["models", "out"]


def test_a_huge_tokenizer_is_refused_before_the_merge(in_folders: Family, tmp_path: Path) -> None:
    """Only its size is looked at."""
    base = Path(in_folders.recipe.base.path)  # type: ignore[union-attr]  # it has one
    with (base / "tokenizer.json").open("wb") as file:
        file.truncate(MAX_SIDECAR + 1)
    inputs = open_inputs(in_folders.recipe)
    started = time.thread_time()
    with pytest.raises(FileProblem, match="tokenizer") as caught:
        export(make_plan(in_folders.recipe, inputs), tmp_path / "out")
    assert caught.value.hint and time.thread_time() - started < 1 and not (tmp_path / "out").exists()
