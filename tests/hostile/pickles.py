"""Hostile pickles in all three containers of PyTorch (zip, legacy, bare), and archives that are bombs."""

from __future__ import annotations

import collections
import io
import os
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.hostile.case import CANARY, Case

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
SYS_INFO = {"protocol_version": 1001, "little_endian": True,
            "type_sizes": {"short": 2, "int": 4, "long": 4}}  # fmt: skip


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function: Callable[..., Any], *arguments: object) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[object, ...]]:
        return self.function, self.arguments


def cases() -> Iterator[Case]:
    """All of them."""
    for name, build in _payloads():
        for container, wrap in (("zip", zipped), ("legacy", legacy), ("bare", bytes)):
            yield Case(f"pickle-{name}-{container}", "model", _file(f"{container}.pt", build, wrap))
    for name, make in _disguises():
        yield Case(f"disguise-{name}", "model", make)
    for name, make in _archives():
        yield Case(f"archive-{name}", "model", make)
    yield Case("pickle-folder", "model", _folder)


def _payloads() -> Iterator[tuple[str, Callable[[Path], bytes]]]:
    """Pickle streams; each gets the folder in which only they could make the canary."""
    yield "mkdir", lambda d: pickle.dumps({"w": Call(os.mkdir, str(d / CANARY))})
    yield "system", lambda d: pickle.dumps(Call(os.system, f"mkdir {d / CANARY}"))
    yield "protocol-0", lambda d: pickle.dumps(Call(os.mkdir, str(d / CANARY)), protocol=0)
    yield "eval", lambda d: pickle.dumps(Call(eval, f"__import__('os').mkdir({str(d / CANARY)!r})"))
    yield "getattr", lambda d: pickle.dumps(Call(getattr, "a", "upper"))
    yield "inst", lambda d: b"(V" + str(d / CANARY).encode() + b"\nios\nmkdir\n."
    yield "obj", lambda d: b"(cos\nmkdir\nV" + str(d / CANARY).encode() + b"\no."
    yield "stack-global-memo", _stack_global
    yield "build", lambda d: b"ccollections\nOrderedDict\n)R}V__dict__\nV" + str(d).encode() + b"\nsb."
    yield "laughs", lambda d: _laughs()
    yield "deep", lambda d: b"\x80\x02" + b"(" * 200_000 + b"t" * 200_000 + b"."
    yield "truncated", lambda d: pickle.dumps({"w": list(range(1000))})[:-200]
    yield "long-text", lambda d: b"\x80\x04\x8d" + struct.pack("<Q", 2**60) + b"x."
    yield "memo-bomb", lambda d: b"\x80\x02}r\xff\xff\xff\x7f."
    yield "ext", lambda d: b"\x80\x02\x82\x01)R."
    yield "persistent", lambda d: b"\x80\x02(X\x07\0\0\0storagecos\nmkdir\nX\x01\0\0\x000X\x03\0\0\0cpuK\x01tQ."
    yield "stride-0", lambda d: tensor_pickle(size=(2**20, 2**20), stride=(0, 0), numel=1)
    yield "storage-lie", lambda d: tensor_pickle(size=(4,), stride=(1,), numel=2**40)
    yield "offset", lambda d: tensor_pickle(size=(1,), stride=(1,), numel=1, offset=2**50)
    yield "negative-stride", lambda d: tensor_pickle(size=(2,), stride=(-1,), numel=2)
    yield "nested-pickle", lambda d: pickle.dumps({"w": pickle.dumps(Call(os.mkdir, str(d / CANARY)))})
    yield "setitem-tensor", _setitem


def _stack_global(folder: Path) -> bytes:
    """Module and name come out of the memo."""
    path = str(folder / CANARY).encode()
    text = b"\x8c\x02os\x94\x8c\x05mkdir\x94" + b"00" + b"h\x00h\x01\x93"
    return b"\x80\x04" + text + b"\x8c" + bytes([len(path)]) + path + b"\x85R." if len(path) < 256 else b"\x80\x04."


def _laughs() -> bytes:
    made: list[Any] = ["ha"]
    for _ in range(40):
        made = [made, made]
    return pickle.dumps({"w": made})


