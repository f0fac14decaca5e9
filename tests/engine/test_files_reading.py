"""Reading values: exact decoding, clean errors when files change underneath, hashes that tell models apart."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from engine.errors import Cancelled, Changed, DtypeMismatch, FileProblem, Truncated
from engine.files.checkpoint import open_checkpoint
from engine.files.decode import count_nonfinite, to_float32
from engine.files.hashing import HashCache, content_hash, fingerprint, recheck
from engine.files.reading import Reader
from engine.progress import Token
from tests.engine.file_maker import save, save_folder

torch = pytest.importorskip("torch")
TORCH = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
         "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2}  # fmt: skip
SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1}


def every_code(dtype: str) -> np.ndarray:
    """All codes of small types; random and special ones of large types."""
    size = SIZES[dtype]
    if size <= 2:
        return np.arange(256**size, dtype=f"<u{size}").view(np.uint8)
    codes = np.random.default_rng(0).integers(0, 256, 80_000, dtype=np.uint8)
    with np.errstate(over="ignore"):
        special = np.array([0, -0.0, np.inf, -np.inf, np.nan, 1e-45, 3.4e38, 1.0000000001, 1e39], dtype=f"<f{size}")
    return np.concatenate([codes, special.view(np.uint8)])


@pytest.mark.parametrize("dtype", list(TORCH))
def test_decoding_is_bit_exact_against_torch(dtype: str) -> None:
    raw = every_code(dtype)
    wanted = torch.from_numpy(raw.copy()).view(TORCH[dtype]).to(torch.float32).numpy()
    found = to_float32(raw, dtype)
    nan = np.isnan(wanted)
    assert np.array_equal(np.isnan(found), nan)
    assert np.array_equal(found[~nan].view(np.uint32), wanted[~nan].view(np.uint32))
    stored = torch.from_numpy(raw.copy()).view(TORCH[dtype]).to(torch.float64)
    assert count_nonfinite(raw, dtype) == int((~torch.isfinite(stored)).sum())


def test_integers_are_not_decoded() -> None:
    with pytest.raises(DtypeMismatch):
        to_float32(np.zeros(8, np.uint8), "I64")


def test_any_range_from_many_threads(tmp_path: Path) -> None:
    values = {name: np.random.default_rng(i).standard_normal((50, 41)) for i, name in enumerate("ab")}
    checkpoint = open_checkpoint(save(tmp_path / "m.safetensors", values))
    wrong: list[object] = []

    def read(seed: int, reader: Reader) -> None:
        random = np.random.default_rng(seed)
        for _ in range(100):
            name, first = str(random.choice(["a", "b"])), int(random.integers(0, 2050))
            count = int(random.integers(0, 2051 - first))
            found = reader.read_float32(checkpoint.tensors[name], first, count)
            if not np.array_equal(found, values[name].astype("<f4").reshape(-1)[first : first + count]):
                wrong.append((name, first, count))

    with Reader(checkpoint) as reader:
        threads = [threading.Thread(target=read, args=(seed, reader)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with pytest.raises(ValueError, match="outside"):
            reader.read(checkpoint.tensors["a"], 2000, 51)
        with pytest.raises(ValueError, match="buffer"):
            reader.read_into(checkpoint.tensors["a"], 0, 10, np.empty(39, np.uint8))
    assert not wrong


def test_a_file_that_becomes_shorter_is_truncated(tmp_path: Path) -> None:
    path = save(tmp_path / "m.safetensors", {"a": np.ones(1000)})
    checkpoint = open_checkpoint(path)
    with Reader(checkpoint) as reader:
        reader.read(checkpoint.tensors["a"], 0, 1)
        os.truncate(path, path.stat().st_size - 4)
        with pytest.raises(Truncated, match="inside tensor a"):
            reader.read(checkpoint.tensors["a"])
        with pytest.raises(Changed):
            reader.check_unchanged()


def test_a_file_that_is_replaced_is_noticed(tmp_path: Path) -> None:
    path = save(tmp_path / "m.safetensors", {"a": np.ones(10)})
    checkpoint = open_checkpoint(path)
    with Reader(checkpoint) as reader:
        reader.check_unchanged()
        reader.read(checkpoint.tensors["a"])
        save(tmp_path / "new", {"a": np.zeros(10)}).replace(path)
        assert reader.read_float32(checkpoint.tensors["a"])[0] == 1, "the held file is still the old one"
        with pytest.raises(Changed, match="while it was in use"):
            reader.check_unchanged()
    with Reader(checkpoint) as late, pytest.raises(Changed, match="after it was opened"):
        late.read(checkpoint.tensors["a"])
    path.unlink()
    with Reader(checkpoint) as gone:
        with pytest.raises(FileProblem):
            gone.read(checkpoint.tensors["a"])
        with pytest.raises(Changed, match="no longer there"):
            gone.check_unchanged()


def test_the_fingerprint_is_of_the_content(tmp_path: Path) -> None:
    values = {f"t{i}": np.random.default_rng(i).standard_normal((64, 90)) for i in range(6)}
    one = open_checkpoint(save(tmp_path / "one.safetensors", values, metadata={"format": "pt"}))
    parts = {"a.safetensors": ("t5", "t1"), "b.safetensors": ("t0", "t2", "t3", "t4")}
    halves = {file: {name: values[name] for name in names} for file, names in parts.items()}
    sharded = open_checkpoint(save_folder(tmp_path / "m", halves))
    assert fingerprint(one) == fingerprint(sharded)
    prints = {fingerprint(one)}
    for name, position in (("t0", 0), ("t3", -1), ("t5", 0)):
        other = {k: v.copy() for k, v in values.items()}
        other[name].reshape(-1)[position] += 1
        prints.add(fingerprint(open_checkpoint(save(tmp_path / "other.safetensors", other))))
    prints.add(fingerprint(open_checkpoint(save(tmp_path / "f16.safetensors", values, "F16"))))
    prints.add(fingerprint(open_checkpoint(save(tmp_path / "s.safetensors", {**values, "t0": values["t0"].T}))))
    prints.add(fingerprint(open_checkpoint(save(tmp_path / "n.safetensors", {"u": values["t0"]}))))
    assert len(prints) == 7


def test_the_content_hash_is_what_sha256sum_prints(tmp_path: Path) -> None:
    path = save(tmp_path / "m.safetensors", {"a": np.ones(2_000_000)})
    token = Token()
    assert content_hash(open_checkpoint(path), token) == hashlib.sha256(path.read_bytes()).hexdigest()
    assert token.done == token.total == path.stat().st_size
    folder = save_folder(tmp_path / "m", {"b.safetensors": {"x": np.ones(2)}, "a.safetensors": {"y": np.ones(3)}})
    files = [folder / "a.safetensors", folder / "b.safetensors"]
    lines = "".join(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files)
    assert content_hash(open_checkpoint(folder)) == hashlib.sha256(lines.encode()).hexdigest()
    token.cancel()
    with pytest.raises(Cancelled):
        content_hash(open_checkpoint(path), token)


def test_a_changed_file_is_not_hashed(tmp_path: Path) -> None:
    path = save(tmp_path / "m.safetensors", {"a": np.ones(2)})
    checkpoint = open_checkpoint(path)
    save(path, {"a": np.ones(3)})
    with pytest.raises(Changed):
        content_hash(checkpoint)


def old(path: Path) -> Path:
    os.utime(path, (1_600_000_000, 1_600_000_000))
    return path


def test_hashes_are_remembered_for_this_state_of_the_file(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(old(save(tmp_path / "m.safetensors", {"a": np.ones(2)})))
    cache = HashCache(tmp_path / "hashes.json")
    first = content_hash(checkpoint, cache=cache)
    cache.put(checkpoint.stamps[0], "f" * 64)
    again = HashCache(tmp_path / "hashes.json")
    assert content_hash(checkpoint, cache=again) == "f" * 64 != first
    changed = open_checkpoint(old(save(tmp_path / "m.safetensors", {"a": np.ones(3)})))
    assert content_hash(changed, cache=again) not in ("f" * 64, first)


@pytest.mark.parametrize(
    "text", ["", "[]", '{"format": 1, "sha256": 3}', '{"format": 1, "sha256": {"1": "x"}}', "{" * 9999]
)
def test_a_damaged_hash_cache_counts_as_empty(tmp_path: Path, text: str) -> None:
    (tmp_path / "hashes.json").write_text(text)
    checkpoint = open_checkpoint(old(save(tmp_path / "m.safetensors", {"a": np.ones(2)})))
    cache = HashCache(tmp_path / "hashes.json")
    assert cache.get(checkpoint.stamps[0]) is None
    cache.put(checkpoint.stamps[0], "a" * 64)
    assert HashCache(tmp_path / "hashes.json").get(checkpoint.stamps[0]) == "a" * 64


def test_fresh_files_and_unwritable_caches_do_no_harm(tmp_path: Path) -> None:
    fresh = open_checkpoint(save(tmp_path / "m.safetensors", {"a": np.ones(2)}))
    cache = HashCache(tmp_path / "no" / "such" / "hashes.json")
    cache.put(fresh.stamps[0], "a" * 64)
    assert cache.get(fresh.stamps[0]) is None, "it could change again within the clock's tick"
    aged = open_checkpoint(old(tmp_path / "m.safetensors"))
    cache.put(aged.stamps[0], "b" * 64)
    assert cache.get(aged.stamps[0]) == "b" * 64


def test_a_file_that_was_changed_in_place_and_given_its_old_time_is_hashed_again(tmp_path: Path) -> None:
    path = old(save(tmp_path / "m.safetensors", {"a": np.ones(2)}))
    cache, before = HashCache(tmp_path / "hashes.json"), path.stat()
    first = content_hash(open_checkpoint(path), cache=cache)
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert content_hash(open_checkpoint(path), cache=cache) not in (first, "")


def rewrite(path: Path) -> None:
    """Another last byte in the same file, which gets its old time again."""
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)[0]
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns and path.stat().st_ino == before.st_ino


def tick() -> None:
    """Until the file system's clock, which is coarse, has moved on."""
    time.sleep(0.02)


