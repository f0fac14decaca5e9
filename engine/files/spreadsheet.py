"""CSV that a spreadsheet shows and never runs: names of strangers must not become formulas."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

_STARTS = ("=", "+", "-", "@", "\t", "\r")


def harmless(value: object) -> object:
    """A cell that no spreadsheet takes for a formula or a new row; numbers, also written ones, stay as they are."""
    if not isinstance(value, str):
        return value
    text = value.replace("\r", " ")  # the csv module of Python 3.11 does not quote it
    if not value.startswith(_STARTS):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text


class SafeWriter:
    """Writes rows as CSV in which text stays text.

    Args:
        file: Where to; opened with newline="".
        end: What ends a row.
    """

    def __init__(self, file: SupportsWrite[str], end: str = "\n") -> None:
        self._writer = csv.writer(file, lineterminator=end)

    def writerow(self, row: Iterable[object]) -> None:
        """Write one row."""
        self._writer.writerow([harmless(value) for value in row])

    def writerows(self, rows: Iterable[Iterable[object]]) -> None:
        """Write some rows."""
        for row in rows:
            self.writerow(row)
