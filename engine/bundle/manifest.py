"""What a bundle says about itself, and how its tensors are called.

A bundle is one safetensors file. Its metadata key "mixdown" holds the manifest as JSON; its tensors are

- ``multi/NAME``     F32 (or F64) multi-task vector of tensor NAME, in its shape; or I8 steps in that shape with
  ``scale/NAME`` (F32, one for each 128 weights in a row). Tensors that no expert changes are left out.
- ``mask/T/NAME``    U8 mask of task number T (order of the manifest), packed as numpy.packbits does (first weight in
  the highest bit, last byte filled with 0), or coded, see `engine.bundle.coding`.
- ``gain/T``         F32 factors of task T, one for each tensor that has a mask, in order of name; only if the manifest
  says "rescale".
- ``base/NAME``      the base's tensors, if the bundle includes them.
- ``file/NAME``      U8 bytes of the base's small files (config.json, tokenizer data), so that restored models are
  complete. Only names of `engine.files.folder.is_sidecar` are written and read: data, never code.

The manifest's "tasks" are in canonical order (by content), so that the same models give the same masks whatever their
rows. Its "order" lists their numbers as they stood on the desk; it only says how to show them, and older bundles, which
lack it, are shown by number.

Task T is restored as base + gain x mask x multi, where the mask is |tau_T| > lambda_T |multi - tau_T|. The gain is 1
(the paper) or sum |tau_T| / sum |mask x multi| of the tensor, which gives the task vector its old size back.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.bundle.coding import CODECS
from engine.errors import BadRecipe, NotSafetensors
from engine.files import strict_json
from engine.files.text import printable

KIND = "task bundle"
FORMAT = 1
_HEX = re.compile(r"[0-9a-f]{0,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class TaskEntry:
    """One task of a bundle.

    Attributes:
        name: The expert's name.
        strictness: The lambda of its mask.
        sha256: Content hash of the expert ("" if unknown).
    """

    name: str
    strictness: float
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Manifest:
    """The description in a bundle's header.

    Attributes:
        tasks: The tasks, in the order of their numbers.
        base_name: What the base was called.
        base_sha256: Its content hash ("" if unknown).
        base_print: Its fingerprint (does not depend on how it is spread over files).
        included: Whether the base's tensors are in the bundle.
        codec: How masks are coded.
        bits: 32 (exact) or 8 (quantised) bits of a weight of the multi-task vector.
        rescale: Whether there are gains.
        config: The base's config.json without references to code, or None.
        order: Numbers of the tasks as they stood on the desk; empty in bundles that do not say.
    """

    tasks: tuple[TaskEntry, ...]
    base_name: str
    base_sha256: str
    base_print: str
    included: bool
    codec: str
    bits: int
    rescale: bool = False
    config: Mapping[str, Any] | None = None
    order: tuple[int, ...] = ()

    @property
    def in_order(self) -> tuple[TaskEntry, ...]:
        """The tasks as they stood on the desk."""
        return tuple(self.tasks[number] for number in self.order) or self.tasks

    def number(self, task: str) -> int:
        """The number of a task.

        Raises:
            BadRecipe: if there is none of this name.
        """
        names = [entry.name for entry in self.tasks]
        if task not in names:
            known = ", ".join(printable(name, 60) for name in names)
            raise BadRecipe(f"The bundle has no task {printable(task, 60)!r}.", hint=f"It has: {known}.")
        return names.index(task)


def multi_name(tensor: str) -> str:
    """Where a tensor's multi-task vector is."""
    return f"multi/{tensor}"


def scale_name(tensor: str) -> str:
    """Where the scales of an 8-bit multi-task vector are."""
    return f"scale/{tensor}"


def mask_name(number: int, tensor: str) -> str:
    """Where the mask of a task is."""
    return f"mask/{number}/{tensor}"


def gain_name(number: int) -> str:
    """Where the gains of a task are."""
    return f"gain/{number}"


def file_name(name: str) -> str:
    """Where a small file of the base is."""
    return f"file/{name}"


def base_name(tensor: str) -> str:
    """Where a tensor of the base is."""
    return f"base/{tensor}"


def to_json(manifest: Manifest) -> dict[str, Any]:
    """The manifest as plain JSON."""
    return {
        "kind": KIND,
        "format": FORMAT,
        "tasks": [{"name": t.name, "lambda": t.strictness, "sha256": t.sha256} for t in manifest.tasks],
        "base": {
            "name": manifest.base_name,
            "sha256": manifest.base_sha256,
            "fingerprint": manifest.base_print,
            "included": manifest.included,
        },
        "mask": {"codec": manifest.codec, "bit_order": "big", "rule": "|tau| > lambda * |multi - tau|"},
        "multi_bits": manifest.bits,
        "rescale": manifest.rescale,
        "config": manifest.config,
        **({"order": list(manifest.order)} if manifest.order else {}),
    }


def from_json(text: str, where: str) -> Manifest:
    """Read a manifest; nothing in it is trusted.

    Raises:
        NotSafetensors: if it is not the description of a bundle that this version reads.
    """
    try:
        table = strict_json.parse(text.encode())
        if not isinstance(table, dict) or table.get("kind") != KIND:
            raise ValueError("it is not a task bundle")
        if table.get("format") != FORMAT:
            raise ValueError("it has another format; a newer Mixdown may read it")
        return _checked(table)
    except (strict_json.BadJson, ValueError, KeyError, TypeError) as error:
        reason = printable(error, 200)
        raise NotSafetensors(f"This file is no task bundle: {reason}.", where=where, hint="Choose another.") from error


def _checked(table: Mapping[str, Any]) -> Manifest:
    base, codec, bits, config = table["base"], table["mask"]["codec"], table["multi_bits"], table["config"]
    tasks = tuple(_task(entry) for entry in table["tasks"])
    names = [task.name for task in tasks]
    if not names or len(set(names)) < len(names):
        raise ValueError("its tasks have no different names")
    if codec not in CODECS or bits not in (8, 32) or table["mask"]["bit_order"] != "big":
        raise ValueError("its coding is not known")
    if type(base["included"]) is not bool or not (config is None or isinstance(config, dict)):
        raise ValueError("its description of the base is wrong")
    if type(table["rescale"]) is not bool:
        raise ValueError("its scaling is not known")
    return Manifest(
        tasks=tasks,
        base_name=_text(base["name"]),
        base_sha256=_hex(base["sha256"]),
        base_print=_hex(base["fingerprint"]),
        included=base["included"],
        codec=codec,
        bits=bits,
        rescale=table["rescale"],
        config=config,
        order=_order(table.get("order", []), len(tasks)),
    )


def _order(found: object, tasks: int) -> tuple[int, ...]:
    if not isinstance(found, list) or any(type(number) is not int for number in found):
        raise ValueError("its order is no list of numbers")
    if found and sorted(found) != list(range(tasks)):
        raise ValueError("its order does not name every task once")
    return tuple(found)


def _task(entry: Mapping[str, Any]) -> TaskEntry:
    strictness = entry["lambda"]
    if type(strictness) not in (int, float) or not 0 <= strictness < 1e6:
        raise ValueError("a lambda is no number")
    return TaskEntry(_text(entry["name"]), float(strictness), _hex(entry["sha256"]))


def _text(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 512:
        raise ValueError("a name is no text")
    return value


def _hex(value: object) -> str:
    if not isinstance(value, str) or not _HEX.fullmatch(value):
        raise ValueError("a hash is no hash")
    return value
