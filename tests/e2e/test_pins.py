"""Pins dragged onto A and B with the real mouse; no drag runs on the offscreen platform."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.screen import Screen, missing_tools

pytestmark = [
    pytest.mark.mouse,
    pytest.mark.skipif(bool(missing_tools()), reason=f"needs {', '.join(missing_tools())}"),
]


@pytest.fixture
def screen() -> Iterator[Screen]:
    made = Screen(79)
    yield made
    made.close()


def told(program: subprocess.Popen[str]) -> Any:
    assert program.stdout is not None
    return json.loads(program.stdout.readline())


def test_a_pin_is_dragged_onto_a_half(screen: Screen) -> None:
    program = screen.start([sys.executable, "-m", "tests.e2e.pin_halves"])
    pin, chip, left, right = told(program)
    screen.drag(pin, right, release_after=0.4)
    assert told(program) == [1, "two"]
    screen.drag(chip, left, release_after=0.4)
    assert told(program) == [0, "one"]
    screen.click(pin)
    assert told(program) == ["chosen", "two"], "a click is no drag"