def tensor_pickle(size: tuple[int, ...], stride: tuple[int, ...], numel: int, offset: int = 0) -> bytes:
    """A state dict with one tensor as torch.save writes it, with these (perhaps lying) numbers."""

    def ints(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(_integer(v) for v in values) + b"t"

    storage = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpu" + _integer(numel) + b"tQ"
    rebuilt = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + _integer(offset) + ints(size) + ints(stride)
    return b"\x80\x02}X\x01\0\0\0w" + rebuilt + b"\x89ccollections\nOrderedDict\n)RtRs."


def _integer(value: int) -> bytes:
    if 0 <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    data = value.to_bytes(10, "little", signed=True)
    return b"\x8a\x0a" + data


def _setitem(folder: Path) -> bytes:
    inner = tensor_pickle((2,), (1,), 2)
    return inner[:-2] + b"X\x01\0\0\0wcollections\nCounter\n)Rs."


def zipped(data: bytes, compression: int = zipfile.ZIP_STORED) -> bytes:
    """The container of today's torch.save."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", compression) as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/data/0", b"\0" * 8)
        archive.writestr("archive/version", b"3\n")
    return target.getvalue()


def legacy(data: bytes) -> bytes:
    """The container before PyTorch 1.6."""
    parts = [pickle.dumps(LEGACY_MAGIC, 2), pickle.dumps(1001, 2), pickle.dumps(SYS_INFO, 2), data]
    return b"".join(parts) + pickle.dumps(["0"], 2) + struct.pack("<q", 2) + b"\0" * 8


def _file(name: str, build: Callable[[Path], bytes], wrap: Callable[[bytes], bytes]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(wrap(build(folder)))
        return path

    return make


def _disguises() -> Iterator[tuple[str, Callable[[Path], Path]]]:
    def evil(folder: Path) -> bytes:
        return pickle.dumps(Call(os.mkdir, str(folder / CANARY)))

    for suffix in ("bin", "ckpt", "pth", "pkl", "safetensors", "PT", "Bin"):
        yield f"bare-{suffix}", _file(f"model.{suffix}", evil, bytes)
        yield f"zip-{suffix}", _file(f"model.{suffix}", evil, zipped)
    yield "double-suffix", _file("model.safetensors.bin", evil, zipped)
    yield "bidi-name", _file("model\u202esrosnetefas.pt", evil, zipped)
    yield "html-name", _file("<b>model<b>.pt", evil, zipped)


def _archives() -> Iterator[tuple[str, Callable[[Path], Path]]]:
    yield "deflate-bomb", _deflate
    yield "many-entries", _entries(30_000, "archive/data/{}")
    yield "traversal", _members("../../canary", "archive/data.pkl")
    yield "absolute", _members("/tmp/mixdown-canary", "archive/data.pkl")
    yield "duplicate", _members("archive/data.pkl", "archive/data.pkl")
    yield "two-pickles", _members("archive/data.pkl", "other/data.pkl")
    yield "torchscript", _members("archive/data.pkl", "archive/code/__torch__.py", "archive/constants.pkl")
    yield "no-pickle", _members("archive/data/0")
    yield "not-a-zip", _plain(b"PK\x03\x04" + b"\0" * 200)
    yield "truncated", _cut
    yield "nested", _nested
    yield "tar", _tar("w", tarfile.PAX_FORMAT)
    yield "tar-gnu", _tar("w", tarfile.GNU_FORMAT)
    yield "tar-ustar", _tar("w", tarfile.USTAR_FORMAT)
    yield "tar-gz", _tar("w:gz", tarfile.GNU_FORMAT)
    yield "tar-v7", _tar("w", tarfile.USTAR_FORMAT, is_old=True)
    yield "overlap", _overlap


def _members(*names: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        import warnings

        path = folder / "m.pt"
        with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as archive:
            warnings.simplefilter("ignore")  # that a name is there twice
            for name in names:
                archive.writestr(name, pickle.dumps({"w": 1}, 2))
        return path

    return make


def _entries(count: int, pattern: str) -> Callable[[Path], Path]:
    return lambda folder: _members("archive/data.pkl", *(pattern.format(i) for i in range(count)))(folder)


def _plain(data: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / "m.pt").write_bytes(data)
        return folder / "m.pt"

    return make


def _deflate(folder: Path) -> Path:
    """512 MB of zeros in half a megabyte."""
    path, block = folder / "m.pt", b"\0" * (1 << 24)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("archive/data.pkl", tensor_pickle((2**27,), (1,), 2**27))
        with archive.open("archive/data/0", "w") as file:
            for _ in range(32):
                file.write(block)
    return path


def _cut(folder: Path) -> Path:
    data = zipped(pickle.dumps({"w": 1}, 2))
    return _plain(data[: len(data) // 2])(folder)


def _nested(folder: Path) -> Path:
    return _plain(zipped(zipped(zipped(pickle.dumps(collections.OrderedDict(), 2)))))(folder)


def _tar(mode: str, form: int, *, is_old: bool = False) -> Callable[[Path], Path]:
    """What torch wrote before 2016, with a member that would leave the folder; `is_old` without the magic word."""

    def make(folder: Path) -> Path:
        path = folder / "m.tar"
        with tarfile.open(path, mode, format=form) as archive:
            for name in ("sys_info", "pickle", "storages", "tensors", "../canary"):
                info = tarfile.TarInfo(name)
                info.size = 2
                archive.addfile(info, io.BytesIO(b"}."))
        if is_old:
            data = bytearray(path.read_bytes())
            data[148:156], data[257:512] = b" " * 8, bytes(255)
            data[148:156] = b"%06o\0 " % sum(data[:512])
            path.write_bytes(data)
        return path.rename(folder / "m.pt")

    return make


def _overlap(folder: Path) -> Path:
    """A central directory in which two names share the same bytes."""
    data = bytearray(zipped(tensor_pickle((2,), (1,), 2)))
    first = data.find(b"PK\x01\x02")
    second = data.find(b"PK\x01\x02", first + 4)
    data[second + 42 : second + 46] = data[first + 42 : first + 46]
    return _plain(bytes(data))(folder)


def _folder(folder: Path) -> Path:
    home = folder / "m"
    home.mkdir()
    (home / "config.json").write_text('{"model_type": "llama"}')
    (home / "pytorch_model.bin").write_bytes(zipped(pickle.dumps(Call(os.mkdir, str(folder / CANARY)))))
    return home
