"""What the tensor view shows: a frozen value, its colours and its sentences."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PySide6.QtGui import QColor

from engine.analyse.bitmap import MODES, NOBODY, Mode, Summary, magnitude_of
from widgets.common.colours import HUES, expert_colour, expert_letter
from widgets.common.theme import theme
from widgets.desk.inks import inks, mix
from widgets.plots import colour_maps
from widgets.plots.state import Table, shown

TITLES: dict[Mode, str] = {"owner": "Owner", "kept": "Kept", "sign": "Sign", "magnitude": "|τ|", "conflict": "Conflict"}
SENTENCES: dict[Mode, str] = {
    "owner": "Who changes each weight most: the expert with the largest |coefficient · τ|. Blocks show the majority.",
    "kept": "Share of the weights in each block that the mask keeps",
    "sign": "The elected sign of each weight, averaged over blocks: −1 (blue) to +1 (orange).",
    "magnitude": "Mean size of the change |τ| in each block, on a logarithmic scale.",
    "conflict": "Share of the changes in each block that go against the sum of all changes.",
}
PER_EXPERT: frozenset[Mode] = frozenset({"kept", "magnitude"})
"""Modes whose pixels say another thing for one expert than for all."""

CHOOSES: frozenset[Mode] = PER_EXPERT | {"owner"}
"""Modes with a choice of an expert: among the owners it is the only one in colour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bitmap:
    """A matrix as pixels; the pixels themselves arrive as tiles.

    Attributes:
        title: What it is.
        key: Identity of the pixels: tiles of another key are of no use.
        tensor: Name of the matrix.
        rows: Rows of the matrix.
        columns: Columns of the matrix.
        names: Names of the T experts.
        mode: What a pixel says.
        expert: Row of the expert that "kept" and "magnitude" are about, or that alone has a colour among the owners;
            -1 for all.
        low: Code at the lower end of the colours (1 to 255).
        high: Code at the upper end.
        mask: What the mask is, in words.
        is_sample: Whether only a sample was read yet.
        summary: The whole matrix in numbers, once they are known.
        grid: The picture as a short table of exact block values.
        meaning: One sentence.
        empty: What to do when there is nothing to show.
    """

    title: str = "Tensor"
    key: str = ""
    tensor: str = ""
    rows: int = 0
    columns: int = 0
    names: tuple[str, ...] = ()
    mode: Mode = "owner"
    expert: int = -1
    low: int = 1
    high: int = 255
    mask: str = ""
    is_sample: bool = False
    summary: Summary | None = None
    grid: Table = ((), ())
    meaning: str = ""
    empty: str = "Needs a base and an expert. Drop a model or open the demo."
    choices: tuple[tuple[str, str], ...] = field(default=(), compare=False)

    def table(self) -> Table:
        """The picture as a short table: one row for each band of blocks."""
        return self.grid

    def words(self, code: int) -> str:
        """What a pixel's code says."""
        if self.mode == "owner":
            return lettered(code, self.names) if code < len(self.names) else "nobody changes it"
        if code == 0:
            return "no change"
        share = (code - 1) / 254
        if self.mode == "magnitude":
            return f"about {magnitude_of(code):.2g}"
        if self.mode == "sign":
            return f"{2 * share - 1:+.2f}".replace("-", "−")
        return f"{100 * share:.0f} % {'kept' if self.mode == 'kept' else 'against the sum'}"


def lettered(expert: int, names: tuple[str, ...]) -> str:
    """ "A chat"."""
    return f"{expert_letter(expert)} {names[expert]}" if expert < len(names) else "nobody"


def ink_of(expert: int) -> QColor:
    """Pixel colour of an expert; where the hues repeat they are paler."""
    colour, again = expert_colour(expert), expert // HUES
    return mix(colour, inks().text, 0.62) if again else colour


def colour_table(state: Bitmap) -> np.ndarray:
    """(256,) uint32 0xffRRGGBB for every code."""
    colours = theme()
    nothing = QColor(colours.track)
    if state.mode == "owner":
        made = np.full(256, nothing.rgb(), np.uint32)
        for t in range(min(len(state.names), NOBODY)):
            made[t] = (ink_of(t) if state.expert in (-1, t) else mix(inks().dim, nothing, 0.45)).rgb()
        return made
    position = np.clip((np.arange(256) - state.low) / max(state.high - state.low, 1), 0, 1)
    if state.mode == "kept" and state.expert >= 0:
        low, high = QColor(colours.track), ink_of(state.expert)
        ends = np.array([[c.red(), c.green(), c.blue()] for c in (low, high)], dtype=np.float64)
        rgb = ends[0] + position[:, None] * (ends[1] - ends[0])
    else:
        stops = colour_maps.table(state.mode == "sign", colours.is_dark)
        rgb = stops[np.rint(position * 255).astype(np.intp)].astype(np.float64)
    bytes_ = np.rint(rgb).astype(np.uint32)
    made = (0xFF << 24) | bytes_[:, 0] << 16 | bytes_[:, 1] << 8 | bytes_[:, 2]
    made = made.astype(np.uint32)
    made[0] = nothing.rgb()
    return made


def legend(state: Bitmap) -> list[tuple[str, int, str]]:
    """Lines of the legend: (text, code whose colour it explains, number)."""
    known = state.summary
    if state.mode == "owner":
        owned = known.owned if known and known.owned else ()
        lines = [(lettered(t, state.names), t, shown(owned[t], "%") if owned else "") for t in range(len(state.names))]
        return [*lines, ("nobody", NOBODY, shown(owned[-1], "%") if owned else "")]
    ends: dict[str, tuple[str, str]] = {
        "kept": ("none kept", "all kept"), "sign": ("all −", "all +"), "conflict": ("0 % against", "100 % against"),
        "magnitude": (f"|τ| {magnitude_of(state.low):.1g}", f"|τ| {magnitude_of(state.high):.1g}"),
    }  # fmt: skip
    low, high = ends[state.mode]
    middle = [("in balance", 128, "")] if state.mode == "sign" else []
    lines = [(high, state.high, ""), *middle, (low, state.low, "")]
    if state.mode in ("conflict", "magnitude"):
        lines.append(("no change", 0, ""))
    return lines


def number(value: float | None) -> str:
    """A weight as the read-out writes it: signed, three digits."""
    if value is None:
        return "–"
    return f"{value:+.3g}".replace("-", "−") if value else "0"


def table_of(head: tuple[str, ...], body: Any) -> Table:
    """A table of texts."""
    return head, tuple(tuple(line) for line in body)


__all__ = ["MODES", "PER_EXPERT", "SENTENCES", "TITLES", "Bitmap", "Mode", "colour_table", "legend", "number"]
