"""The ONNX graph of an exported model folder, made before the folder gets its name."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.export.disk import sync_folder
from engine.export.existing import SUFFIX
from engine.export.manifest import MANIFEST_NAME, changed_manifest, read_whole
from engine.export.options import Format
from engine.export.shards import INDEX_NAME
from engine.export.writer import write_file
from engine.files.checkpoint import open_checkpoint
from engine.graphs.policy import RUNNERS
from engine.graphs.writing import FILE_NAME, write_onnx
from engine.merge.plan import Plan
from engine.progress import Progress


def add_graph(
    folder: Path, plan: Plan, sizes: Mapping[str, int], wanted: Format, provenance: Mapping[str, Any],
    progress: Progress,
) -> dict[str, int]:  # fmt: skip
    """Put `model.onnx` into a folder of safetensors and, for "onnx", take those out.

    Args:
        folder: The finished but unnamed folder.
        plan: What was merged; gives the configuration where the folder has none.
        sizes: Name and size of its files.
        wanted: "onnx" or "both".
        provenance: What the file says about its origin.
        progress: Told how far it is; cancels.

    Returns:
        Name and size of the files that are there now.

    Raises:
        EvalProblem: if the architecture cannot be traced, or the graph disagrees with torch.
    """
    model = open_checkpoint(folder)
    if model.config is None:
        models = (plan.models.base, *plan.models.experts)
        model = replace(model, config=next((m.config for m in models if m is not None and m.config), None))
    beside = folder if wanted == "both" else None
    done = write_onnx(model, folder / FILE_NAME, RUNNERS, metadata=provenance, weights_at=beside, progress=progress)
    gone = [n for n in sizes if n.endswith(SUFFIX) or n == INDEX_NAME] if wanted == "onnx" else []
    for name in gone:
        (folder / name).unlink()
    graphs = {file.name: file.stat().st_size for file in done.files}
    left = {**graphs, **{name: size for name, size in sizes.items() if name not in gone}}
    if MANIFEST_NAME in left:
        left[MANIFEST_NAME] = _renew_manifest(folder, gone, done.files)
    sync_folder(folder)
    return left


def _renew_manifest(folder: Path, gone: list[str], added: tuple[Path, ...]) -> int:
    """List what is there now; returns the manifest's size."""
    listed, sources = read_whole(folder)
    files = {name: entry for name, entry in listed.items() if name not in gone}
    for file in added:
        with file.open("rb") as stream:
            files[file.name] = {
                "bytes": file.stat().st_size,
                "sha256": hashlib.file_digest(stream, "sha256").hexdigest(),
            }
    data = changed_manifest(files, sources)
    (folder / MANIFEST_NAME).unlink()
    write_file(folder / MANIFEST_NAME, data)
    return len(data)
