"""Names that break lines or turn the reading direction are refused wherever something is written, before any work."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.bundle.compress import BundleOptions
from engine.bundle.compress import _check_target as check_bundle
from engine.errors import MixdownError, WriteProblem
from engine.files.text import control_in
from engine.graphs.writing import _check_target as check_graph
from engine.pickles.convert import convert
from tests.engine.merge_cases import family


@pytest.mark.parametrize("name", ["two\nlines", "esc\x1b]0;x\x07", "tail\u202egpj", "embedded\u2067x"])
def test_a_bundle_a_graph_and_a_converted_pickle_have_speakable_names(name: str, tmp_path: Path) -> None:
    plan = family(tmp_path).plan
    acts = [
        lambda: check_bundle(plan, tmp_path / f"{name}.safetensors", BundleOptions()),
        lambda: check_graph(tmp_path / f"{name}.onnx", False),
        lambda: convert(tmp_path / "absent.pt", tmp_path / f"{name}.safetensors"),
    ]
    for act in acts:
        with pytest.raises(WriteProblem, match=r"control character \\u\{"):
            act()
    assert list(tmp_path.glob("*.onnx")) == [] == list(tmp_path.glob("*.pt"))


@pytest.mark.parametrize(
    "name", ["plain", "a b", "naïve", "日本語", "می\u200cخواهم", "👩\u200d🔬", "soft\u00adhyphen", "\udcff"]
)
def test_what_only_cannot_be_seen_is_somebody_s_language(name: str) -> None:
    assert control_in(name) == ""


def test_an_error_is_one_line_whatever_the_file_is_called() -> None:
    text = str(MixdownError("It is damaged.", where="/tmp/a\nb\x1b[31m/c.safetensors", hint="Get it again."))
    assert text == r"/tmp/a\u{a}b\u{1b}[31m/c.safetensors: It is damaged. Get it again."
