"""Small files that travel in a bundle: tokenizer and processor data of the base, and the card of what is restored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.bundle.manifest import file_name
from engine.bundle.opening import Bundle
from engine.errors import FileProblem, NotSafetensors
from engine.export.beside import harmless
from engine.export.card import escaped, quoted
from engine.files.folder import is_sidecar
from engine.files.opening import read_small
from engine.files.reading import Reader
from engine.files.text import counted, printable
from engine.merge.inputs import Inputs

MAX_FILE = 64_000_000
"""Bytes of one carried file; tokenizers of large vocabularies have about 30 MB."""

MAX_FILES = 32
_FILE = file_name("")


def carried_files(inputs: Inputs) -> dict[str, bytes]:
    """Tokenizer and processor data of the base, or of the first expert that has any; data only, never code.

    Files that cannot be read or are too large are left out: the weights are what a bundle is for.
    """
    models = [model for model in (inputs.base, *inputs.experts) if model is not None]
    found: dict[str, bytes] = {}
    for file in next((model.sidecars for model in models if model.sidecars), ())[:MAX_FILES]:
        try:
            data = None if file.name == "config.json" else harmless(file.name, read_small(file, MAX_FILE))
        except FileProblem:
            continue
        if data:
            found[file.name] = data
    return found


def read_carried(bundle: Bundle) -> dict[str, bytes]:
    """The small files of a bundle by name; only names on the list of data files are read.

    Raises:
        NotSafetensors: if there are too many, or one is too large.
        FileProblem: if the bundle cannot be read.
    """
    infos = {n.removeprefix(_FILE): i for n, i in bundle.checkpoint.tensors.items() if n.startswith(_FILE)}
    wanted = {name: info for name, info in infos.items() if is_sidecar(name) and info.dtype == "U8"}
    if len(wanted) > MAX_FILES or any(info.numel > MAX_FILE for info in wanted.values()):
        raise NotSafetensors("The bundle carries too much beside its weights.", where=printable(bundle.path, 400),
                             hint="Get the bundle from a source that you trust.")  # fmt: skip
    with Reader(bundle.checkpoint) as reader:
        contents = {name: harmless(name, reader.read(info).tobytes()) for name, info in sorted(wanted.items())}
    return {name: data for name, data in contents.items() if data is not None}


def restored_card(bundle: Bundle, task: str, provenance: Mapping[str, Any], *, library: str) -> str:
    """README.md of a restored model; names are data, without a path or time."""
    manifest = bundle.manifest
    entry = manifest.tasks[manifest.number(task)]
    head = ["---", "base_model:", f"- {quoted(manifest.base_name)}", f"library_name: {library}", "tags:", "- mixdown",
            "- tall-mask", "---"]  # fmt: skip
    how = "gain x mask x multi-task vector" if manifest.rescale else "mask x multi-task vector"
    rows = ["| Setting | Value |", "|---|---|", f"| task | {escaped(task)} |",
            f"| lambda of its mask | {entry.strictness:g} |", f"| bits of the multi-task vector | {manifest.bits} |",
            f"| base | {escaped(manifest.base_name)} |", f"| SHA-256 of the base | {manifest.base_sha256} |",
            f"| SHA-256 of the expert | {entry.sha256} |"]  # fmt: skip
    maker = f" Made by {escaped(provenance['app'])}." if "app" in provenance else ""
    return "\n".join([
        *head, "", f"# {escaped(task)}, restored from a task bundle", "",
        f"Restored with Mixdown from a bundle of {counted(len(manifest.tasks), 'task')}: base + {how}. It is close to "
        "the expert that went into the bundle, not equal to it.", "",
        "Source of the method: Wang et al. 2024, Localizing Task Information for Improved Model Merging and "
        "Compression, arXiv:2405.07813.", "", *rows, "",
        f"The origin is in the metadata of the weight files, under the key `mixdown`.{maker}", "",
    ])  # fmt: skip
