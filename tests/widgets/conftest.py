"""What tests of the window's building blocks share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from PySide6.QtWidgets import QApplication

from widgets.common.theme import THEMES, Scheme, apply_theme


@pytest.fixture(params=sorted(THEMES))
def scheme(qapp: QApplication, request: pytest.FixtureRequest) -> Iterator[Scheme]:
    """Every theme in turn; dark again afterwards."""
    found: Scheme = request.param
    apply_theme(qapp, found)
    yield found
    apply_theme(qapp, "dark")
