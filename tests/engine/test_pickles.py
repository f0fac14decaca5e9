"""Pickles: real state dicts are converted bit by bit, everything else is refused without being run."""

from __future__ import annotations

import importlib.metadata
import os
import socket
import subprocess
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from app import doctor
from engine.errors import Cancelled, MixdownError, UnsafePickle, WriteProblem
from engine.pickles.container import read_structure
from engine.pickles.convert import TORCH_FLOOR, convert
from engine.progress import Token
from tests.hostile.corpus import CASES

SLOW = {"archive-many-entries", "archive-deflate-bomb", "pickle-deep-legacy", "pickle-deep-zip"}
PICKLES = [
    pytest.param(n, marks=pytest.mark.soak) if n in SLOW else n
    for n in CASES
    if n.startswith(("pickle-", "archive-")) and n != "pickle-folder"
]


def state() -> dict[str, torch.Tensor]:
    made = torch.Generator().manual_seed(3)
    w = torch.randn(30, 20, generator=made)
    return OrderedDict(w=w, t=w.t(), row=w[3], half=w.half(), bf16=w.bfloat16(), number=torch.tensor(2.5).double(),
                       none=torch.zeros(0, 3), ids=torch.arange(5), flags=torch.tensor([True, False]))  # fmt: skip


@pytest.mark.parametrize("kind", ["zip", "legacy", pytest.param("nested", marks=pytest.mark.soak)])
def test_state_dicts_become_the_same_bytes(kind: str, tmp_path: Path) -> None:
    source, saved = tmp_path / "model.pt", state()
    whole = {"state_dict": saved, "epoch": 3, "note": "x"} if kind == "nested" else saved
    torch.save(whole, source, _use_new_zipfile_serialization=kind != "legacy")
    done = convert(source, tmp_path / "model.safetensors")
    loaded = load_file(done.path)
    assert loaded.keys() == saved.keys() and done.tensors == len(saved)
    assert done.left_out == (2 if kind == "nested" else 0)
    for name, tensor in saved.items():
        assert loaded[name].dtype == tensor.dtype and torch.equal(loaded[name], tensor)
    assert sorted(os.listdir(tmp_path)) == ["model.pt", "model.safetensors"]


def test_modules_and_parameters_pass_the_check(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(3, 4).state_dict(), tmp_path / "a.pt")
    torch.save({"p": torch.nn.Parameter(torch.zeros(2))}, tmp_path / "b.pt", _use_new_zipfile_serialization=False)
    for name, expected in (("a.pt", {"weight", "bias"}), ("b.pt", {"p"})):
        with (tmp_path / name).open("rb") as file:
            assert read_structure(file, os.fstat(file.fileno()).st_size).keys() == expected


@pytest.mark.parametrize("name", PICKLES)
def test_every_hostile_pickle_is_refused_by_the_static_check(name: str, tmp_path: Path) -> None:
    path = CASES[name].make(tmp_path)
    with path.open("rb") as file, pytest.raises(UnsafePickle, match="Nothing in it was run") as caught:
        read_structure(file, path.stat().st_size)
    assert caught.value.hint and not (tmp_path / "canary").exists()


@pytest.mark.parametrize("name", [n for n in CASES if n.startswith("archive-tar")])
def test_tars_of_very_old_torch_are_refused_in_words(name: str, tmp_path: Path) -> None:
    path = CASES[name].make(tmp_path)
    word = "gzip" if name.endswith("-gz") else "tar archive of a very old torch"
    with path.open("rb") as file, pytest.raises(UnsafePickle, match=word):
        read_structure(file, path.stat().st_size)


@pytest.mark.parametrize(
    "name",
    ["pickle-mkdir-zip", *(pytest.param(n, marks=pytest.mark.soak) for n in CASES if n.startswith("archive-"))],
)
def test_hostile_pickles_through_the_process(name: str, tmp_path: Path) -> None:
    path = CASES[name].make(tmp_path)
    with pytest.raises(UnsafePickle) as caught:
        convert(path, tmp_path / "out.safetensors")
    assert path.name in caught.value.where and caught.value.hint
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.soak
def test_shared_storages_must_not_grow_manifold(tmp_path: Path) -> None:
    big = torch.zeros(1000, 1000)
    torch.save({f"w{i}": big[:] for i in range(30)}, tmp_path / "m.pt")
    with pytest.raises(UnsafePickle, match="share"):
        convert(tmp_path / "m.pt", tmp_path / "m.safetensors")
    assert os.listdir(tmp_path) == ["m.pt"]


