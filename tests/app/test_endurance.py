"""Hours of work do not fill the memory: faders are moved and mixes exported again and again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
@pytest.mark.parametrize(("moves", "merges"), [(120, 8), pytest.param(2_000, 200, marks=pytest.mark.soak)])
def test_memory_does_not_grow(moves: int, merges: int, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.app.endurance", str(moves), str(merges)]
    screenless = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}
    done = subprocess.run(command, cwd=ROOT, check=False, env=screenless, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    (tmp_path / "figures.json").write_text(done.stdout)
    assert found["steps"] >= min(moves, 100) and found["growth"] < 0.05, found
    assert found["files_after"] <= found["files_before"] + 2, found
