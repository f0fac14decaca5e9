"""The containers of torch.save: a zip archive (since 1.6), or pickles one after the other; others are refused."""

from __future__ import annotations

import re
import struct
import tarfile
import zipfile
from typing import Any, BinaryIO

from engine.errors import UnsafePickle
from engine.pickles.machine import ITEM_BYTES, Storage, Tensor, interpret, refused

MOST_PICKLE = 64 << 20
MOST_ENTRIES = 100_000
_MAGIC = 0x1950A86A20F9469CFC6C
_ENTRY = re.compile(
    r"[^/\\\0]{1,200}/(data\.pkl|data/\d{1,9}|version|byteorder|\.format_version|\.storage_alignment"
    r"|\.data/serialization_id)",
    re.ASCII,
)
_HEADER = struct.calcsize("<4s5H3L2H")


def read_structure(file: BinaryIO, size: int) -> dict[str, Tensor]:
    """The tensors of a state dict, from its pickle alone; nothing is run.

    Args:
        file: The whole file, open for reading.
        size: Its bytes.

    Returns:
        What every name stands for. A dict under "state_dict" or "model" is taken instead of the outer one; everything
        that is no tensor is left out.

    Raises:
        UnsafePickle: if it is no plain state dict, compressed, or larger than its own bytes.
    """
    file.seek(0)
    value, storages = (_from_zip if file.read(4) == b"PK\x03\x04" else _from_legacy)(file, size)
    found = _tensors(value)
    for name, tensor in found.items():
        room = storages.get(tensor.storage.key)
        if room is None or tensor.storage.numel * ITEM_BYTES[tensor.storage.kind] > room:
            raise refused(f"the storage of {name!r} is not as large as it says")
    return found


def _from_zip(file: BinaryIO, size: int) -> tuple[Any, dict[str, int]]:
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            _check_entries(entries, size)
            main = next(entry for entry in entries if entry.filename.endswith("/data.pkl"))
            value, _ = interpret(archive.read(main))
    except UnsafePickle:
        raise
    except Exception as error:  # zipfile raises many kinds for damaged archives
        raise refused(f"its archive is damaged ({type(error).__name__})") from error
    return value, {e.filename.rpartition("/")[2]: e.file_size for e in entries if "/data/" in e.filename}


def _check_entries(entries: list[zipfile.ZipInfo], size: int) -> None:
    """Stored, not compressed; each name once and known; no two share bytes; one pickle."""
    names = [entry.filename for entry in entries]
    if len(entries) > MOST_ENTRIES or len(set(names)) != len(names):
        raise refused("its archive lists too many files, or one twice")
    if any(entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 0x1 for entry in entries):
        raise refused("its archive is compressed or encrypted, which torch never writes")
    if not all(_ENTRY.fullmatch(name) for name in names) or len({name.partition("/")[0] for name in names}) != 1:
        raise refused("its archive holds other files (TorchScript or a whole program)")
    end = 0
    for entry in sorted(entries, key=lambda e: e.header_offset):
        if entry.header_offset < end or entry.file_size != entry.compress_size:
            raise refused("two files of its archive share bytes")
        end = entry.header_offset + _HEADER + len(entry.filename) + entry.file_size
    pickles = [entry for entry in entries if entry.filename.endswith("/data.pkl")]
    if end > size or len(pickles) != 1 or pickles[0].file_size > MOST_PICKLE:
        raise refused("its archive has no pickle, several, or a huge one")


def _from_legacy(file: BinaryIO, size: int) -> tuple[Any, dict[str, int]]:
    """Magic number, protocol, system, the pickle, the keys of the storages; then their bytes."""
    file.seek(0)
    data = file.read(min(size, MOST_PICKLE))
    if _is_tar(data[:512]):
        raise refused("it is a tar archive of a very old torch; load it there and save it again")
    if data[:2] == b"\x1f\x8b":
        raise refused("it is compressed (gzip), which torch never writes; unpack it first")
    position = 0
    parts: list[Any] = []
    for number in range(5):
        value, length = interpret(data[position:], globals_allowed=number == 3)
        position += length
        parts.append(value)
        if number == 0 and value != _MAGIC:
            raise refused("it does not begin as torch.save does")
    if parts[1] != 1001 or type(parts[2]) is not dict or type(parts[4]) is not list:
        raise refused("it is not as torch.save writes it")
    return parts[3], _legacy_storages(file, size, position, parts[4], parts[3])


def _is_tar(block: bytes) -> bool:
    """Whether the first block of a file is a tar header, of whichever kind; nothing is unpacked."""
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.TarError, ValueError):
        return False
    return True


def _legacy_storages(file: BinaryIO, size: int, position: int, keys: list[Any], value: Any) -> dict[str, int]:
    """Bytes of every storage, from the lengths in front of them."""
    known: dict[str, Storage] = {t.storage.key: t.storage for t in _tensors(value).values()}
    sizes: dict[str, int] = {}
    for key in keys:
        file.seek(position)
        raw = file.read(8)
        if key not in known or len(raw) < 8:
            raise refused("its storages are not those that it lists")
        room = struct.unpack("<q", raw)[0] * ITEM_BYTES[known[key].kind]
        position += 8 + room
        if room < 0 or position > size:
            raise refused("a storage reaches beyond the end of the file")
        sizes[key] = room
    return sizes


def _tensors(value: Any) -> dict[str, Tensor]:
    """The state dict: {name: tensor}."""
    for key in ("state_dict", "model"):
        if type(value) is dict and type(value.get(key)) is dict:
            value = value[key]
    found = {k: v for k, v in value.items() if isinstance(v, Tensor)} if type(value) is dict else {}
    if not found or not all(type(key) is str and 0 < len(key) <= 512 for key in found):
        raise refused("it holds no tensors by name")
    return found
