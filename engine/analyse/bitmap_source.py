"""From files to the blocks of a matrix: tiles that are read when they are looked at, and a pyramid of all of it.

The masks, signs and merged values are those of the merge itself: the same steps on the same float32 differences,
with the statistics of the recipe's own plan.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from math import prod
from types import TracebackType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine import steps
from engine.analyse.bitmap import (
    TILE,
    Blocks,
    Mode,
    Reading,
    arrays,
    blocks_of,
    joined,
    reduced_to,
    stored_as,
)
from engine.analyse.bitmap_rule import Rule, decisions, rule_of
from engine.errors import Mismatch, MixdownError, UnknownSelection
from engine.files.decode import to_float32
from engine.files.model import ITEM_BYTES, TensorInfo
from engine.files.reading import Reader
from engine.merge.compute import Computer
from engine.merge.inputs import Inputs
from engine.merge.load import Loader
from engine.merge.plan import Plan, TensorJob, make_plan
from engine.merge.run import survey
from engine.progress import Progress, Silent
from engine.recipe.recipe import Recipe
from engine.steps.view import BLOCK

Array = NDArray[Any]
BAND = 1 << 18
"""Weights of one model that a worker holds at once."""

NEEDED: dict[Mode, frozenset[str]] = {
    "owner": frozenset({"owners"}), "kept": frozenset({"kept"}), "sign": frozenset({"sign"}),
    "magnitude": frozenset({"sizes"}), "conflict": frozenset({"against", "changed"}),
}  # fmt: skip
EVERYTHING: frozenset[str] = frozenset[str]().union(*NEEDED.values())
_SAMPLED_BITS = 3
"""A sample looks at 2^3 weights of each block."""

DECIDED = frozenset({"kept", "sign"})
"""Fields that need the method's statistics, which may take a pass over the model."""


@dataclass(frozen=True, slots=True)
class Rect:
    """Rows and columns of a matrix."""

    top: int
    left: int
    rows: int
    columns: int


