"""One matrix in numbers, as the tensor view shows it: whole-matrix shares and everything about chosen weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.analyse.bitmap import summarise
from engine.analyse.bitmap_pyramid import Pyramid
from engine.analyse.bitmap_source import Matrix
from engine.errors import OutOfRange
from engine.merge.inputs import Inputs
from engine.progress import Progress, Silent
from engine.recipe.recipe import Recipe

_MEMORY = 8 << 20


def tensor_report(
    recipe: Recipe,
    inputs: Inputs,
    name: str,
    places: Sequence[tuple[int, int]] = (),
    *,
    progress: Progress | None = None,
    threads: int | None = None,
) -> dict[str, Any]:
    """What the tensor view says of a matrix and of some of its weights.

    Args:
        recipe: Its method decides what is kept, elected and written.
        inputs: Its models, with a base.
        name: A floating-point tensor of the base; dimensions after the first are taken together.
        places: (row, column) of weights to read out.
        progress: Told the weights done; pauses and cancels.
        threads: Worker threads; None for one a core.

    Returns:
        Plain values: "rows", "columns", "mask", shares "owned" (T + 1, the last is nobody's) and "kept" (T), "mean"
        of |tau| (T), "conflict", and "weights" with one entry for each place.

    Raises:
        OutOfRange: if a place is not in the matrix.
        MixdownError: as `Matrix`.
    """
    progress = progress or Silent()
    with Matrix(recipe, inputs, name) as matrix:
        for row, column in places:
            if not (0 <= row < matrix.rows and 0 <= column < matrix.columns):
                raise OutOfRange(
                    f"There is no weight at row {row}, column {column}.",
                    where=name,
                    hint=f"Rows are 0 to {matrix.rows - 1}, columns 0 to {matrix.columns - 1}.",
                )
        matrix.decide(progress)
        pyramid = Pyramid(matrix, _MEMORY)
        pyramid.fill(progress, threads)
        known = summarise(pyramid.levels[-1])
        return {
            "name": name, "rows": matrix.rows, "columns": matrix.columns, "mask": matrix.rule.mask,
            "owned": list(known.owned), "kept": list(known.kept), "mean": list(known.mean), "conflict": known.conflict,
            "weights": [_weight(matrix, row, column) for row, column in places],
        }  # fmt: skip


def _weight(matrix: Matrix, row: int, column: int) -> dict[str, Any]:
    found = matrix.reading(row, column)
    return {
        "row": row, "column": column, "base": found.base, "experts": list(found.experts), "tau": list(found.deltas),
        "kept": list(found.kept), "sign": found.sign, "owner": found.owner, "merged": found.merged, "note": found.note,
    }  # fmt: skip
