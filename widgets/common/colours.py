"""Data colours: the same expert has the same colour and letter everywhere.

Hues after Okabe and Ito and four of other lightness, told apart with normal and with red-, green- or blue-blind
sight, plus a letter, never colour alone; beyond twelve, hues repeat and the letter tells experts apart.
"""

from __future__ import annotations

from PySide6.QtGui import QColor

_HUES = ("#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#0072b2", "#d4c534", "#9b2f5f", "#6a45d8", "#7d5a14",
         "#f6c0d4", "#5fe08d")  # fmt: skip


HUES = len(_HUES)
"""How many experts have a hue of their own."""


def expert_colour(index: int) -> QColor:
    """Colour of the expert in row `index`."""
    return QColor(_HUES[index % len(_HUES)])


def expert_letter(index: int) -> str:
    """Letter of the expert in row `index`: A to Z, then AA, AB, ..."""
    letters = ""
    index += 1
    while index > 0:
        index, rest = divmod(index - 1, 26)
        letters = chr(65 + rest) + letters
    return letters
