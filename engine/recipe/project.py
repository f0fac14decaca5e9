"""Project files (.mixdown): a recipe as strict, closed-world JSON with relative paths and content hashes.

Nothing in a project file is ever executed. Files from strangers are checked before anything is
believed: size, depth, duplicate keys, NaN, unknown fields, types.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.errors import BadProject, FileProblem
from engine.files.durable import write_durably
from engine.files.opening import read_small
from engine.files.strict_json import BadJson, parse
from engine.recipe import stack
from engine.recipe.quick import fits
from engine.recipe.recipe import ModelRef, Recipe, Rule, TaskRef

FORMAT = 1
MAX_BYTES = 5_000_000
MAX_DEPTH = 12
_HINT = "Ask whoever made the file for a working copy, or open another project."
_MISSING, _FOLDER = "Check the path.", "Choose a file in it."

_TEXT = {"type": "string", "maxLength": 4096}
_MODEL: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["id", "name", "path"],
    "properties": {"id": {"type": "string", "maxLength": 64, "minLength": 1}, "name": {**_TEXT, "minLength": 1},
                   "path": _TEXT, "sha256": {"type": "string", "pattern": "^([0-9a-f]{64})?$"}},
}  # fmt: skip
_NUMBER = {"type": "number", "minimum": -1e6, "maximum": 1e6}
_KEY = {"type": ["string", "null"], "maxLength": 512}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["format", "recipe"],
    "properties": {
        "format": {"const": FORMAT},
        "app": _TEXT,
        "recipe": {
            "type": "object",
            "additionalProperties": False,
            "required": ["experts", "method"],
            "properties": {
                "base": {"anyOf": [_MODEL, {"type": "null"}]},
                "experts": {"type": "array", "items": _MODEL, "maxItems": 1000},
                "method": {"type": "string", "maxLength": 64},
                "params": {"type": "object", "maxProperties": 200_000,
                           "additionalProperties": {"type": ["number", "boolean", "string"], "maxLength": 512}},
                "rules": {"type": "array", "maxItems": 200_000, "items": {
                    "type": "object", "additionalProperties": False, "required": ["value"],
                    "properties": {"value": _NUMBER, "expert": _KEY, "kind": _KEY, "layer": _KEY, "tensor": _KEY}}},
                "muted": {"type": "array", "items": _TEXT, "maxItems": 1000},
                "soloed": {"type": "array", "items": _TEXT, "maxItems": 1000},
                "gains": {"type": "object", "additionalProperties": _NUMBER, "maxProperties": 1000},
                "seed": {"type": "integer", "minimum": 0, "maximum": 2**63 - 1},
                "dtype": {"enum": ["", "F64", "F32", "F16", "BF16"]},
                "extras": {"type": "object", "additionalProperties": _TEXT, "maxProperties": 2000},
                "stack": stack.SCHEMA,
                "tasks": {"type": "array", "maxItems": 1000, "items": {
                    "type": "object", "additionalProperties": False, "required": ["name", "path"],
                    "properties": {"name": _TEXT, "path": _TEXT, "sha256": _MODEL["properties"]["sha256"]}}},
            },
        },
        "pins": {"type": "object", "maxProperties": 100, "additionalProperties": {"type": "object"}},
    },
}  # fmt: skip


def to_json(recipe: Recipe, folder: Path | None = None) -> dict[str, Any]:
    """The recipe as plain data; paths relative to `folder` where that is given and possible."""

    def model(ref: ModelRef) -> dict[str, str]:
        return {"id": ref.id, "name": ref.name, "path": _relative(ref.path, folder), "sha256": ref.sha256}

    def rule(r: Rule) -> dict[str, Any]:
        keys = {"expert": r.expert, "kind": r.kind, "layer": r.layer, "tensor": r.tensor}
        return {**{k: v for k, v in keys.items() if v is not None}, "value": r.value}

    return {
        "base": model(recipe.base) if recipe.base else None,
        "experts": [model(e) for e in recipe.experts],
        "method": recipe.method,
        "params": dict(recipe.params),
        "rules": [rule(r) for r in recipe.rules],
        "muted": list(recipe.muted),
        "soloed": list(recipe.soloed),
        "gains": dict(recipe.gains),
        "seed": recipe.seed,
        "dtype": recipe.dtype,
        "tasks": [
            {"name": t.name, "path": _relative(t.path, folder), **({"sha256": t.sha256} if t.sha256 else {})}
            for t in recipe.tasks
        ],
        **({"extras": dict(recipe.extras)} if recipe.extras else {}),
        **({"stack": stack.to_plain(recipe.stack)} if recipe.stack else {}),
    }


def from_json(data: Mapping[str, Any], folder: Path | None = None) -> Recipe:
    """A recipe from plain data that has the shape of `SCHEMA["properties"]["recipe"]`.

    Raises:
        BadProject: naming the field that is wrong.
    """
    _validate({"format": FORMAT, "recipe": dict(data)})

    def model(raw: Mapping[str, str]) -> ModelRef:
        path = _absolute(raw["path"], folder)
        return ModelRef(id=raw["id"], name=raw["name"], path=path, sha256=raw.get("sha256", ""))

    experts = tuple(model(raw) for raw in data["experts"])
    base = model(data["base"]) if data.get("base") else None
    _check_unique(experts, base)
    return Recipe(
        base=base,
        experts=experts,
        method=data["method"],
        params=tuple(sorted(data.get("params", {}).items())),
        rules=tuple(Rule(**raw) for raw in data.get("rules", [])),
        muted=tuple(sorted(data.get("muted", []))),
        soloed=tuple(sorted(data.get("soloed", []))),
        gains=tuple(sorted((k, float(v)) for k, v in data.get("gains", {}).items())),
        seed=data.get("seed", 0),
        dtype=data.get("dtype", ""),
        tasks=tuple(
            TaskRef(name=t["name"], path=_absolute(t["path"], folder), sha256=t.get("sha256", ""))
            for t in data.get("tasks", [])
        ),
        extras=tuple(sorted(data.get("extras", {}).items())),
        stack=stack.from_plain(data.get("stack", [])),
    )


def save_project(recipe: Recipe, path: Path, *, app: str = "", pins: Mapping[str, Recipe] | None = None) -> None:
    """Write a project file durably: the old file survives any failure.

    Raises:
        WriteProblem: if the target cannot be written.
    """
    folder = path.parent
    data: dict[str, Any] = {"format": FORMAT, "app": app, "recipe": to_json(recipe, folder)}
    if pins:
        data["pins"] = {name: to_json(pinned, folder) for name, pinned in pins.items()}
    write_durably(path, json.dumps(data, indent=1, ensure_ascii=False).encode() + b"\n")


def load_project(path: Path) -> Recipe:
    """The recipe of a project file; see `load_with_pins`."""
    return load_with_pins(path)[0]


def load_with_pins(path: Path) -> tuple[Recipe, dict[str, Recipe]]:
    """Read a project file and its pinned recipes, believing nothing.

    Raises:
        BadProject: if it is too large, not JSON, of a newer format, or does not fit the schema.
    """
    try:
        return _load(path)
    except BadProject as error:
        raise BadProject(error.message, where=error.where or str(path), hint=error.hint or _HINT) from error


def _load(path: Path) -> tuple[Recipe, dict[str, Recipe]]:
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise BadProject(f"The project file has {size:,} bytes; at most {MAX_BYTES:,} are read.", where=str(path))
        text = read_small(path, MAX_BYTES).decode("utf-8")
    except FileProblem as error:  # also a pipe, which would be waited for
        hint = _FOLDER if path.is_dir() else ""
        raise BadProject(f"The project file cannot be read. {error.message}", where=str(path), hint=hint) from error
    except OSError as error:
        hint = _MISSING if isinstance(error, FileNotFoundError) else ""
        raise BadProject(f"The project file cannot be read: {error.strerror}.", where=str(path), hint=hint) from error
    except UnicodeDecodeError as error:
        raise BadProject("The project file is not UTF-8 text.", where=str(path)) from error
    data = strict_json(text, where=str(path))
    if isinstance(data, dict) and isinstance(data.get("format"), int) and data["format"] > FORMAT:
        raise BadProject("This project was saved by a newer Mixdown.", where=str(path), hint="Update Mixdown.")
    _validate(data, where=str(path))
    folder = path.parent
    return from_json(data["recipe"], folder), {n: from_json(p, folder) for n, p in data.get("pins", {}).items()}


def strict_json(text: str, *, where: str = "") -> Any:
    """Parse JSON without NaN, duplicate keys or deep nesting.

    Raises:
        BadProject: saying what is wrong.
    """
    try:
        return parse(text.encode("utf-8", "surrogatepass"), depth=MAX_DEPTH)
    except BadJson as error:
        raise BadProject(f"The file cannot be used: {error}.", where=where) from error


def _validate(data: Any, where: str = "") -> None:
    if fits(data, SCHEMA):
        return
    import jsonschema  # only to say what is wrong: loading it takes as long as painting the window

    errors = sorted(jsonschema.Draft202012Validator(SCHEMA).iter_errors(data), key=lambda e: len(list(e.path)))
    if errors:
        field = "/".join(str(p) for p in errors[0].path) or "the file"
        raise BadProject(f"{field}: {errors[0].message[:200]}", where=where, hint="The file may be damaged.")


def _check_unique(experts: tuple[ModelRef, ...], base: ModelRef | None) -> None:
    ids = [e.id for e in experts] + ([base.id] if base else [])
    names = [e.name for e in experts]
    if len(set(ids)) != len(ids) or len(set(names)) != len(names):
        raise BadProject("Two models have the same id or name.", hint="Rename one of them in the file.")


def _relative(path: str, folder: Path | None) -> str:
    if folder is None or not path:
        return path
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # another drive on Windows
        return path


def _absolute(path: str, folder: Path | None) -> str:
    if folder is None or not path:
        return path
    return os.path.normpath(folder / path)
