"""The official mask files are read without unpickling; anything that could run code is refused."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from engine.bundle.authors import FlatMasks, read_packed_masks
from engine.bundle.compress import PAPER, compress
from engine.bundle.opening import open_bundle
from engine.bundle.restore import restored_state
from engine.errors import BadRecipe, FileProblem, NotSafetensors, UnsafePickle
from tests.engine.merge_cases import family


def masks() -> dict[str, np.ndarray]:
    made = np.random.default_rng(0)
    return {name: np.packbits(made.random(1003) > 0.5) for name in ("Cars", "DTD", "EuroSAT")}


def test_masks_of_numpy_save_come_back(tmp_path: Path) -> None:
    expected = masks()
    np.save(tmp_path / "m.npy", expected, allow_pickle=True)  # as the official code does
    found = read_packed_masks(tmp_path / "m.npy")
    assert found.keys() == expected.keys()
    assert all(found[name].tolist() == expected[name].tolist() for name in expected)


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_older_protocols(tmp_path: Path, protocol: int) -> None:
    expected = masks()
    np.save(tmp_path / "m.npy", expected, allow_pickle=True)
    head = (tmp_path / "m.npy").read_bytes()[:128]
    (tmp_path / "m.npy").write_bytes(head + pickle.dumps(np.array(expected, object), protocol=protocol))
    if protocol == 2:  # bytes are written as a call there
        with pytest.raises(UnsafePickle):
            read_packed_masks(tmp_path / "m.npy")
    else:
        assert read_packed_masks(tmp_path / "m.npy")["DTD"].tolist() == expected["DTD"].tolist()


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, ("/tmp/mixdown-was-here",))


@pytest.mark.parametrize(
    "content",
    [{"a": Evil()}, {"a": "text"}, {"a": [1]}, {}, {1: np.zeros(3, np.uint8)}, {"a": np.zeros(3)}, [1, 2],
     {"a": np.zeros((2, 2), np.uint8)}],
)  # fmt: skip
def test_anything_else_is_refused(tmp_path: Path, content: object) -> None:
    box = np.empty((), object)
    box[()] = content
    np.save(tmp_path / "m.npy", box, allow_pickle=True)
    with pytest.raises(UnsafePickle, match="something else"):
        read_packed_masks(tmp_path / "m.npy")
    assert not Path("/tmp/mixdown-was-here").exists()


def test_damaged_files(tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", masks(), allow_pickle=True)
    whole = (tmp_path / "m.npy").read_bytes()
    for size in range(0, len(whole) - 1, 7):
        (tmp_path / "cut.npy").write_bytes(whole[:size])
        with pytest.raises(FileProblem):
            read_packed_masks(tmp_path / "cut.npy")


def test_flat_masks_are_read_by_sorted_names() -> None:
    bits = np.random.default_rng(1).random(61) > 0.5
    flat = FlatMasks({"t": np.packbits(bits)}, {"b": 13, "a": 40, "c": 8})
    assert flat.bits("t", "a", 3, 40).tolist() == bits[3:40].tolist()
    assert flat.bits("t", "b", 0, 13).tolist() == bits[40:53].tolist()
    assert flat.bits("t", "c", 5, 8).tolist() == bits[58:].tolist()
    with pytest.raises(NotSafetensors, match="not of 40"):
        FlatMasks({"t": np.packbits(bits)}, {"a": 40})


def test_a_bundle_can_be_made_of_given_masks(tmp_path: Path) -> None:
    made = family(tmp_path / "models", dtype=torch.float32)
    count = sum(t.numel() for t in made.base.values())
    bits = {name: np.random.default_rng(k).random(count) > 0.5 for k, name in enumerate(made.inputs.names)}
    np.save(tmp_path / "m.npy", {name: np.packbits(b) for name, b in bits.items()}, allow_pickle=True)
    given = read_packed_masks(tmp_path / "m.npy")
    bundle = open_bundle(compress(made.inputs, tmp_path / "all.safetensors", masks=given, options=PAPER).path)
    multi = load_file(bundle.path)
    first = 0
    state = restored_state(bundle, "expert 2", made.inputs.base)
    for name in sorted(made.base):
        old, size = made.base[name], made.base[name].numel()
        if old.is_floating_point():
            mask = torch.from_numpy(bits["expert 2"][first : first + size]).view(old.shape)
            assert torch.equal(state[name], old + multi[f"multi/{name}"] * mask)
        first += size
    with pytest.raises(BadRecipe, match="no mask for expert 1"):
        compress(made.inputs, tmp_path / "two.safetensors", masks={n: m for n, m in given.items() if n != "expert 1"})
