"""JSON from strangers: what other parsers let pass is refused, in words."""

from __future__ import annotations

import pytest

from engine.files.strict_json import BadJson, is_text, parse


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_nesting_has_an_end(opening: str) -> None:
    closing = "]" if opening == "[" else "}"

    def deep(levels: int) -> bytes:
        return (opening * (levels - 1) + "[]" + closing * (levels - 1)).encode()

    assert parse(deep(5), depth=6) is not None
    for levels in (8, 60, 5_000, 200_000):
        with pytest.raises(BadJson, match="nested too deeply"):
            parse(deep(levels), depth=6)


@pytest.mark.parametrize("text", ['{"a":1,"a":1}', '{"x":{"a":1,"a":2}}', "NaN", "[-Infinity]", "1e999",
                                  "[-1e999]", "", "1 2", "'a'", "{a:1}", "[1,]", "9" * 5_000, "\ufeff[]"])  # fmt: skip
def test_what_parsers_disagree_about_is_refused(text: str) -> None:
    with pytest.raises(BadJson):
        parse(text.encode())


def test_other_encodings_are_refused() -> None:
    for raw in ("[]".encode("utf-16"), b'["\xe9"]', b"\xff"):
        with pytest.raises(BadJson):
            parse(raw)
    assert is_text("ü") and not is_text("\ud800") and not is_text(3)