def test_a_model_that_got_other_content_and_its_old_time_is_noticed_after_its_use(tmp_path: Path) -> None:
    folder = save_folder(tmp_path / "model", {"model.safetensors": {"a": np.ones(4)}}, index=False)
    cache = HashCache(tmp_path / "hashes.json")
    victim = next(folder.glob("*.safetensors"))
    old(victim)
    opened = open_checkpoint(folder)
    known = content_hash(opened, cache=cache)
    recheck(opened, known, cache=cache)
    tick()
    rewrite(victim)
    with Reader(opened) as reader:
        reader.check_unchanged()  # which is why the content is asked, too
    with pytest.raises(Changed, match="old time") as raised:
        recheck(opened, known, cache=cache)
    assert raised.value.where == str(victim)


@pytest.mark.parametrize("what", ["nothing", "permissions", "a link", "renamed and back"])
def test_the_same_content_is_never_accused(what: str, tmp_path: Path) -> None:
    path = old(save(tmp_path / "m.safetensors", {"a": np.ones(4)}))
    opened, token = open_checkpoint(path), Token()
    known = content_hash(opened)
    tick()
    if what == "permissions":
        path.chmod(0o600)
    elif what == "a link":
        os.link(path, tmp_path / "other")
    elif what == "renamed and back":
        path.rename(tmp_path / "other").rename(path)
    recheck(opened, known, token)
    assert token.done == (0 if what == "nothing" else path.stat().st_size), "nothing is read for nothing"


class Touching(Token):
    """Changes a file at its first check, and at every one if it is stubborn."""

    def __init__(self, path: Path, *, stubborn: bool = False) -> None:
        super().__init__()
        self.path, self.left = path, 99 if stubborn else 1

    def check(self) -> None:
        if self.left:
            self.left -= 1
            tick()
            rewrite(self.path)


def test_a_file_that_changes_while_it_is_hashed_is_read_again(tmp_path: Path) -> None:
    path = old(save(tmp_path / "m.safetensors", {"a": np.ones(4)}))
    cache = HashCache(tmp_path / "hashes.json")
    opened = open_checkpoint(path)
    found = content_hash(opened, Touching(path), cache)
    assert found == hashlib.sha256(path.read_bytes()).hexdigest()
    assert cache.get(opened.stamps[0]) is None, "the content of then is not known"
    assert content_hash(opened, None, cache) == found
    with pytest.raises(Changed, match="being changed"):
        content_hash(opened, Touching(path, stubborn=True))
