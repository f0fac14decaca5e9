"""What the workers do for the live preview: open, fill, measure, follow a fader, read examples. Qt-free.

Torch is loaded inside the functions, so that the window can import this module before it is painted.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from app.evaluator import open_live
from app.preview_drawn import Drawn, draw
from engine.errors import MixdownError
from engine.evaluate.data import Examples, read_examples
from engine.evaluate.task import Task
from engine.files.text import printable
from engine.merge.inputs import Inputs
from engine.preview.basis import Cell, Floats
from engine.preview.curve import Curve, chebyshev
from engine.preview.hearing import Session
from engine.preview.strip import choose
from engine.preview.surrogate import FAR, Estimate, Slopes, Surrogate, slopes_of
from engine.progress import Token
from engine.recipe.recipe import Recipe

BUDGET = 1 << 28
"""Most bytes of derivatives."""
TELL_S = 0.5
"""Slopes that come with the derivatives are told this often."""
_APART = re.compile(r" ?\b(n?) ' (t|s|d|m|re|ve|ll)\b")
"""Word pieces leave blanks around an apostrophe: "is n ' t", "it ' s"."""
LONGEST = 400
"""Characters of an example's text that are kept."""


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """A session and its empty surrogate."""

    live: Session
    surrogate: Surrogate


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """True scores of a recipe, and a surrogate at its point if the old one does not do there.

    Attributes:
        estimates: Exact scores.
        fresh: An empty surrogate, or None when the old one goes on.
    """

    estimates: tuple[Estimate, ...]
    fresh: Surrogate | None


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """What an example looks like.

    Attributes:
        text: Its text, "" for a picture.
        pixels: (H, W, 3) uint8, None for a text.
    """

    text: str = ""
    pixels: np.ndarray | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """The examples of a strip.

    Attributes:
        task: Name of their task.
        rows: Their indices into the session's rows.
        pictures: What each looks like.
    """

    task: str
    rows: np.ndarray
    pictures: tuple[Picture, ...]


def open_session(recipe: Recipe, inputs: Inputs, tasks: Sequence[Task], rows: int, old: list[Any], token: Token
                 ) -> Opened:  # fmt: skip
    """Open a session after letting go of an old one.

    Args:
        recipe: Of the project.
        inputs: Its models.
        tasks: What to score on.
        rows: First rows of each task.
        old: What is not needed any more; emptied here, because giving back memory takes a moment.
        token: Progress and cancel.

    Raises:
        MixdownError: if there can be no live preview; the message says why.
    """
    old.clear()
    live = open_live(recipe, inputs, tasks, rows=rows, progress=token)
    return Opened(live, live.surrogate(budget=BUDGET))


def fill_session(
    live: Session, surrogate: Surrogate, touched: Sequence[tuple[int, int]], slopes: Slopes | None,
    tell: Callable[[Surrogate, Slopes], None], token: Token,
) -> Slopes:  # fmt: skip
    """Slopes of all faders, then derivatives in the order of likely need; may be cancelled and called again.

    Args:
        live: The session.
        surrogate: At its reference.
        touched: (expert, group) coefficients under the pointer; theirs come first.
        slopes: If known at this reference.
        tell: Called with the surrogate and slopes at its reference, from this thread.
        token: Progress and cancel.
    """
    from engine.preview.fill import fill, order_of

    if not np.array_equal(live.reference, surrogate.reference):
        return slopes or slopes_of(surrogate)
    if slopes is None and live.frame.tier == "linear":
        slopes = live.slopes(token)
        tell(surrogate, slopes)
    known, last = slopes is not None and not np.isnan(slopes.values).any(), time.monotonic()

    def so_far() -> Slopes:
        return slopes_of(surrogate) if slopes is None else slopes.completed(slopes_of(surrogate))

    def filled(_: int) -> None:
        nonlocal last
        if not known and time.monotonic() - last > TELL_S:
            last = time.monotonic()
            tell(surrogate, so_far())

    fill(live, surrogate, order_of(surrogate, touched, slopes), token, filled=filled)
    return so_far()