class Matrix:
    """One matrix of all models of a recipe; use as a context manager or `close` it. Thread-safe.

    Args:
        recipe: The recipe.
        inputs: Its models, with a base.
        name: A floating-point tensor of the base; dimensions after the first are taken together.

    Raises:
        UnknownSelection: if there is no such tensor.
        Mismatch: if there is no base, or the models do not fit.
        BadRecipe: if the recipe cannot be merged.
    """

    def __init__(self, recipe: Recipe, inputs: Inputs, name: str) -> None:
        if inputs.base is None:
            raise Mismatch("There is no base to compare with.", hint="Drop the model the experts were made from.")
        self.plan: Plan = make_plan(recipe, inputs)
        self.job = _job(self.plan, name)
        self.name, self.shape = name, self.job.shape
        self.rows = self.shape[0] if self.shape else 1
        self.columns = prod(self.shape[1:])
        self.experts = len(inputs.experts)
        self._stack = ExitStack()
        self._readers = [self._stack.enter_context(Reader(c)) for c in (inputs.base, *inputs.experts)]
        self._infos = [c.tensors.get(name) for c in (inputs.base, *inputs.experts)]
        self._wide = any(info is not None and info.dtype == "F64" for info in self._infos)
        self._inputs = inputs
        self._stats: object = None
        self.rule: Rule = rule_of(self.plan, inputs, self.job, None)
        self.is_decided = self.plan.method.survey is None and self.plan.method.measure is None

    def __enter__(self) -> Matrix:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the files."""
        self._stack.close()

    def decide(self, progress: Progress | None = None) -> None:
        """Make the method's statistics; kept weights, signs and merged values are right from then on."""
        if self.is_decided:
            return
        progress = progress or Silent()
        self._stats = survey(self.plan, progress=progress)
        if self.plan.scope(self.job) != "tensor":
            with Loader(self.plan) as loader:
                self._stats = Computer(loader, self._stats).measure(self.job, progress)
        self.rule = rule_of(self.plan, self._inputs, self.job, self._stats)
        self.is_decided = True

    # Blocks --------------------------------------------------------------------------------------------------

    def blocks(self, rect: Rect, fields: frozenset[str], *, check: Callable[[], None] | None = None) -> Blocks:
        """Level 0 of a part of the matrix.

        Raises:
            FileProblem: if a file cannot be read or was changed.
            Cancelled: from `check`, which is called between models.
        """
        return self._blocks(range(rect.top, rect.top + rect.rows), rect, fields, check)

    def _blocks(
        self, rows: range, rect: Rect, fields: frozenset[str], check: Callable[[], None] | None = None, step: int = 1
    ) -> Blocks:
        """Level 0 of some rows, which need not lie together, and of every step-th of the columns of `rect`."""
        base, *values = (self._read(i, rows, rect, check, step) for i in range(len(self._infos)))
        rect = Rect(rect.top, rect.left, rect.rows, -(-rect.columns // step))
        deltas = [torch.zeros_like(base) if v is None else v.sub_(base) for v in values if base is not None]
        if base is None:
            raise UnknownSelection(f"The base has no {self.name}.", hint="Choose another tensor.")
        return self._counted(deltas, rect, fields)

    def _counted(self, deltas: Sequence[Tensor], rect: Rect, fields: frozenset[str]) -> Blocks:
        """The fields of T task vectors (n,)."""
        shape, rule = (rect.rows, rect.columns), self.rule
        made: dict[str, Array] = {}
        if "sizes" in fields:
            made["sizes"] = _stacked([x.abs() for x in deltas], shape, np.float32)
        if fields & DECIDED:
            found = decisions(rule, deltas, self.name)
            made["kept"] = _stacked(found.kept, shape, np.uint8)
            made["sign"] = found.sign.to(torch.int8).numpy().reshape(shape)
        if fields & {"owners", "against", "changed"}:
            scaled = [x * w for x, w in zip(deltas, rule.weights, strict=True)]
            if "owners" in fields:
                made["owners"] = _owners(scaled, shape)
            if fields & {"against", "changed"}:
                made["against"], made["changed"] = _conflict(scaled, rule.order, shape)
        wanted: dict[str, Any] = {name: array for name, array in made.items() if name in fields}
        return Blocks(0, rect.rows, rect.columns, **wanted)

    def _read(
        self, index: int, rows: range, rect: Rect, check: Callable[[], None] | None = None, step: int = 1
    ) -> Tensor | None:
        """(n,) values of a part of one model, as merges see them; None if it does not have the tensor."""
        info, reader = self._infos[index], self._readers[index]
        if info is None:
            return None
        if check is not None:
            check()
        size = ITEM_BYTES[info.dtype]
        raw = np.empty(rect.rows * rect.columns * size, np.uint8)
        if rect.columns == self.columns and rows.step == 1:
            reader.read_into(info, rows.start * self.columns, raw.size // size, raw)
        else:
            line = rect.columns * size
            for r, at in enumerate(rows):
                first = min(at, self.rows - 1) * self.columns + rect.left
                reader.read_into(info, first, rect.columns, raw[r * line : (r + 1) * line])
        if step > 1:
            raw = raw.reshape(rect.rows, rect.columns, size)[:, ::step].reshape(-1)
        return torch.from_numpy(_decoded(raw, info, self._wide))

    def tile(self, level: int, down: int, across: int, mode: Mode, check: Callable[[], None] | None = None) -> Blocks:
        """One tile of `TILE` x `TILE` blocks of a level, from the files."""
        size = TILE << level
        top, left = down * size, across * size
        rect = Rect(top, left, min(size, self.rows - top), min(size, self.columns - left))
        strip = max(1 << level, (BAND // max(rect.columns, 1)) >> level << level)
        parts = []
        for first in range(0, rect.rows, strip):
            piece = Rect(top + first, left, min(strip, rect.rows - first), rect.columns)
            parts.append(reduced_to(self.blocks(piece, NEEDED[mode], check=check), level, self.experts))
        return joined(parts)

    def sampled(self, mode: Mode, most: int = TILE, check: Callable[[], None] | None = None) -> Blocks:
        """A first picture: of every block, some weights of the middle row are counted."""
        level = 0
        while max(blocks_of(self.rows, level), blocks_of(self.columns, level)) > most:
            level += 1
        thin = max(level - _SAMPLED_BITS, 0)
        step, count = 1 << level, blocks_of(self.rows, level)
        some, parts = max(1, BAND // max(self.columns, 1)), []
        for first in range(0, count, some):
            rows = range(first * step + step // 2, (first + some) * step, step)[: min(some, count - first)]
            rect = Rect(0, 0, len(rows), self.columns)
            parts.append(self._blocks(rows, rect, NEEDED[mode], check, 1 << thin))
        whole = joined(parts)
        made: dict[str, Any] = {
            n: _across(a, level - thin, stored_as(n, level, self.experts)) for n, a in arrays(whole).items()
        }
        return Blocks(level, self.rows, self.columns, **made, step=1 << thin if level else 0)

    # One weight ----------------------------------------------------------------------------------------------

    def reading(self, row: int, column: int) -> Reading:
        """Everything about one weight, with the value that a merge would write."""
        rows, rect = range(row, row + 1), Rect(row, column, 1, 1)
        base, *values = (self._read(i, rows, rect) for i in range(len(self._infos)))
        floor = 0.0 if base is None else float(base[0])
        plain = [floor if v is None else float(v[0]) for v in values]
        deltas = [torch.zeros(1) if v is None or base is None else v - base for v in values]
        found = decisions(self.rule, deltas, self.name)
        owners = _owners([x * w for x, w in zip(deltas, self.rule.weights, strict=True)], (1, 1))
        merged, note = self._merged(row * self.columns + column)
        return Reading(
            row, column, floor, tuple(plain), tuple(float(x[0]) for x in deltas),
            tuple(bool(k[0]) for k in found.kept) if self.is_decided else (), int(found.sign[0]),
            int(owners[:, 0, 0].argmax()), merged, note,
        )  # fmt: skip

    def _merged(self, place: int) -> tuple[float | None, str]:
        """The merged value of one element from the plan's own kernel, or why there is none."""
        job, scope = self.job, self.plan.scope(self.job)
        if job.action == "merge" and scope == "tensor":
            return None, "after the merge: this method needs the whole matrix"
        if not self.is_decided:
            return None, "being measured"
        unit = self.columns if scope == "rows" and len(self.shape) > 1 else job.numel if scope == "rows" else BLOCK
        start = place // unit * unit
        try:
            with Loader(self.plan, chunk=max(unit, BLOCK)) as loader:
                data = Computer(loader, self._stats).chunk(job, start, min(start + unit, job.numel), self._stats)
        except MixdownError as error:
            return None, error.message
        size = ITEM_BYTES[job.out_dtype]
        raw = np.array(data[(place - start) * size : (place - start + 1) * size])
        return float(_decode(raw, job.out_dtype, wide=True)[0]), ""


def matrices(inputs: Inputs) -> tuple[str, ...]:
    """Names of the base's tensors that can be looked at: floating-point ones with two dimensions or more."""
    tensors = {} if inputs.base is None else inputs.base.tensors
    return tuple(n for n, info in tensors.items() if info.is_float and len(info.shape) > 1 and info.numel)


def _job(plan: Plan, name: str) -> TensorJob:
    found = next((job for job in plan.jobs if job.name == name and job.is_float and job.numel), None)
    if found is None:
        raise UnknownSelection(f"The base has no weights called {name!r}.", hint="Choose another tensor.")
    return found


def _decoded(raw: NDArray[np.uint8], info: TensorInfo, wide: bool) -> Array:
    """(n,) float32 that may be written to, or float64 if any model stores the tensor so."""
    return _decode(raw, info.dtype, wide)


def _decode(raw: NDArray[np.uint8], dtype: str, wide: bool) -> Array:
    if not wide:
        return to_float32(raw, dtype)
    made: Array = raw.view("<f8") if dtype == "F64" else to_float32(raw, dtype).astype(np.float64)
    return made


def _stacked(parts: Sequence[Tensor], shape: tuple[int, int], kind: Any) -> Array:
    """(T, r, c) of T (n,) tensors."""
    made = np.empty((len(parts), *shape), kind)
    for row, part in zip(made, parts, strict=True):
        row[...] = part.numpy().reshape(shape)
    return made


def _owners(scaled: Sequence[Tensor], shape: tuple[int, int]) -> Array:
    """(T + 1, r, c) of 0 and 1: the first expert with the largest magnitude, the last row where all are 0."""
    best = scaled[0].abs()
    owner = torch.zeros(best.shape, dtype=torch.uint8)
    for t, values in enumerate(scaled[1:], 1):
        size = values.abs()
        owner[size > best] = t
        torch.maximum(best, size, out=best)
    owner[best == 0] = len(scaled)
    found: Array = owner.numpy().reshape(shape) == np.arange(len(scaled) + 1, dtype=np.uint8)[:, None, None]
    return found.view(np.uint8)


def _conflict(scaled: Sequence[Tensor], order: Sequence[int], shape: tuple[int, int]) -> tuple[Array, Array]:
    """How many experts change each weight against the sum of all changes, and how many change it: (r, c) twice."""
    heard = [scaled[t] for t in order]
    elected = steps.reduce.total(heard).sign_()
    against, changed = (torch.zeros(elected.shape, dtype=torch.uint8) for _ in range(2))
    for values in heard:
        against += values * elected < 0
        changed += values != 0
    return against.numpy().reshape(shape), changed.numpy().reshape(shape)


def _across(array: Array, level: int, kind: np.dtype[Any]) -> Array:
    """Sums of 2^level columns."""
    size, columns = 1 << level, array.shape[-1]
    padded = np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, -columns % size)])
    summed: Array = padded.reshape(*array.shape[:-1], -1, size).sum(axis=-1, dtype=np.float64).astype(kind)
    return summed
