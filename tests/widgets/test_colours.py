"""Twelve experts are told apart by everybody, in every theme, and never by colour alone."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from PySide6.QtGui import QColor

from engine.analyse.bitmap import NOBODY
from widgets.common.colours import HUES, expert_colour, expert_letter
from widgets.common.theme import Scheme
from widgets.plots.bitmap_state import Bitmap, colour_table, legend

LEAST = 0.05
"""Distance in OKLab; 0.02 is just noticed side by side."""

SIGHT = {
    "normal": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
"""Linear RGB as seen, after Machado, Oliveira and Fernandes (2009), severity 1."""

LMS = [[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566],
       [0.0883024619, 0.2817188376, 0.6299787005]]  # fmt: skip
LAB = [[0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099],
       [0.0259040371, 0.7827717662, -0.8086757660]]  # fmt: skip


def seen(colour: QColor, sight: str) -> np.ndarray:
    """A colour in OKLab (Ottosson 2020) as somebody sees it."""
    rgb = np.array([colour.redF(), colour.greenF(), colour.blueF()])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return np.array(LAB) @ np.cbrt(np.array(LMS) @ np.clip(np.array(SIGHT[sight]) @ linear, 0, 1))


def bitmap(expert: int = -1) -> Bitmap:
    return Bitmap(key="k", names=tuple(f"m{t}" for t in range(12)), mode="owner", expert=expert)


@pytest.mark.parametrize("sight", SIGHT)
def test_twelve_owners_and_nobody_have_colours_of_their_own(sight: str, scheme: Scheme) -> None:
    table = colour_table(bitmap())
    inks = [QColor(int(table[code]) & 0xFFFFFF) for code in (*range(12), NOBODY)]
    for one, other in combinations(range(13), 2):
        apart = float(np.linalg.norm(seen(inks[one], sight) - seen(inks[other], sight)))
        assert apart >= LEAST, (scheme, sight, one, other, apart)


def test_an_expert_has_one_colour_everywhere(scheme: Scheme) -> None:
    assert HUES >= 12
    table = colour_table(bitmap())
    assert [int(table[t]) for t in range(12)] == [expert_colour(t).rgb() for t in range(12)]


def test_one_owner_can_be_picked_out_by_name(scheme: Scheme) -> None:
    """For who cannot tell the hues apart: only one expert's weights have a colour, and the key names it by letter."""
    table = colour_table(bitmap(8))
    assert int(table[8]) == expert_colour(8).rgb()
    others = {int(table[t]) for t in range(12) if t != 8}
    assert len(others) == 1 and not others & {int(table[8]), int(table[NOBODY])}
    assert [text for text, _, _ in legend(bitmap(8))][:12] == [f"{expert_letter(t)} m{t}" for t in range(12)]
