"""Mixdown gives what the authors' own code gives (`python -m tests.engine.golden_table` prints how closely)."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from engine.methods import registered
from engine.steps import trim
from tests.engine import golden_cases, golden_table
from tests.engine.golden_cases import GOLDEN, Case, Check, all_cases, checks


@pytest.mark.parametrize("case", all_cases(), ids=lambda case: case.id)
def test_case(case: Case) -> None:
    made = checks(case)
    assert made
    wrong = [f"{c.what}: {c.error:.3g}" for c in made if not c.holds()]
    assert not wrong, "; ".join(wrong)


def test_every_recorded_case_and_input_is_used() -> None:
    manifest = json.loads((GOLDEN / "manifest.json").read_text("utf-8"))
    assert {p.name for p in (GOLDEN / "inputs").iterdir()} == set(manifest["inputs"])
    assert {f"cases/{p.name}" for p in (GOLDEN / "cases").iterdir()} == {c["file"] for c in manifest["cases"]}
    assert len(manifest["cases"]) >= 60


def test_every_method_has_golden_cases() -> None:
    """No authors' output is recorded for those that are left out."""
    cases = golden_table.every_case()
    tested = {name.strip() for case in cases for name in case.method.split(",")}
    assert set(registered()) - tested <= {"cart", "passthrough", "tatr"}
    recorded = {entry["id"] for entry in json.loads((GOLDEN / "manifest.json").read_text("utf-8"))["cases"]}
    assert {case.id for case in cases} == recorded


def test_checks_can_fail() -> None:
    """One unit more, one flipped mask bit, a NaN: each is noticed."""
    case = next(c for c in all_cases() if c.id == "tall_Q_ta")
    good = checks(case)
    mask = next(c for c in good if c.exact)
    flipped = mask.got.clone()
    flipped.view(-1)[0] = 1 - flipped.view(-1)[0]
    assert not dataclasses.replace(mask, got=flipped).holds()
    value = next(c for c in good if not c.exact)
    assert not dataclasses.replace(value, got=value.got + 2e-5 * value.want.abs().max()).holds()
    assert not dataclasses.replace(value, got=value.got * float("nan")).holds()
    one = torch.tensor([1.0, 0.0], dtype=torch.bfloat16)
    assert Check("two ulp", one + 2**-6, one).holds() is False  # 1 + 2 ulp, but 0 + 2^-6 is far more
    assert Check("two ulp", one[:1] + 2**-6, one[:1]).holds()
    assert not Check("three ulp", one[:1] + 3 * 2**-7, one[:1]).holds()


def test_wrong_methods_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trimming one element more breaks a case."""
    by_id = {case.id: case for case in all_cases()}
    real = trim.kth_magnitudes
    monkeypatch.setattr(trim, "kth_magnitudes", lambda view, rank, picks: real(view, rank + 1, picks))
    assert any(not c.holds() for c in checks(by_id["ties_A_topk20_mass_dis-mean"]))


def test_the_table_names_every_group(capsys: pytest.CaptureFixture[str]) -> None:
    rows = golden_table.table([c for c in all_cases() if c.id.startswith(("mk_slerp", "mergelm"))])
    text = golden_table.printed(rows)
    assert "slerp" in text and "yule-BUAA/MergeLM" in text
    assert "WRONG" not in text
    assert golden_cases.runner_in(golden_cases.RUNNERS, "fisher_bs1_norm0") is None
