"""Where things lie inside a fader cell; shared by painting and by the mouse."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import QRect, QRectF

from widgets.desk.wording import number, short_number


@dataclass(frozen=True, slots=True)
class FaderGeometry:
    """A fader inside its cell, in logical pixels.

    Attributes:
        top: y of the fader's highest value.
        bottom: y of its lowest value.
        left: Left edge of the track.
        right: Right edge of the track.
        number: Where the number stands; empty when it does not fit.
        low: Lowest value.
        high: Highest value.
    """

    top: float
    bottom: float
    left: float
    right: float
    number: QRectF
    low: float
    high: float

    def y_of(self, value: float) -> float:
        """Height of a value; values beyond the range stop at its ends."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return self.bottom - share * (self.bottom - self.top)

    def value_at(self, y: float) -> float:
        """Value at a height, inside the range."""
        share = (self.bottom - y) / max(1.0, self.bottom - self.top)
        return self.low + min(max(share, 0.0), 1.0) * (self.high - self.low)

    @property
    def per_pixel(self) -> float:
        """How much the value changes for one pixel of movement."""
        return (self.high - self.low) / max(1.0, self.bottom - self.top)


def fader_geometry(cell: QRect, low: float, high: float, line: int, with_number: bool, dpr: float) -> FaderGeometry:
    """Lay out a fader.

    Args:
        cell: The cell.
        low: Lowest value.
        high: Highest value; above `low`.
        line: Height of a line of the number's font.
        with_number: Whether a number stands below the track.
        dpr: Device pixel ratio; edges are on whole device pixels.
    """
    pad = max(3, line // 3)
    below = line + 2 if with_number else 0
    width = min(max(6.0, cell.width() * 0.56), line * 2.2)
    left = snapped(cell.left() + (cell.width() - width) / 2, dpr)
    number_box = QRectF(cell.left(), cell.bottom() + 1 - below - 2, cell.width(), below) if with_number else QRectF()
    return FaderGeometry(
        top=cell.top() + pad,
        bottom=cell.bottom() + 1 - below - pad,
        left=left,
        right=snapped(left + width, dpr),
        number=number_box,
        low=low,
        high=max(high, low + 1e-9),
    )


def snapped(value: float, dpr: float) -> float:
    """The nearest edge between device pixels."""
    return round(value * dpr) / dpr


def number_text(value: float, style: str) -> str:
    """A coefficient in a style: "full", "short", "one" (decimal) or "none"."""
    if style == "full":
        return number(value)
    if style == "short":
        return short_number(value)
    return number(value, 1) if style == "one" else ""