def test_cancel_timeout_and_existing_target(tmp_path: Path) -> None:
    torch.save(state(), tmp_path / "m.pt")
    token = Token()
    token.cancel()
    with pytest.raises(Cancelled):
        convert(tmp_path / "m.pt", tmp_path / "m.safetensors", progress=token)
    with pytest.raises(UnsafePickle, match="seconds"):
        convert(tmp_path / "m.pt", tmp_path / "m.safetensors", timeout=0.0)
    (tmp_path / "m.safetensors").write_text("mine")
    with pytest.raises(WriteProblem):
        convert(tmp_path / "m.pt", tmp_path / "m.safetensors")
    assert (tmp_path / "m.safetensors").read_text() == "mine" and len(os.listdir(tmp_path)) == 2


@pytest.mark.parametrize(
    ("version", "opens"), [("2.9.1+cu128", False), ("1.13", False), ("?", False), ("2.10.0", True)]
)
def test_a_torch_with_known_holes_opens_no_pickle(
    version: str, opens: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "a.pt"
    torch.save(state(), source)
    monkeypatch.setattr(importlib.metadata, "version", lambda _: version)
    problems = doctor._old({"torch": version})
    if opens:
        assert convert(source, tmp_path / "a.safetensors").tensors > 5 and not problems
        return
    with pytest.raises(UnsafePickle, match="too old") as told:
        convert(source, tmp_path / "a.safetensors")
    assert "doctor" in told.value.hint and os.listdir(tmp_path) == ["a.pt"]
    assert len(problems) == (version != "?") and doctor.FLOORS["torch"] == TORCH_FLOOR


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(MixdownError, match="not there"):
        convert(tmp_path / "gone.pt", tmp_path / "m.safetensors")


ESCAPES = {
    "connect": "import socket; socket.create_connection(('127.0.0.1', {port}), 1)",
    "raw socket": "import _socket; _socket.socket()",
    "program": "import os; os.system('mkdir {folder}/out')",
    "fork": "import os; os.fork()",
    "folder": "import os; os.mkdir('{folder}/out')",
    "native folder": "libc.mkdir(b'{folder}/out', 0o777) and (_ for _ in ()).throw(PermissionError())",
    "write": "open('{folder}/out', 'w')",
    "delete": "import os; os.remove('{folder}/keep')",
    "memory": "bytearray(4 << 30)",
}


@pytest.mark.parametrize("name", ESCAPES)
@pytest.mark.skipif(sys.platform != "linux", reason="the walls are those of Linux")
def test_the_process_cannot_do_anything_else(name: str, tmp_path: Path) -> None:
    (tmp_path / "keep").write_text("x")
    with socket.create_server(("127.0.0.1", 0)) as server:
        text = ESCAPES[name].format(port=server.getsockname()[1], folder=tmp_path)
        code = ("import ctypes, sys\nfrom engine.pickles.sandbox import ban, isolate, limit\nlibc = ctypes.CDLL(None)\n"
                f"limit(1 << 30, 20, 1 << 20)\nisolate()\nban()\ntry:\n    {text}\n"
                "except (PermissionError, MemoryError, OSError) as error:\n    sys.exit(7)\n")  # fmt: skip
        bare = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}  # the walls are tried, not the tests' hook
        done = subprocess.run([sys.executable, "-c", code], check=False, timeout=30, capture_output=True, env=bare)
    assert done.returncode == 7, done.stderr.decode()
    assert os.listdir(tmp_path) == ["keep"]


def test_a_compressed_archive_is_refused_as_such(tmp_path: Path) -> None:
    """Also one that would hardly grow: torch stores, and whoever compresses wants something."""
    torch.save({"w": torch.randn(4_096)}, tmp_path / "stored.pt")
    with (
        zipfile.ZipFile(tmp_path / "stored.pt") as stored,
        zipfile.ZipFile(tmp_path / "packed.pt", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for entry in stored.infolist():
            packed.writestr(entry.filename, stored.read(entry))
    with pytest.raises(UnsafePickle, match="compressed"):
        convert(tmp_path / "packed.pt", tmp_path / "packed.safetensors")
    assert not (tmp_path / "packed.safetensors").exists()
