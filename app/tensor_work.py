"""The tensor view's background work: one matrix of one recipe, its tiles, its pyramid; plain objects, no Qt.

Torch is only imported inside the functions, which run in workers.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.analyse.bitmap import Blocks, Mode, Summary, codes, grid, summarise, values
from engine.merge.inputs import Inputs
from engine.progress import Token
from engine.recipe.recipe import Recipe

if TYPE_CHECKING:
    from engine.analyse.bitmap import Reading
    from engine.analyse.bitmap_pyramid import Pyramid
    from engine.analyse.bitmap_source import Matrix

Place = tuple[int, int, int]
FINEST_FROM_FILES = 2
"""Coarsest level whose tiles are read from the files while there is no pyramid."""

QUIET_S = 0.12
"""How long the pyramid rests after the picture was moved."""

_GRID = 12
_UNDECIDED: frozenset[Mode] = frozenset({"owner", "magnitude", "conflict"})


@dataclass(frozen=True)
class Look:
    """What of a matrix is shown.

    Attributes:
        mode: What a pixel says.
        expert: Row of an expert, -1 for all.
    """

    mode: Mode = "owner"
    expert: int = -1


@dataclass(frozen=True)
class First:
    """A first picture.

    Attributes:
        place: The tile that it is.
        codes: Its pixels.
        is_sample: Whether only some rows were read.
        grid: Head and rows of a short table.
    """

    place: Place
    codes: np.ndarray
    is_sample: bool
    grid: tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]


class Session:
    """One matrix of one recipe, as long as it is looked at; used by several workers at once.

    Args:
        recipe: The recipe.
        inputs: Its models.
        tensor: Name of the matrix.
    """

    def __init__(self, recipe: Recipe, inputs: Inputs, tensor: str) -> None:
        self.recipe, self.inputs, self.tensor = recipe, inputs, tensor
        self.matrix: Matrix | None = None
        self.pyramid: Pyramid | None = None
        self._lock = threading.Lock()
        self._wanted: tuple[Look, list[Place]] = (Look(), [])
        self._busy = False
        self._quiet_until = 0.0

    def hush(self) -> None:
        """Let the picture move smoothly: the pyramid rests for a moment."""
        self._quiet_until = time.monotonic() + QUIET_S

    def open(self) -> Matrix:
        """The opened matrix; opens it when it is first asked for."""
        from engine.analyse.bitmap_source import Matrix

        with self._lock:
            if self.matrix is None:
                self.matrix = Matrix(self.recipe, self.inputs, self.tensor)
            return self.matrix

    def close(self) -> None:
        """Close the files."""
        self.ask(Look(), ())
        with self._lock:
            if self.matrix is not None:
                self.matrix.close()

    @property
    def mask(self) -> str:
        """What the mask is, in words."""
        return "" if self.matrix is None or not self.matrix.is_decided else self.matrix.rule.mask

    @property
    def is_complete(self) -> bool:
        """Whether every level is there."""
        return self.pyramid is not None and self.pyramid.is_complete and max(self.pyramid.levels[-1].shape) == 1

    def first(self, look: Look, token: Token) -> First | None:
        """A picture at once, sampled if the matrix is large; None while the method's mask is not known."""
        matrix = self.open()
        if look.mode not in _UNDECIDED and not matrix.is_decided:
            return None
        blocks = matrix.sampled(look.mode, check=token.check)
        made = codes(values(blocks, look.mode, look.expert), look.mode, matrix.experts)
        return First((blocks.level, 0, 0), made, blocks.step > 0, table_of(blocks, look, matrix.experts, self.names))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the experts."""
        return self.inputs.names

    def build(self, token: Token) -> None:
        """Decide and make the pyramid; called again after it was interrupted, it goes on."""
        from engine.analyse.bitmap_pyramid import Pyramid

        matrix = self.open()
        matrix.decide(token)
        if self.pyramid is None:
            self.pyramid = Pyramid(matrix)
        self.pyramid.fill(_Polite(token, lambda: self._quiet_until))

    def totals(self, look: Look) -> tuple[Summary, Any] | None:
        """Numbers of the whole matrix and a short table of the mode, once the pyramid is complete."""
        if self.pyramid is None or not self.is_complete:
            return None
        levels, experts = self.pyramid.levels, self.open().experts
        coarse = next(level for level in levels if max(level.shape) <= _GRID)
        return summarise(levels[-1]), table_of(coarse, look, experts, self.names)

    # Tiles ---------------------------------------------------------------------------------------------------

    def ask(self, look: Look, places: Sequence[Place]) -> bool:
        """Replace what is wanted; whether a worker has to be started for it."""
        with self._lock:
            self._wanted = look, list(places)
            start = bool(places) and not self._busy
            self._busy = self._busy or start
            return start

    def serve(self, give: Callable[[Look, Place, np.ndarray], object], token: Token) -> None:
        """Make the wanted tiles one by one, the newest wish first, until none is left."""
        try:
            while True:
                with self._lock:
                    look, places = self._wanted
                    if not places:
                        self._busy = False
                        return
                    place = places.pop(0)
                token.check()
                made = self.tile(look, place)
                if made is not None:
                    give(look, place, made)
        except BaseException:
            with self._lock:
                self._busy = False
            raise

    def tile(self, look: Look, place: Place) -> np.ndarray | None:
        """The codes of one tile, or None while it cannot be made."""
        level, down, across = place
        matrix, blocks = self.open(), None
        if self.pyramid is not None:
            blocks = self.pyramid.tile(level, down, across)
        if blocks is None:
            finest = FINEST_FROM_FILES if self.pyramid is None else max(self.pyramid.first - 1, FINEST_FROM_FILES)
            if level > finest or (look.mode not in _UNDECIDED and not matrix.is_decided):
                return None
            blocks = matrix.tile(level, down, across, look.mode)
        return codes(values(blocks, look.mode, look.expert), look.mode, matrix.experts)

    def reading(self, row: int, column: int) -> Reading:
        """Everything about one weight."""
        return self.open().reading(row, column)


class _Polite:
    """A job's token that also waits while the picture is being moved."""

    def __init__(self, token: Token, quiet_until: Callable[[], float]) -> None:
        self._token, self._quiet_until = token, quiet_until

    def begin(self, total: int, text: str, unit: str = "bytes") -> None:
        """Start a stage."""
        self._token.begin(total, text, unit)

    def advance(self, amount: int) -> None:
        """Add to the work done."""
        self._token.advance(amount)

    def check(self) -> None:
        """Wait while paused or while the picture moves; raise `Cancelled` when stopped."""
        self._token.check()
        while time.monotonic() < self._quiet_until():
            time.sleep(0.02)
            self._token.check()


def table_of(
    blocks: Blocks, look: Look, experts: int, names: Sequence[str]
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """A picture as a short table with at most a dozen rows and columns."""
    coarse, found = grid(blocks, look.mode, look.expert, experts, _GRID)
    size = 1 << coarse.level
    head = ("rows \\ columns", *(_range(c, size, coarse.columns) for c in range(coarse.shape[1])))
    body = tuple(
        (_range(r, size, coarse.rows), *(_text(float(v), look.mode, names) for v in found[r]))
        for r in range(coarse.shape[0])
    )
    return head, body


def _range(index: int, size: int, most: int) -> str:
    first, last = index * size, min((index + 1) * size, most) - 1
    return f"{first}" if first == last else f"{first}–{last}"


def _text(value: float, mode: Mode, names: Sequence[str]) -> str:
    """One block of the short table."""
    if mode == "owner":
        return names[int(value)] if value < len(names) else "nobody"
    if not np.isfinite(value):
        return "–"
    if mode == "magnitude":
        return f"{value:.3g}"
    return f"{value:+.3f}".replace("-", "−") if mode == "sign" else f"{100 * value:.1f} %"
