"""The table of a finished bundle: λ, size and scores of every task; a screen reader and a spreadsheet can read it."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem, QWidget

from widgets.common.format import UNKNOWN, bytes_text, percent_text, score_text
from widgets.common.text import plain
from widgets.dialogs.bundle_state import BundleResult

HEADS = ("Task", "λ", "In the mask", "Size", "Restored", "Expert", "Kept")
_TIPS = (
    "Name of the expert",
    "Its mask keeps a weight where |τ| > λ · |τ of all the others|",
    "Share of the changed weights in its mask",
    "Its mask in the bundle",
    "Test score of what the bundle gives back, in percent",
    "Test score of the expert itself, in percent",
    "Restored divided by expert: the normalised score",
)


class BundleTable(QTableWidget):
    """One line for each task."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(0, len(HEADS), parent)
        self.setObjectName("bundle-results")
        self.setAccessibleName("Tasks of the bundle")
        self.results: tuple[BundleResult, ...] = ()
        for column, text in enumerate(_TIPS):
            head = QTableWidgetItem(HEADS[column])
            head.setToolTip(text)
            side = Qt.AlignmentFlag.AlignRight if column else Qt.AlignmentFlag.AlignLeft
            head.setTextAlignment(side | Qt.AlignmentFlag.AlignVCenter)
            self.setHorizontalHeaderItem(column, head)
        self.verticalHeader().hide()
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setTabKeyNavigation(False)
        self.setWordWrap(False)
        self.setShowGrid(False)
        head_view = self.horizontalHeader()
        head_view.setHighlightSections(False)
        head_view.setMinimumSectionSize(78)
        head_view.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        head_view.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)

    def set_results(self, results: Sequence[BundleResult]) -> None:
        """Show other tasks."""
        if tuple(results) == self.results:
            return
        self.results = tuple(results)
        self.setRowCount(len(results))
        for number, result in enumerate(results):
            for column, text in enumerate(_cells(result)):
                item = QTableWidgetItem(text)
                if column:
                    item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                else:
                    item.setToolTip(text)
                self.setItem(number, column, item)
        lines = min(len(results), 8) + 1
        self.setMinimumHeight(lines * self.verticalHeader().defaultSectionSize() + 2 * self.frameWidth() + 6)


def csv_text(results: Sequence[BundleResult]) -> str:
    """The table with full figures, for a spreadsheet."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(("task", "lambda", "lambda_by_quick_eval", "mask_density", "mask_bytes", "test_rows",
                     "restored_score", "expert_score", "kept"))  # fmt: skip
    for r in results:
        scores = ("" if value is None else value for value in (r.restored, r.expert, r.kept))
        writer.writerow((_safe(r.name), r.level, r.tuned, r.density, r.size_bytes, r.rows or "", *scores))
    return file.getvalue()


def _safe(name: str) -> str:
    """A name that no spreadsheet takes for a formula."""
    return f"'{name}" if name[:1] in ("=", "+", "-", "@", "\t") else name


def _cells(result: BundleResult) -> tuple[str, ...]:
    level = f"{result.level:g} (eval)" if result.tuned else f"{result.level:g}"
    return (
        plain(result.name),
        level,
        percent_text(result.density),
        bytes_text(result.size_bytes),
        score_text(result.restored) if result.restored is not None else UNKNOWN,
        score_text(result.expert) if result.expert is not None else UNKNOWN,
        percent_text(result.kept),
    )
