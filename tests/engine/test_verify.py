"""verify: every flipped byte is found and named, and exports are merged again bit by bit from their inputs."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from app.cli_trust import made_with
from app.workbench import hashed, provenance
from engine.errors import BadProject, MixdownError
from engine.export.folder import ExportOptions, export
from engine.export.manifest import changed_manifest
from engine.export.reproduce import reproduce
from engine.export.tree import BLOCK, Leaves
from engine.export.verify import check_files
from engine.files.header import read_header
from engine.merge.inputs import open_inputs
from engine.merge.plan import make_plan
from engine.methods import find
from engine.recipe.provenance import made_by, read, to_recipe
from engine.recipe.recipe import Recipe, Rule
from tests.engine.merge_cases import Family, family, save


@pytest.fixture
def trio(tmp_path: Path) -> Family:
    return family(tmp_path / "models", experts=2)


def exported(made: Family, out: Path, recipe: Recipe | None = None, **options: int) -> Path:
    """An export with all that the program tells about its origin."""
    recipe = recipe or made.recipe
    inputs = open_inputs(recipe)
    now = hashed(recipe, inputs)
    plan = make_plan(now, inputs)
    return export(plan, out, options=ExportOptions(**options), provenance=provenance(now), threads=2).path


def flips(model: Path, count: int, seed: int = 5) -> None:
    """Flip single bytes all over a model; each must be found, and the right tensor named."""
    rng, files = random.Random(seed), sorted(p for p in model.iterdir() if p.name != "README.md")
    weights = [p for p in files if p.suffix == ".safetensors"]
    for number in range(count):
        path = rng.choice(weights) if number % 4 else rng.choice(files)
        data = bytearray(path.read_bytes())
        place, mask = rng.randrange(len(data)), rng.randrange(1, 256)
        wanted = ""
        if path in weights:
            wanted = next((t.name for t in read_header(path).tensors.values()
                           if t.start <= place < t.start + t.size_bytes), "")  # fmt: skip
        path.write_bytes(bytes([*data[:place], data[place] ^ mask, *data[place + 1 :]]))
        found = check_files(model)
        path.write_bytes(data)
        assert [d for d in found.damage if d.file == path.name], (path.name, place, mask)
        if wanted:
            assert [(d.tensor, d.block) for d in found.damage] == [(wanted, 0)], (place, mask)


def test_sixty_flips(trio: Family, tmp_path: Path) -> None:
    model = exported(trio, tmp_path / "out", shard_bytes=30_000)
    assert check_files(model).is_intact
    flips(model, 60)
    assert check_files(model).is_intact


@pytest.mark.soak
def test_a_thousand_flips(trio: Family, tmp_path: Path) -> None:
    flips(exported(trio, tmp_path / "out", shard_bytes=30_000), 1000, seed=9)


def test_flips_in_one_file_without_a_manifest(trio: Family, tmp_path: Path) -> None:
    folder = tmp_path / "single"
    exported(trio, folder / "m.safetensors")
    rng, path = random.Random(1), folder / "m.safetensors"
    data = path.read_bytes()
    first = min(t.start for t in read_header(path).tensors.values())
    for _ in range(30):
        place = rng.randrange(first)
        path.write_bytes(bytes([*data[:place], data[place] ^ rng.randrange(1, 256), *data[place + 1 :]]))
        assert not check_files(path).is_intact, place
    path.write_bytes(data)
    assert check_files(path).is_intact


def test_blocks_are_named(tmp_path: Path) -> None:
    state = {"big": torch.zeros(3 * BLOCK // 4 + 5)}
    made = family(tmp_path / "models", experts=1)
    path = save(state, tmp_path / "big.safetensors")
    recipe = Recipe(experts=(replace(made.recipe.experts[0], path=str(path)),), method="linear")
    model = exported(made, tmp_path / "out", recipe)
    weights = model / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    data[read_header(weights).tensors["big"].start + BLOCK + 7] ^= 1
    weights.write_bytes(data)
    assert [(d.tensor, d.block) for d in check_files(model).damage] == [("big", 1), ("big", 3)]


def test_files_that_are_gone_or_swapped(trio: Family, tmp_path: Path) -> None:
    model = exported(trio, tmp_path / "out")
    other = exported(trio.with_method("task_arithmetic", 0.5), tmp_path / "other", trio.with_method(
        "task_arithmetic", 0.5).recipe)  # fmt: skip
    kept = (model / "model.safetensors").read_bytes()
    shutil.copy(other / "model.safetensors", model / "model.safetensors")
    assert "manifest" in check_files(model).damage[0].what
    (model / "model.safetensors").write_bytes(kept)
    (model / "README.md").unlink()
    assert [d.file for d in check_files(model).damage] == ["README.md"]
    (model / "manifest.json").write_text("{}")
    assert [d.file for d in check_files(model).damage] == ["manifest.json"]


def test_the_manifest_has_the_hash_of_every_file_and_verify_compares_it(trio: Family, tmp_path: Path) -> None:
    model = exported(trio, tmp_path / "out", shard_bytes=30_000)
    listed = json.loads((model / "manifest.json").read_text())["files"]
    there = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in model.iterdir() if p.name != "manifest.json"}
    assert {name: entry["sha256"] for name, entry in listed.items()} == there == check_files(model).sha256
    listed["model-00001-of-00003.safetensors"]["sha256"] = "0" * 64  # somebody writes a manifest that fits in itself
    (model / "manifest.json").write_bytes(changed_manifest(listed))
    assert [d.what for d in check_files(model).damage] == ["Its SHA-256 is not the one in the manifest."]
    for entry in listed.values():
        if "tree" in entry:
            del entry["sha256"]  # as earlier versions wrote it
    (model / "manifest.json").write_bytes(changed_manifest(listed))
    assert check_files(model).is_intact


def test_method_and_version_are_in_the_model_and_compared(
    trio: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = check_files(exported(trio.with_method("ties"), tmp_path / "out", trio.with_method("ties").recipe))
    by = made_by(found.provenance)
    assert (by.method, by.version, by.installed, by.is_other) == ("ties", 1, 1, False) and "Yadav" in by.variant
    assert len(list(made_with(found))) == 1
    ties = replace(find("ties"), version=2)
    monkeypatch.setattr("engine.recipe.provenance.find", lambda _: ties)
    assert made_by(found.provenance).is_other and "Here it has version 2" in list(made_with(found))[1]
    assert not made_by({"method": "ties"}).is_other, "older exports do not say"
    assert made_by({"method": "ties", "method_version": "x" * 99}).version == 0


def test_models_of_others_cannot_be_verified(trio: Family) -> None:
    with pytest.raises(BadProject, match="checksums"):
        check_files(Path(trio.recipe.experts[0].path))
    with pytest.raises(MixdownError):
        check_files(Path(trio.recipe.experts[0].path).parent / "gone.safetensors")


@pytest.mark.parametrize("method", ["linear", "ties", "dare_ties", "consensus"])
def test_exports_are_reproduced(method: str, trio: Family, tmp_path: Path) -> None:
    made = trio.with_method(method)
    first = made.recipe.experts[0].id
    recipe = replace(made.recipe, seed=7, dtype="F16", gains=((first, 0.7),),
                     rules=(Rule(value=0.3, expert=first, kind="attn"), Rule(value=0.9, layer="1")))  # fmt: skip
    model = exported(made, tmp_path / "out", recipe)
    found = check_files(model)
    again = reproduce(found, [tmp_path / "models"], sample=0)
    assert (again.outcome, again.differing, again.reproducibility) == ("same", (), "A") and again.tensors > 5
    few = reproduce(found, [tmp_path / "models"], sample=2)
    assert few.outcome == "same" and few.tensors == 2


def test_a_forged_model_is_not_reproduced(trio: Family, tmp_path: Path) -> None:
    """A file with right hashes whose recipe does not make its weights."""
    recipe = trio.with_method("task_arithmetic", 0.5).recipe
    inputs = open_inputs(recipe)
    now = hashed(recipe, inputs)
    told = {**provenance(now), "seed": 1}
    told["experts"] = [{**e, "gain": 0.123} for e in told["experts"]]
    model = export(make_plan(now, inputs), tmp_path / "out", provenance=told).path
    again = reproduce(check_files(model), [tmp_path / "models"], sample=0)
    assert again.outcome == "differs" and again.differing


def test_inputs_that_are_not_here(trio: Family, tmp_path: Path) -> None:
    found = check_files(exported(trio, tmp_path / "out"))
    (tmp_path / "empty").mkdir()
    again = reproduce(found, [tmp_path / "empty"])
    assert again.outcome == "no inputs" and set(again.absent) >= {e.name for e in trio.recipe.experts}


def test_provenance_of_strangers_is_not_believed(trio: Family, tmp_path: Path) -> None:
    model = exported(trio, tmp_path / "out")
    told = read(read_header(model / "model.safetensors").metadata)
    told.pop("tree")
    assert to_recipe(told).seed == trio.recipe.seed
    for key, value in (("experts", 1), ("experts", [{}]), ("base", "x"), ("method", "evil"), ("rules", [{"a": 1}]),
                       ("params", []), ("seed", -1), ("dtype", "F3"), ("format", 2), ("gain", 1),
                       ("default_coefficient", 9)):  # fmt: skip
        bad = {k: v for k, v in told.items() if k != "rules"} if key == "gain" else {**told, key: value}
        with pytest.raises(MixdownError):
            to_recipe(bad)
    for text in ("[]", "{", '{"a": NaN}', "[" * 1000, '{"a":1,"a":2}'):
        with pytest.raises(BadProject):
            read({"mixdown": text})


def test_leaves_do_not_depend_on_the_order_of_writing() -> None:
    size = 2 * BLOCK + 12_345
    data = random.Random(2).randbytes(size)
    whole = Leaves({0: size})
    whole.add(0, 0, memoryview(data))
    for seed in range(3):
        rng = random.Random(seed)
        cuts = sorted({0, size, *(rng.randrange(size) for _ in range(40))})
        pieces = list(pairwise(cuts))
        rng.shuffle(pieces)
        parts = Leaves({0: size})
        for a, b in pieces:
            parts.add(0, a, memoryview(data)[a:b])
        assert parts.text(0) == whole.text(0)
    with pytest.raises(MixdownError):
        Leaves({0: size}).text(0)


def test_the_command(trio: Family, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from app.cli import run

    model = exported(trio, tmp_path / "models" / "out")
    assert run(["verify", str(model), "--all", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["intact"] and told["reproduced"]["outcome"] == "same"
    data = bytearray((model / "model.safetensors").read_bytes())
    data[-1] ^= 4
    (model / "model.safetensors").write_bytes(data)
    assert run(["verify", str(model)]) == 1
    assert "DAMAGED" in capsys.readouterr().out
