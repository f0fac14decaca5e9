"""Task bundles: what is restored is what the TALL-mask method gives, whatever the coding."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from engine.bundle.coding import CODECS, decode, encode, framed, is_smaller
from engine.bundle.compress import BundleOptions, compress
from engine.bundle.forecast import forecast
from engine.bundle.manifest import from_json, to_json
from engine.bundle.opening import describe_sizes, find_base, is_bundle, open_bundle
from engine.bundle.quantise import BLOCK, quantise, restored
from engine.bundle.restore import restore, restored_state
from engine.bundle.storage import paper_bits
from engine.bundle.tune import choose
from engine.bundle.writing import MaskWriter, _Part
from engine.errors import BadRecipe, Cancelled, Mismatch, NotSafetensors, OutOfRange, WriteProblem
from engine.files.checkpoint import open_checkpoint
from engine.merge.run import merged_state
from engine.progress import Token
from tests.engine.merge_cases import CONFIG, Family, family, loaded, save, tree

FROZEN = "model.layers.1.self_attn.q_proj.weight"


def joined(segments: list[bytes], codec: str, raw_size: int) -> bytes | None:
    """A mask as it is written; None if coding does not make it smaller."""
    small = is_smaller([len(s) for s in segments], codec, raw_size)
    return b"".join(map(framed, segments)) if small else None


@pytest.fixture
def trio(tmp_path: Path) -> Family:
    made = family(tmp_path / "models")
    for state, ref in zip(made.experts, made.recipe.experts, strict=True):
        state[FROZEN] = made.base[FROZEN].clone()
        save(state, Path(ref.path))
    return made


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("included", [True, False])
def test_restored_tasks_are_those_of_the_method(trio: Family, tmp_path: Path, codec: str, included: bool) -> None:
    levels = {"expert 0": 0.2, "expert 2": 0.6}
    options = BundleOptions(codec=codec, include_base=included, rescale=False)
    made = compress(trio.inputs, tmp_path / "all.safetensors", strictness=levels, options=options, threads=2)
    bundle = open_bundle(made.path)
    assert is_bundle(made.path) and bundle.manifest == made.manifest and FROZEN not in bundle.trainable
    for name in trio.inputs.names:
        plan = trio.with_method("tall_mask", 1.0, task=name, strictness=levels.get(name, 0.4)).plan
        expected = merged_state(plan, threads=1)
        found = restored_state(bundle, name, None if included else trio.inputs.base)
        assert expected.keys() == found.keys()
        assert all(torch.equal(expected[n], found[n]) and expected[n].dtype == found[n].dtype for n in expected)


def test_the_restored_folder_is_a_model(trio: Family, tmp_path: Path) -> None:
    folder = tmp_path / "base"
    save(trio.base, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    base = open_checkpoint(folder)
    inputs = replace(trio.inputs, base=base)
    made = compress(inputs, tmp_path / "all.safetensors", options=BundleOptions(include_base=True))
    done = restore(open_bundle(made.path), "expert 1", tmp_path / "one")
    assert {p.name for p in done.files} == {"model.safetensors", "config.json", "README.md", "manifest.json"}
    state = restored_state(open_bundle(made.path), "expert 1")
    assert all(torch.equal(tensor, state[name]) for name, tensor in loaded(tmp_path / "one").items())
    assert json.loads((tmp_path / "one" / "config.json").read_text())["model_type"] == "llama"
    about = json.loads(open_checkpoint(tmp_path / "one").metadata["mixdown"])
    assert about["task"]["name"] == "expert 1" and about["base"]["name"] == "base"


def test_the_file_is_plain_safetensors_with_packed_bits(trio: Family, tmp_path: Path) -> None:
    made = compress(trio.inputs, tmp_path / "all.safetensors")
    tensors, name = load_file(made.path), "model.layers.0.mlp.up_proj.weight"
    number = made.manifest.number("expert 1")
    bits = np.unpackbits(tensors[f"mask/{number}/{name}"].numpy())[: 96 * 64].reshape(96, 64)
    taus = {t: s[name].float() - trio.base[name].float() for t, s in zip(trio.inputs.names, trio.experts, strict=True)}
    multi = taus[made.manifest.tasks[0].name].clone()
    for task in made.manifest.tasks[1:]:
        multi += taus[task.name]
    assert torch.equal(tensors[f"multi/{name}"], multi)
    expected = taus["expert 1"].abs() > 0.4 * (multi - taus["expert 1"]).abs()
    assert bits.tolist() == expected.numpy().astype(int).tolist()
    share = made.density["expert 1"]
    assert 0.2 < share < 0.9 and made.storage.trainable + made.storage.frozen == sum(
        t.numel() for t in trio.base.values() if t.is_floating_point()
    )


def test_the_rows_of_the_desk_are_kept_and_change_nothing_else(trio: Family, tmp_path: Path) -> None:
    """Tasks are numbered by content; colours come from rows, so that how they stood is written beside it."""
    found = {}
    for rows in ((0, 1, 2), (2, 0, 1)):
        inputs = replace(trio.inputs, experts=tuple(trio.inputs.experts[r] for r in rows),
                         names=tuple(trio.inputs.names[r] for r in rows))  # fmt: skip
        bundle = open_bundle(compress(inputs, tmp_path / f"{rows[0]}.safetensors").path)
        assert tuple(task.name for task in bundle.manifest.in_order) == inputs.names
        found[rows] = bundle
    one, other = found.values()
    assert one.manifest.tasks == other.manifest.tasks and one.manifest.order != other.manifest.order
    tensors = [load_file(bundle.path) for bundle in (one, other)]
    assert all(torch.equal(tensors[0][name], tensors[1][name]) for name in tensors[0])
    table = to_json(one.manifest)
    del table["order"]  # as bundles were before
    old = from_json(json.dumps(table), "x")
    assert old == replace(one.manifest, order=()) and old.in_order == one.manifest.tasks
    for wrong in ([0, 1], [0, 1, 1], [0, 1, 3], [-1, 0, 1], [True, 0, 2], "012", {"0": 1}, None):
        with pytest.raises(NotSafetensors, match="order"):
            from_json(json.dumps({**table, "order": wrong}), "x")


def test_eight_bits_stay_within_half_a_step(trio: Family, tmp_path: Path) -> None:
    exact = open_bundle(compress(trio.inputs, tmp_path / "exact.safetensors").path)
    small = open_bundle(compress(trio.inputs, tmp_path / "small.safetensors", options=BundleOptions(bits=8)).path)
    assert describe_sizes(small)["multi"] < 0.27 * describe_sizes(exact)["multi"]
    one, other = (restored_state(b, "expert 0", trio.inputs.base) for b in (exact, small))
    for name in exact.trainable:
        multi = load_file(exact.path)[f"multi/{name}"]
        bound = float(multi.abs().max()) / 127 / 2 + 0.01 * float(one[name].float().abs().max())  # and bfloat16
        assert float((one[name].float() - other[name].float()).abs().max()) <= bound


@given(st.lists(st.floats(-(2.0**100), 2.0**100, width=32), max_size=3 * BLOCK))
def test_quantising_is_close(values: list[float]) -> None:
    given_ = np.array(values, np.float32)
    steps, scales = quantise(given_)
    error = np.abs(restored(steps, scales).astype(np.float64) - given_)
    assert (error <= 0.51 * np.repeat(scales, BLOCK)[: len(given_)] + 1e-36).all()


@given(st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=4), st.sampled_from(CODECS))
def test_coding_is_lossless(parts: list[bytes], codec: str) -> None:
    whole = b"".join(parts)
    coded = joined([encode(p, codec) for p in parts], codec, len(whole))
    stored = np.frombuffer(whole if coded is None else coded, np.uint8)
    assert decode(stored, codec, len(whole), "x").tobytes() == whole


def test_damaged_masks_are_refused() -> None:
    whole = bytes(5000)
    for codec in CODECS[1:]:
        coded = joined([encode(whole, codec)], codec, len(whole))
        assert coded is not None and len(coded) < 700
        for bad in (coded[:-3], coded[:4] + bytes(len(coded) - 4)):
            with pytest.raises(NotSafetensors, match="damaged"):
                decode(np.frombuffer(bad, np.uint8), codec, len(whole), "x")
        with pytest.raises(NotSafetensors, match="damaged"):
            decode(np.frombuffer(coded, np.uint8), codec, 4000, "x")  # would become larger than it says


def apart(data: bytes) -> tuple[tuple[object, object, bytes], list[int]]:
    """A bundle's header, manifest and tensors without how the rows stood, and that."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    about = json.loads(header["__metadata__"].pop("mixdown"))
    order = about.pop("order")
    return (header, about, data[8 + size :]), order


