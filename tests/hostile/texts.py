"""Hostile recipes: projects, mergekit files, tasks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.hostile.case import Case, good

EXPERT = {"id": "a", "name": "a", "path": "m.safetensors"}


def cases() -> Iterator[Case]:
    """All of them."""
    for name, text, refused in _projects():
        yield Case(f"project-{name}", "project", _file("p.mixdown", text), refused)
    for name, text, refused in _yaml():
        yield Case(f"yaml-{name}", "recipe", _file("m.yaml", text), refused)
    for name, text in _tasks():
        yield Case(f"task-{name}", "task", _file("t.task.json", text))


def _file(name: str, text: bytes | str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / name
        good(folder / "m.safetensors")
        path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
        return path

    return make


def project(**changes: Any) -> str:
    """A right project with changes in its recipe."""
    recipe: dict[str, Any] = {"experts": [EXPERT], "method": "linear", **changes}
    return json.dumps({"format": 1, "recipe": recipe})


def _projects() -> Iterator[tuple[str, bytes | str, bool]]:
    yield "empty", "", True
    yield "null", "null", True
    yield "deep", '{"format":' + "[" * 100_000, True
    yield "huge", '{"format": 1, "app": "' + "x" * 6_000_000 + '"}', True
    yield "nan", project()[:-2] + ', "seed": NaN}}', True
    yield "1e999", project()[:-2] + ', "gains": {"a": 1e999}}}', True
    yield "duplicate", '{"format": 1, "format": 1, "recipe": {}}', True
    yield "newer", '{"format": 99, "recipe": {}}', True
    yield "format-text", '{"format": "1", "recipe": {}}', True
    yield "unknown-field", '{"format": 1, "recipe": {"experts": [], "method": "linear"}, "exec": "os.system"}', True
    yield "method-unknown", project(method="__import__('os')"), True
    yield "method-path", project(method="../../evil"), True
    yield "absolute", project(experts=[{**EXPERT, "path": "/etc/passwd"}]), True
    yield "parent", project(experts=[{**EXPERT, "path": "../../../../../../etc/shadow"}]), True
    yield "unc", project(experts=[{**EXPERT, "path": "\\\\evil\\share\\m.safetensors"}]), True
    yield "url", project(experts=[{**EXPERT, "path": "http://127.0.0.1:9/m.safetensors"}]), True
    yield "device", project(experts=[{**EXPERT, "path": "/dev/zero"}]), True
    yield "nul", project(experts=[{**EXPERT, "path": "a\0b"}]), True
    yield "long-path", project(experts=[{**EXPERT, "path": "x/" * 2_000}]), True
    yield "same-id", project(experts=[EXPERT, EXPERT]), True
    yield "no-name", project(experts=[{**EXPERT, "name": ""}]), True
    yield "many-experts", project(experts=[{**EXPERT, "id": f"{i}", "name": f"{i}"} for i in range(2_000)]), True
    yield "rules-unknown", project(rules=[{"value": 1, "expert": "nobody"}]), False
    yield "rules-huge", project(rules=[{"value": 1e300}]), True
    yield "rules-regex", project(rules=[{"value": 1, "tensor": "(a+)+$" * 50}]), False
    yield "params-object", project(params={"density": {"a": 1}}), True
    yield "params-unknown", project(params={"evil": 1}), False
    yield "seed-negative", project(seed=-1), True
    yield "dtype", project(dtype="F3"), True
    yield "hash", project(experts=[{**EXPERT, "sha256": "../../x"}]), True
    yield "html-name", project(experts=[{**EXPERT, "name": "<img src=http://127.0.0.1:9/x>"}]), False
    yield "bidi-name", project(experts=[{**EXPERT, "name": "a\u202eb\x1b[2J"}]), False
    yield "surrogate", '{"format": 1, "recipe": {"method": "\\ud800", "experts": []}}', True
    yield "latin1", b'{"format": 1, "app": "\xe9"}', True
    yield "pins", '{"format": 1, "recipe": {"experts": [], "method": "linear"}, "pins": {"a": {"exec": 1}}}', True


def _yaml() -> Iterator[tuple[str, str, bool]]:
    good_part = "merge_method: linear\nmodels:\n  - model: m.safetensors\n    parameters: {weight: 1.0}\n"
    yield "python-tag", "!!python/object/apply:os.system ['mkdir canary']", True
    yield "python-name", good_part + "dtype: !!python/name:os.system\n", True
    yield "custom-tag", good_part + "tokenizer_source: !evil x\n", True
    yield "laughs", "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{c}: &{c} [{','.join(['*' + p] * 9)}]\n" for p, c in zip("abcdefgh", "bcdefghi", strict=True)
    ), True  # fmt: skip
    yield "self-alias", "a: &a [*a]\n" + good_part, True
    yield "merge-keys", "x: &x {a: 1}\n" + good_part + "y:\n  <<: *x\n", False
    yield "deep", "a: " + "[" * 20_000, True
    yield "deep-blocks", "".join(" " * i + "a:\n" for i in range(3_000)), True
    yield "huge", "a: " + "x" * 6_000_000, True
    yield "duplicate", good_part + "merge_method: ties\n", True
    yield "two-documents", good_part + "---\n" + good_part, True
    yield "empty", "", True
    yield "list", "- a\n- b\n", True
    yield "nul", "merge_method: \0", True
    yield "absolute", good_part.replace("m.safetensors", "/etc/passwd"), True
    yield "url", good_part.replace("m.safetensors", "http://127.0.0.1:9/x"), True
    yield "parent", good_part.replace("m.safetensors", "../../../../etc/passwd"), True
    yield "nan", good_part.replace("1.0", ".nan"), True
    yield "inf", good_part.replace("1.0", "1e999"), True
    yield "trust", good_part + "trust_remote_code: true\n", False
    yield "timestamp", good_part + "dtype: 2001-12-14t21:59:43.10-05:00\n", True
    yield "sexagesimal", good_part.replace("1.0", "1:30:30"), False
    yield "binary", good_part + "dtype: !!binary R0lGODlhDAAMAIQAAP\n", True
    yield "filter-regex", good_part.replace("{weight: 1.0}", "{weight: [{filter: '(a+)+$', value: 1}]}"), False


def _tasks() -> Iterator[tuple[str, str]]:
    def task(**changes: Any) -> str:
        return json.dumps({"format": 1, "name": "t", "kind": "image", "data": {"file": "m.safetensors"}, **changes})

    yield "empty", ""
    yield "null", "null"
    yield "deep", "[" * 100_000
    yield "huge", '{"a": "' + "x" * 2_000_000 + '"}'
    yield "absolute", task(data={"file": "/etc/passwd"})
    yield "parent", task(data={"file": "../../../etc/passwd.safetensors"})
    yield "windows", task(data={"file": "C:\\x.safetensors"})
    yield "url", task(data={"file": "http://127.0.0.1:9/x.safetensors"})
    yield "pickle", task(data={"file": "x.pkl"})
    yield "code", task(metric="__import__('os').system('x')")
    yield "nan", task()[:-1] + ', "std": NaN}'
    yield "duplicate", task()[:-1] + ', "format": 1}'
    yield "newer", task(format=99)
    yield "surrogate", '{"format": 1, "name": "\\ud800"}'
