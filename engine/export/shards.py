"""Which tensor goes where: the files of an export and the bytes of their headers.

The header is written by hand: `safetensors` orders metadata by chance, so that the same model saved twice gives
different files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.errors import WriteProblem
from engine.export.tree import ALGORITHM, BLOCK, HEX, block_count
from engine.files.header import MAX_HEADER
from engine.files.model import ITEM_BYTES
from engine.merge.plan import Plan

INDEX_NAME = "model.safetensors.index.json"
KEY = "mixdown"
"""The one metadata key that tells where a model comes from."""

_ALIGN = 8


@dataclass(frozen=True, slots=True)
class Shard:
    """One weight file.

    Attributes:
        name: File name.
        header: Its first bytes: length and JSON, padded; with zeros for the hashes, which `sealed` fills in.
        places: Job index to absolute byte offset in the file.
        size: Bytes of the whole file.
        tensors: What the header says about each tensor, in the order of `places`.
        provenance: What the metadata says about the origin.
    """

    name: str
    header: bytes
    places: Mapping[int, int]
    size: int
    tensors: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)


def canonical_json(value: object) -> str:
    """JSON that depends on nothing but the value: sorted keys, no spaces, ASCII, no NaN.

    Raises:
        ValueError: for NaN and infinity.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def make_shards(plan: Plan, provenance: Mapping[str, Any], *, limit: int, single: str = "") -> tuple[Shard, ...]:
    """Distribute the tensors of a plan, in its order, over files.

    Args:
        plan: Whose tensors are written.
        provenance: What the files say about their origin.
        limit: Most bytes of tensors in a file; one tensor is never split.
        single: Name of the only file; empty for a folder's standard names.
    """
    parts: list[list[int]] = [[]]
    size = 0
    for index, job in enumerate(plan.jobs):
        if not single and parts[-1] and size + job.bytes_out > limit:
            parts.append([])
            size = 0
        parts[-1].append(index)
        size += job.bytes_out
    return tuple(_shard(plan, part, single or _name(k, len(parts)), provenance) for k, part in enumerate(parts, 1))


def index_json(plan: Plan, shards: tuple[Shard, ...]) -> bytes:
    """The index of a folder of several weight files."""
    weight_map = {plan.jobs[index].name: shard.name for shard in shards for index in shard.places}
    table = {"metadata": {"total_size": plan.bytes_out}, "weight_map": dict(sorted(weight_map.items()))}
    return (json.dumps(table, indent=2, ensure_ascii=False) + "\n").encode()


def _name(number: int, total: int) -> str:
    return "model.safetensors" if total == 1 else f"model-{number:05d}-of-{total:05d}.safetensors"


def sealed(shard: Shard, leaves: Mapping[int, str]) -> tuple[bytes, str]:
    """The header with its hashes.

    Args:
        shard: A file of which all tensors are written.
        leaves: The hashes of the blocks of every tensor, by job index; see `engine.export.tree`.

    Returns:
        As many bytes as `shard.header` has, and the root of the file.
    """
    named = dict(zip(shard.tensors, (leaves[job] for job in shard.places), strict=True))
    root = root_of(shard.tensors, shard.provenance, named)
    header = header_bytes(shard.tensors, shard.provenance, named, root)
    if len(header) != len(shard.header):
        raise WriteProblem("The header does not fit.", where=shard.name, hint="This is a bug; please report it.")
    return header, root


def root_of(tensors: Mapping[str, Mapping[str, Any]], provenance: Mapping[str, Any], leaves: Mapping[str, str]) -> str:
    """The root of a file's hash tree; see `engine.export.tree`."""
    text = canonical_json({"tensors": tensors, "order": list(tensors), KEY: _with_tree(provenance, leaves, "")})
    return hashlib.sha256(text.encode()).hexdigest()


def header_bytes(
    tensors: Mapping[str, Mapping[str, Any]], provenance: Mapping[str, Any], leaves: Mapping[str, str], root: str
) -> bytes:
    """The first bytes of a weight file: length and JSON, padded; nothing about them is left to chance."""
    metadata = {"format": "pt", KEY: canonical_json(_with_tree(provenance, leaves, root))}
    text = json.dumps({"__metadata__": metadata, **tensors}, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % _ALIGN)
    return len(text).to_bytes(8, "little") + text


def _with_tree(provenance: Mapping[str, Any], leaves: Mapping[str, str], root: str) -> dict[str, Any]:
    return {**provenance, "tree": {"block": BLOCK, "hash": ALGORITHM, "leaves": leaves, "root": root}}


def _shard(plan: Plan, indices: list[int], name: str, provenance: Mapping[str, Any]) -> Shard:
    """Wide dtypes first, so that every tensor lies at a multiple of its item size."""
    ordered = sorted(indices, key=lambda i: -ITEM_BYTES[plan.jobs[i].out_dtype])  # stable
    table: dict[str, Any] = {}
    blank: dict[str, str] = {}
    starts: dict[int, int] = {}
    position = 0
    for index in ordered:
        job = plan.jobs[index]
        end = position + job.bytes_out
        table[job.name] = {"dtype": job.out_dtype, "shape": list(job.shape), "data_offsets": [position, end]}
        blank[job.name] = "0" * HEX * block_count(job.bytes_out)
        starts[index] = position
        position = end
    header = header_bytes(table, provenance, blank, "0" * HEX)
    if len(header) - 8 > MAX_HEADER:
        raise WriteProblem(f"The header of {name} would have {len(header):,} bytes.", hint="Use smaller shards.")
    places = {index: len(header) + start for index, start in starts.items()}
    return Shard(name, header, places, len(header) + position, table, provenance)