def test_equal_inputs_make_equal_bundles(trio: Family, tmp_path: Path) -> None:
    turned = replace(trio, recipe=replace(trio.recipe, experts=trio.recipe.experts[::-1]))
    for codec in ("raw", "lzma"):
        options = BundleOptions(codec=codec, replace=True)
        one = compress(trio.inputs, tmp_path / "a.safetensors", options=options, threads=1).path.read_bytes()
        assert compress(trio.inputs, tmp_path / "b.safetensors", options=options, threads=3).path.read_bytes() == one
        other = compress(turned.inputs, tmp_path / "b.safetensors", options=options, threads=3).path.read_bytes()
        (parts, order), (others, turned_order) = apart(one), apart(other)
        assert others == parts and turned_order == order[::-1]


def test_storage_is_that_of_the_paper(trio: Family, tmp_path: Path) -> None:
    clip = paper_bits(87_849_216, 25_599_489, 20)
    assert [round(clip[k] / 1e9, 2) for k in ("experts", "bundle")] == [57.04, 8.20]
    single = family(tmp_path / "f32", dtype=torch.float32)
    made = compress(single.inputs, tmp_path / "f32.safetensors", options=BundleOptions(include_base=True)).storage
    assert abs(8 * (made.multi_bytes + made.mask_bytes) / made.trainable - (32 + 3)) < 0.01  # bits filled up to bytes
    assert made.mask_bytes == made.raw_mask_bytes and made.frozen == 0
    assert made.file_bytes >= made.base_bytes + made.multi_bytes + made.mask_bytes


