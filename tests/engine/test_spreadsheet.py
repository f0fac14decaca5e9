"""CSV for spreadsheets: every writer of the program keeps a name from becoming a formula."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest

from app.cli import run
from engine.files.spreadsheet import SafeWriter, harmless
from tests.app.models import write_family

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.parametrize("text", ["=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1"])
def test_what_a_spreadsheet_would_run_is_text(text: str) -> None:
    out = io.StringIO()
    SafeWriter(out).writerows([["ok", text, 1.5]])
    assert list(csv.reader(io.StringIO(out.getvalue(), newline=""))) == [["ok", f"'{text}".replace("\r", " "), "1.5"]]


@pytest.mark.parametrize("value", [-0.5, 3, "-0.5", "+1e-3", "−0.5", "a=b", "", None, "12 %"])
def test_numbers_and_words_stay_as_they_are(value: object) -> None:
    assert harmless(value) == value


def test_no_writer_goes_around_it() -> None:
    """Two modules treat their cells themselves; their own tests say so."""
    own = {"app/cli_history.py", "widgets/dialogs/bundle_table.py", "engine/files/spreadsheet.py"}
    files = [path for part in ("app", "engine", "widgets") for path in (ROOT / part).rglob("*.py")]
    found = {str(path.relative_to(ROOT)) for path in files
             if re.search(r"csv\.(writer|DictWriter)\(", path.read_text("utf-8"))}  # fmt: skip
    assert found == own


def test_an_expert_called_like_a_formula_is_told_as_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, experts = write_family(tmp_path, 2)
    renamed = experts[0].rename(experts[0].with_name("@SUM(1)"))
    assert run(["overlap", "--base", str(base), "--expert", str(renamed), "--expert", str(experts[1]), "--csv"]) == 0
    cells = [cell for row in csv.reader(io.StringIO(capsys.readouterr().out)) for cell in row]
    assert any("@SUM" in cell for cell in cells) and not any(cell.startswith("@") for cell in cells)
