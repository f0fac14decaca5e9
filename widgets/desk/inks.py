"""Colours ready for painting, made once for each theme, and the small marks that several painters draw."""

from __future__ import annotations

from functools import lru_cache

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QBrush, QColor, QFont, QPainter, QPolygonF

from widgets.common.colours import expert_colour
from widgets.common.theme import THEMES, Theme, theme


def mix(over: QColor, under: QColor, share: float) -> QColor:
    """`share` of one colour over another, opaque."""
    return QColor(
        round(over.red() * share + under.red() * (1 - share)),
        round(over.green() * share + under.green() * (1 - share)),
        round(over.blue() * share + under.blue() * (1 - share)),
    )


def luminance(colour: QColor) -> float:
    """Relative luminance as WCAG defines it, 0 to 1."""
    channels = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in (colour.redF(), colour.greenF(), colour.blueF())
    ]
    return 0.2126 * channels[0] + 0.7152 * channels[1] + 0.0722 * channels[2]


def readable_on(background: QColor) -> QColor:
    """Black or white, whichever stands out more."""
    return QColor("#101216") if luminance(background) > 0.19 else QColor("#ffffff")


class Inks:
    """The theme's colours as QColor, with the mixtures that painting needs."""

    def __init__(self, colours: Theme) -> None:
        self.panel = QColor(colours.panel)
        self.window = QColor(colours.window)
        self.raised = QColor(colours.raised)
        self.hover = QColor(colours.hover)
        self.line = QColor(colours.line)
        self.track = QColor(colours.track)
        self.text = QColor(colours.text)
        self.dim = QColor(colours.dim)
        self.accent = QColor(colours.accent)
        self.on_accent = QColor(colours.on_accent)
        self.selection = QColor(colours.selection)
        self.warning = QColor(colours.warning)
        self.error = QColor(colours.error)
        self.ok = QColor(colours.ok)
        self.contrast = colours.name == "contrast"
        self.hair = mix(self.line, self.panel, 1.0 if self.contrast else 0.55)
        self.faint = mix(self.dim, self.panel, 0.6)
        self.tint = mix(self.selection, self.panel, 0.22 if self.contrast else 0.10)
        self.metric = mix(self.text, self.panel, 0.55)
        self.band = mix(self.raised, self.panel, 1.0 if self.contrast else 0.75)
        self.stale = QBrush(self.faint, Qt.BrushStyle.BDiagPattern)
        self.parts = [mix(self.text, self.panel, share) for share in (0.85, 0.6, 0.4, 0.22, 0.12)]

    def severity(self, name: str | None) -> QColor:
        """Colour of a badge."""
        return {"ok": self.ok, "warning": self.warning, "error": self.error}.get(name or "", self.accent)

    def heat(self, share: float) -> QColor:
        """Diverging colour for -1 (blue) over 0 (panel) to 1 (orange)."""
        hue = QColor("#e07b1a") if share > 0 else QColor("#3a8fd9")
        return mix(hue, self.track, min(1.0, abs(share)) ** 0.8)

    def warm(self, share: float) -> QColor:
        """Sequential colour for 0 (panel) to 1 (error red)."""
        return mix(self.error, self.panel, 0.06 + 0.84 * min(1.0, max(0.0, share)))


@lru_cache(maxsize=8)
def _inks(name: str) -> Inks:
    return Inks(THEMES[name])


def inks() -> Inks:
    """Colours of the theme in use."""
    return _inks(theme().name)


@lru_cache(maxsize=512)
def _expert_fill(name: str, index: int, silenced: bool) -> QColor:
    colours = _inks(name)
    if silenced:
        return mix(colours.dim, colours.panel, 0.35)
    return mix(expert_colour(index), colours.panel, 1.0 if colours.contrast else 0.86)


def expert_fill(index: int, silenced: bool) -> QColor:
    """Fill of an expert's fader: its colour, or grey when it does not count."""
    return _expert_fill(theme().name, index, silenced)


@lru_cache(maxsize=512)
def _expert_line(name: str, index: int) -> QColor:
    colours = _inks(name)
    colour = expert_colour(index)
    step = 0.0
    while _contrast(mixed := mix(colours.text, colour, step), colours.panel) < 3.0 and step < 1.0:
        step += 0.1
    return mixed


def expert_line(index: int) -> QColor:
    """Line in an expert's colour, shifted towards the text until it has a contrast of 3 to the panel."""
    return _expert_line(theme().name, index)


def _contrast(a: QColor, b: QColor) -> float:
    lighter, darker = sorted((luminance(a), luminance(b)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def small(font: QFont, share: float = 0.88) -> QFont:
    """The font at a smaller size, whether it was given in points or pixels."""
    made = QFont(font)
    if font.pointSizeF() > 0:
        made.setPointSizeF(font.pointSizeF() * share)
    else:
        made.setPixelSize(max(1, round(font.pixelSize() * share)))
    return made


def paint_chip(painter: QPainter, box: QRectF, index: int, letter: str, silenced: bool = False) -> None:
    """The expert's colour chip with its letter."""
    fill = mix(inks().dim, inks().panel, 0.5) if silenced else expert_colour(index)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing, True)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(fill)
    painter.drawRoundedRect(box, 3, 3)
    painter.setPen(readable_on(fill))
    font = QFont(painter.font())
    font.setBold(True)
    painter.setFont(font)
    painter.drawText(box, Qt.AlignmentFlag.AlignCenter, letter)


def paint_arrow(painter: QPainter, centre: QPointF, size: float, points: str, colour: QColor) -> None:
    """A small solid triangle that points "down", "up" or "right"."""
    s = size / 2
    shape = {
        "down": [(-s, -s * 0.6), (s, -s * 0.6), (0, s * 0.7)],
        "up": [(-s, s * 0.6), (s, s * 0.6), (0, -s * 0.7)],
        "right": [(-s * 0.6, -s), (-s * 0.6, s), (s * 0.7, 0)],
    }[points]
    painter.setRenderHint(QPainter.RenderHint.Antialiasing, True)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(colour)
    painter.drawPolygon(QPolygonF([QPointF(centre.x() + x, centre.y() + y) for x, y in shape]))
    painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)