def test_the_wrong_base_is_refused(trio: Family, tmp_path: Path) -> None:
    bundle = open_bundle(compress(trio.inputs, tmp_path / "all.safetensors").path)
    with pytest.raises(Mismatch, match="does not include"):
        find_base(bundle, None)
    with pytest.raises(Mismatch, match="is not the base"):
        find_base(bundle, trio.inputs.experts[0])
    part = save({"model.norm.weight": trio.base["model.norm.weight"]}, tmp_path / "part.safetensors")
    with pytest.raises(Mismatch, match="does not have this tensor"):
        find_base(bundle, open_checkpoint(part))
    with pytest.raises(BadRecipe, match="no task"):
        restored_state(bundle, "nobody", trio.inputs.base)


def test_nothing_is_left_behind(trio: Family, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    token = Token()
    token.cancel()
    with pytest.raises(Cancelled):
        compress(trio.inputs, folder / "a.safetensors", progress=token)
    with pytest.raises(WriteProblem, match="safetensors file"):
        compress(trio.inputs, folder / "a")
    with pytest.raises(OutOfRange, match="λ"):
        compress(trio.inputs, folder / "a.safetensors", strictness={"expert 0": -1})
    with pytest.raises(OutOfRange, match="coding"):
        compress(trio.inputs, folder / "a.safetensors", options=BundleOptions(codec="zip"))
    assert tree(folder) == {}
    made = compress(trio.inputs, folder / "a.safetensors").path
    before = tree(folder)
    with pytest.raises(WriteProblem, match="already"):
        compress(trio.inputs, made)
    with pytest.raises(Cancelled):
        restore(open_bundle(made), "expert 0", folder / "one", base=trio.inputs.base, progress=token)
    assert tree(folder) == before


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("kind", "recipe"), ("format", 2), ("tasks", []), ("tasks.0.lambda", "much"), ("tasks.0.lambda", -1),
        ("tasks.0.name", ""), ("base.included", 1), ("mask.codec", "zip"), ("multi_bits", 4), ("config", [1]),
        ("base.sha256", "../x"), ("tasks.1.name", "expert 0"),
    ],
)  # fmt: skip
def test_manifests_are_not_trusted(trio: Family, tmp_path: Path, path: str, value: object) -> None:
    table = to_json(compress(trio.inputs, tmp_path / "all.safetensors").manifest)
    table["tasks"].sort(key=lambda task: task["name"])
    assert from_json(json.dumps(table), "x").number("expert 1") == 1
    *parents, last = [int(key) if key.isdigit() else key for key in path.split(".")]
    inner = table
    for key in parents:
        inner = inner[key]
    inner[last] = value
    with pytest.raises(NotSafetensors, match="no task bundle"):
        from_json(json.dumps(table), "x")


def test_other_files_are_no_bundles(trio: Family) -> None:
    path = Path(trio.recipe.experts[0].path)
    assert not is_bundle(path)
    with pytest.raises(NotSafetensors, match="no task bundle"):
        open_bundle(path)


def test_gains_give_task_vectors_their_size_back(trio: Family, tmp_path: Path) -> None:
    options = BundleOptions(rescale=True, include_base=True)
    bundle = open_bundle(compress(trio.inputs, tmp_path / "all.safetensors", options=options).path)
    tensors, number = load_file(bundle.path), bundle.manifest.number("expert 2")
    state, names = restored_state(bundle, "expert 2"), sorted(bundle.trainable)
    for name, gain in zip(names, tensors[f"gain/{number}"], strict=True):
        tau = trio.experts[2][name].float() - trio.base[name].float()
        packed = tensors[f"mask/{number}/{name}"].numpy()
        mask = torch.from_numpy(np.unpackbits(packed)[: tau.numel()]).view(tau.shape)
        kept = tensors[f"multi/{name}"] * mask
        expected = float(tau.double().abs().sum() / kept.double().abs().sum()) if kept.any() else 1.0
        assert float(gain) == pytest.approx(expected, rel=1e-6)
        assert torch.equal(state[name], (trio.base[name].float() + kept * gain).to(trio.base[name].dtype))


