"""Big or sly YAML is refused soon, and the same with libyaml and without it."""

from __future__ import annotations

import time

import pytest
import yaml

from engine.errors import BadRecipe
from engine.recipe import mergekit_yaml

MANY = {
    "list": b"- 1\n" * 100_000,
    "flow": b"[" + b"1," * 300_000 + b"1]",
    "repeated at the end": b"".join(b"k%d: 1\n" % n for n in range(49_000)) + b"k48999: 2\n",
    "comments": b"#\n" * 400_000,
}


@pytest.mark.parametrize("name", MANY)
def test_too_much_is_refused_soon(name: str) -> None:
    """Each took 2 to 36 s of processor time when the parser in Python read it, or keys were compared in pairs."""
    began = time.process_time()
    with pytest.raises(BadRecipe):
        mergekit_yaml.parse(MANY[name])
    assert time.process_time() - began < 1.9


@pytest.mark.parametrize("text", [
    "merge_method: ties\nmodels:\n  - model: a\n    parameters: {density: [0, 0.5, 1]}\n", "a: &x [1, 2]\nb: *x\n",
    "a: 'it''s'\nb: \"\\u00e9\\n\"\nc: |\n  two\n  lines\n", "n: [~, yes, 0o7, 0x1f, 1e3, 1_000, .5]\n", "\ufeffa: é\n",
    "a: !!python/object:os.system x\n", "a: 2001-12-14\n", "a: .inf\n", "a: 1\na: 2\n", "&a [*a]\n", "", "a: [1\n",
    "a:\n\tb: 1\n", "? [1, 2]\n: x\n", "%YAML 1.2\n---\na: 1\n", "a: 1\n---\nb: 2\n", "a: \"\\ud800\"\n", "[" * 40,
])  # fmt: skip
def test_both_parsers_agree(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def read() -> object:
        try:
            return mergekit_yaml.parse(text.encode())
        except BadRecipe:
            return "refused"

    found = read()
    assert mergekit_yaml._LOADER is yaml.CSafeLoader
    monkeypatch.setattr(mergekit_yaml, "_LOADER", yaml.SafeLoader)
    assert read() == found
