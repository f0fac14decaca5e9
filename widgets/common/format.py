"""How numbers read everywhere: bytes, counts, shares, times. One place, so that they agree."""

from __future__ import annotations

from math import isfinite

UNKNOWN = "–"
_BYTE_UNITS = ("B", "KB", "MB", "GB", "TB", "PB")
_COUNT_UNITS = ("", "K", "M", "B", "T")


def _scaled(value: float, units: tuple[str, ...]) -> str:
    """Three digits and a unit, stepping up before four digits would be shown ("1000 KB" never appears)."""
    power = 0
    while power < len(units) - 1 and float(_digits(abs(value))) >= 1000:
        value /= 1000
        power += 1
    digits = f"{value:.0f}" if power == 0 else _digits(value)
    return f"{digits} {units[power]}".rstrip()


def _digits(value: float) -> str:
    """1.23, 12.3, 123, without zeros that say nothing."""
    size = abs(value)
    text = f"{value:.0f}" if size >= 99.95 else f"{value:.1f}" if size >= 9.995 else f"{value:.2f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def bytes_text(count: float | None) -> str:
    """Decimal bytes: "248 MB"."""
    return UNKNOWN if count is None else _scaled(count, _BYTE_UNITS)


def count_text(count: float | None) -> str:
    """A count with a short unit: "124 M", "28.3 M", "7 B"."""
    return UNKNOWN if count is None else _scaled(count, _COUNT_UNITS)


def percent_text(share: float | None, places: int = 1) -> str:
    """A share of 1 as a percentage: "14.2 %"."""
    return UNKNOWN if share is None or not isfinite(share) else f"{share * 100:.{places}f} %"


def score_text(share: float | None) -> str:
    """A score of 1 in percent points without the sign: "84.2"."""
    return UNKNOWN if share is None or not isfinite(share) else f"{share * 100:.1f}"


def number_text(value: float | None, places: int = 2) -> str:
    """A plain number with a true minus sign: "−0.04"."""
    if value is None or not isfinite(value):
        return UNKNOWN
    text = f"{value:.{places}f}"
    if float(text) == 0:
        text = text.lstrip("-")
    return text.replace("-", "−")


def range_text(low: float, high: float, places: int = 2) -> str:
    """ "0.66 – 0.78", or one number when both are the same."""
    first, last = number_text(low, places), number_text(high, places)
    return first if first == last else f"{first} – {last}"


def duration_text(seconds: float | None) -> str:
    """ "0.8 s", "18 s", "3 min 20 s", "1 h 5 min"."""
    if seconds is None or not isfinite(seconds):
        return UNKNOWN
    if seconds < 9.95:
        return f"{max(seconds, 0):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        minutes, rest = divmod(whole, 60)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(round(whole / 60), 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def remaining_text(seconds: float | None) -> str:
    """ "6 s left", in steps that do not flicker."""
    if seconds is None or not isfinite(seconds):
        return ""
    if seconds < 1:
        return "under 1 s left"
    return f"{duration_text(round(seconds) if seconds < 60 else 5 * round(seconds / 5)).replace('.0', '')} left"


NORM = "‖\u2009τ\u2009‖"
"""The norm of a task vector; thin spaces keep its bars from the letter."""


def rate_text(per_second: float | None, unit: str = "bytes") -> str:
    """ "512 MB/s", "1.2 K rows/s"; slow ones as "24 mixes/min"."""
    if per_second is None or not isfinite(per_second) or per_second <= 0:
        return ""
    if unit != "bytes" and per_second < 9.5:
        a_minute = 60 * per_second
        return f"{count_text(a_minute)} {unit}/min" if a_minute >= 0.5 else ""
    return f"{bytes_text(per_second)}/s" if unit == "bytes" else f"{count_text(per_second)} {unit}/s"


def amount_text(done: float, total: float, unit: str = "bytes") -> str:
    """ "1.2 of 4 GB" or "120 of 300 rows"; just the first while the total is unknown."""
    text = bytes_text if unit == "bytes" else count_text
    suffix = "" if unit == "bytes" else f" {unit}"
    if total <= 0:
        return f"{text(done)}{suffix}" if done > 0 else ""
    first, last = text(done), text(total)
    if unit == "bytes" and first.split(" ")[-1] == last.split(" ")[-1]:
        first = first.split(" ")[0]
    return f"{first} of {last}{suffix}"


def plural(count: int, noun: str) -> str:
    """ "1 tensor", "16 tensors"; nouns that end in -y, -s or -ch are not needed here."""
    return f"{count:,} {noun}".replace(",", " ") + ("" if count == 1 else "s")