def test_lambda_is_chosen_by_score() -> None:
    assert choose({0.2: 0.5, 0.3: 0.9, 0.4: 0.9}) == 0.4 and choose({}) == 0.4 and choose({0.6: 0.1, 0.2: 0.1}) == 0.2
    assert choose({0.2: 0.5, 0.3: 0.95, 0.4: 0.6, 0.5: 0.9, 0.6: 0.9}) == 0.6  # not the lone peak


def test_configuration_and_tokenizer_travel_in_the_bundle(trio: Family, tmp_path: Path) -> None:
    folder = tmp_path / "base"
    save(trio.base, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({**CONFIG, "auto_map": {"AutoModel": "evil.Model"}}))
    (folder / "tokenizer.json").write_bytes(b'{"version": "1.0"}')
    (folder / "tokenizer_config.json").write_text('{"auto_map": {"AutoTokenizer": "evil.T"}, "model_max_length": 512}')
    (folder / "modeling_evil.py").write_text("raise SystemExit")
    inputs = replace(trio.inputs, base=open_checkpoint(folder))
    bare = tmp_path / "bare.safetensors"
    save(trio.base, bare)
    for included in (True, False):
        out = tmp_path / f"all {included}.safetensors"
        bundle = open_bundle(compress(inputs, out, options=BundleOptions(include_base=included)).path)
        given = None if included else open_checkpoint(bare)
        done = restore(bundle, "expert 1", tmp_path / f"one {included}", base=given)
        assert {p.name for p in done.files} - {"manifest.json"} == {
            "model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json", "README.md"
        }  # fmt: skip
        assert (done.path / "tokenizer.json").read_bytes() == b'{"version": "1.0"}'
        assert json.loads((done.path / "tokenizer_config.json").read_text()) == {"model_max_length": 512}
        assert "auto_map" not in (done.path / "config.json").read_text()
        card = (done.path / "README.md").read_text()
        assert "expert 1, restored" in card and str(tmp_path) not in card
    small = compress(inputs, tmp_path / "small.safetensors", options=BundleOptions(sidecars=False))
    assert "file" not in {n.split("/")[0] for n in open_bundle(small.path).checkpoint.tensors}


def test_a_strangers_bundle_writes_data_files_only(trio: Family, tmp_path: Path) -> None:
    """Names and code in the carried files are not believed."""
    made = compress(trio.inputs, tmp_path / "all.safetensors", options=BundleOptions(include_base=True))
    tensors = load_file(made.path)
    with safe_open(made.path, "pt") as file:
        metadata = file.metadata()
    for name, text in (("modeling_evil.py", "x"), ("../out.json", "{}"), ("vocab.txt", "a"),
                       ("tokenizer_config.json", '{"auto_map": 1}'), ("config.json", '{"auto_map": 1}')):  # fmt: skip
        tensors[f"file/{name}"] = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)
    save_file(tensors, tmp_path / "evil.safetensors", metadata=metadata)
    done = restore(open_bundle(tmp_path / "evil.safetensors"), "expert 0", tmp_path / "one")
    found = {p.name for p in done.files} - {"manifest.json"}
    assert found == {"model.safetensors", "vocab.txt", "tokenizer_config.json", "README.md"}
    assert json.loads((tmp_path / "one" / "tokenizer_config.json").read_text()) == {}
    assert not (tmp_path / "out.json").exists()


def test_coded_masks_wait_in_a_file(trio: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory for masks does not grow with the pieces of a tensor."""
    most = 0
    place = MaskWriter._place

    def watched(self: MaskWriter, part: _Part, numel: int) -> None:
        nonlocal most
        place(self, part, numel)
        held = [value for value in vars(self).values() if isinstance(value, list)]
        most = max(most, sum(len(x) for values in held for x in values if isinstance(x, bytes)))
        assert not any(isinstance(x, _Part) for values in held for x in values)

    monkeypatch.setattr(MaskWriter, "_place", watched)
    made = compress(trio.inputs, tmp_path / "all.safetensors", options=BundleOptions(codec="lzma"))
    assert most == 0 and made.storage.mask_bytes <= made.storage.raw_mask_bytes
    assert [p.name for p in tmp_path.iterdir()] == ["models", "all.safetensors"] or not list(tmp_path.glob(".*"))


def test_forecast_is_an_upper_bound(trio: Family, tmp_path: Path) -> None:
    for bits, included in ((32, False), (8, True)):
        options = BundleOptions(bits=bits, include_base=included, codec="raw")
        made = compress(trio.inputs, tmp_path / f"{bits}.safetensors", options=options)
        found = forecast(trio.inputs, bits=bits, include_base=included)
        assert found is not None and made.storage.file_bytes <= found.file_bytes < 1.2 * made.storage.file_bytes
        assert found.bits_a_parameter >= made.storage.bits_a_parameter