def measure(
    live: Session, shown: Surrogate, newest: Surrogate, point: Floats, overrides: Mapping[str, Floats], token: Token, *,
    anew: bool,
) -> Measured:  # fmt: skip
    """True scores at a point; the error of the estimate there is logged.

    Args:
        live: The session.
        shown: Whose estimate is compared.
        newest: The surrogate at the session's reference; where it does not reach there will be a fresh one.
        point: From the frame.
        overrides: From the frame.
        token: Progress and cancel.
        anew: Whether single tensors moved, so that all weights must be made again.
    """
    if not anew and np.array_equal(live.reference, newest.reference):
        found = live.truth(point, shown, token)
        if newest.state(point) != "stale" and newest.rms(point) <= FAR:
            return Measured(found, None)
    found = live.move(point, token, overrides)
    return Measured(found, live.surrogate(errors=newest.errors, budget=BUDGET))


def follow(live: Session, point: Floats, cell: Cell, low: float, high: float, token: Token) -> Drawn:
    """True logits along a fader's range, from any point on.

    Args:
        live: The session.
        point: Where the fader is now.
        cell: What it moves.
        low: Change of the point at the lower end.
        high: The same at the upper end.
        token: Progress and cancel.
    """
    return draw(live.curve(cell, low, high, token, origin=point))


def sketch(surrogate: Surrogate, point: Floats, cell: Cell, low: float, high: float) -> Drawn:
    """The same from the surrogate alone, in some milliseconds."""
    amounts = chebyshev(low, high)
    found = [surrogate.at(cell.added(point, float(amount))) for amount in amounts]
    return draw(Curve(surrogate.tasks, cell, point.copy(), amounts, np.stack(found), surrogate.spans))


def examples(surrogate: Surrogate, task: Task, folder: Path | None, token: Token) -> Chosen:
    """Eight examples that are near to flipping, with their pictures or texts.

    Args:
        surrogate: Of the session.
        task: One of its tasks.
        folder: Of the base, where the tokenizer may lie.
        token: Cancel.

    Raises:
        MixdownError: if the task's data cannot be read.
    """
    rows = choose(surrogate, task.name)
    known = next(t for t in surrogate.tasks if t.name == task.name)
    places = known.rows[rows]
    token.check()
    read = read_examples(task, "val", int(places.max()) + 1)
    token.check()
    if task.kind == "image":
        return Chosen(task.name, rows, tuple(Picture(pixels=_pixels(read.inputs[i])) for i in places))
    return Chosen(task.name, rows, tuple(Picture(text=text) for text in _texts(read, places, folder)))


def _pixels(image: np.ndarray) -> np.ndarray:
    """(C, H, W) as stored to (H, W, 3) uint8; other ranges are stretched to what can be seen."""
    shown = np.moveaxis(np.asarray(image, dtype=np.float32), 0, -1)
    if image.dtype != np.uint8:
        low, high = float(shown.min()), float(shown.max())
        shown = (shown - low) * (255.0 / max(high - low, 1e-9))
    made = np.clip(shown, 0, 255).astype(np.uint8)
    return np.ascontiguousarray(np.repeat(made, 3, axis=2) if made.shape[2] != 3 else made)


def _texts(read: Examples, places: np.ndarray, folder: Path | None) -> list[str]:
    """The rows' texts, or their token numbers where the base brings no tokenizer."""
    ends = np.cumsum(read.lengths)
    ids = [read.inputs[int(ends[i] - read.lengths[i]) : int(ends[i])].tolist() for i in places]
    try:
        from engine.evaluate.tokens import read_tokenizer

        words = read_tokenizer(folder)
    except MixdownError:
        return [f"tokens {' '.join(map(str, row[:60]))}" for row in ids]
    return [printable(_APART.sub(r"\1'\2", words.decode(row)), LONGEST) for row in ids]
