"""The counter that writes a bundle's tensors while the models are swept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO

import numpy as np
from numpy.typing import NDArray

from engine.analyse.sweep import Piece
from engine.bundle.append import PartFile
from engine.bundle.authors import FlatMasks
from engine.bundle.coding import encode, framed, is_smaller, plain
from engine.bundle.manifest import Manifest, gain_name, mask_name, multi_name, scale_name
from engine.bundle.quantise import BLOCK, quantise
from engine.bundle.storage import Storage
from engine.files.model import ITEM_BYTES
from engine.merge.plan import Plan


@dataclass(frozen=True, slots=True)
class _Part:
    """What a piece contributes: multi-task vector, its scales (8 bit), packed masks (coded if so asked).

    `sizes` is (2, T): sum |tau_t| and sum |mask x multi|.
    """

    count: int
    changed: bool
    kind: str
    multi: bytes
    scales: bytes
    masks: list[bytes]
    bits: NDArray[np.int64]
    sizes: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Kept:
    """What is remembered of a placed piece: where the spool has its first coded mask, and the masks' sizes."""

    count: int
    spot: int
    lengths: tuple[int, ...]


class MaskWriter:
    """Writes what it measures; pieces come in the order of the plan's tensors.

    Coded masks have no place before their tensor is complete; until then they lie in the spool, not in memory.

    Args:
        plan: Whose models are swept.
        file: Where the tensors go.
        manifest: Says what is stored, and how.
        spool: An empty scratch file on the same disk.
        masks: Masks to store instead of those of the rule.
    """

    def __init__(
        self, plan: Plan, file: PartFile, manifest: Manifest, spool: IO[bytes], masks: FlatMasks | None = None
    ) -> None:
        self._given, self._spool = masks, spool
        self._plan, self._file, self._manifest = plan, file, manifest
        self._levels = [task.strictness for task in manifest.tasks]
        self._jobs = iter([job for job in plan.jobs if job.is_float and job.numel])
        self._job = next(self._jobs, None)
        self._kept: list[_Kept] = []
        self._bits = np.zeros(len(manifest.tasks), np.int64)
        self._norms = np.zeros((2, len(manifest.tasks)))
        self._done = 0
        self._moved = False
        self._sizes = dict.fromkeys(("trainable", "multi", "mask", "raw_mask"), 0)
        self._set = np.zeros(len(self._levels), np.int64)
        self._gains: dict[str, NDArray[np.float32]] = {}

    def measure(self, piece: Piece) -> _Part:
        """The piece as it is stored; from several threads."""
        masks_of = [self._mask(piece, t) for t in range(len(self._levels))]
        packed = [np.packbits(mask) for mask in masks_of]
        sizes = _sizes(piece, masks_of) if self._manifest.rescale else np.zeros((2, len(packed)))
        bits = np.array([int(np.bitwise_count(x).sum()) for x in packed], np.int64)
        masks = [encode(x.tobytes(), self._manifest.codec) for x in packed]
        count, changed = len(piece.multi), bool(piece.changed.any())
        if self._manifest.bits == 32:
            kind = "F64" if piece.multi.dtype == np.float64 else "F32"
            return _Part(count, changed, kind, piece.multi.tobytes(), b"", masks, bits, sizes)
        steps, scales = quantise(piece.multi)
        return _Part(count, changed, "I8", steps.tobytes(), scales.tobytes(), masks, bits, sizes)

    def add(self, group: int, part: _Part) -> None:
        """Place one piece; when its tensor is complete, enter it, unless no expert changes it."""
        assert self._job is not None  # there are as many pieces as the jobs have
        self._moved |= part.changed
        self._place(part, self._job.numel)
        self._done += part.count
        if self._done == self._job.numel:
            if self._moved:
                self._enter(self._job.name, self._job.shape, part.kind)
            self._job, self._done, self._moved = next(self._jobs, None), 0, False
            self._kept.clear()
            self._bits[:], self._norms[:] = 0, 0
            self._spool.seek(0)
            self._spool.truncate()

    def finish(self) -> None:
        """Write what is known only at the end: the gains."""
        for t in range(len(self._levels) if self._manifest.rescale else 0):
            data = np.array([self._gains[name][t] for name in sorted(self._gains)], np.float32)
            self._file.write(self._file.cursor, data.tobytes())
            self._file.enter(gain_name(t), "F32", data.shape, data.nbytes)

    def storage(self, file_bytes: int) -> Storage:
        """The sizes after everything was written."""
        experts, base = len(self._levels), self._plan.models.base
        whole = 0 if base is None else base.size_bytes
        weights = sum(job.numel for job in self._plan.jobs if job.is_float)
        return Storage(
            tasks=experts,
            trainable=self._sizes["trainable"],
            frozen=weights - self._sizes["trainable"],
            experts_bytes=experts * whole,
            base_bytes=whole,
            multi_bytes=self._sizes["multi"],
            mask_bytes=self._sizes["mask"],
            raw_mask_bytes=self._sizes["raw_mask"],
            file_bytes=file_bytes,
        )

    def density(self) -> dict[str, float]:
        """Share of the trainable weights in each mask."""
        shares = self._set / max(1, self._sizes["trainable"])
        return {task.name: float(share) for task, share in zip(self._manifest.tasks, shares, strict=True)}

    def _mask(self, piece: Piece, task: int) -> NDArray[np.bool_]:
        """(n,) where |tau| > lambda |multi - tau|, as `engine.steps.masks.tall_mask` computes it; or as given."""
        tau = piece.taus[task]
        if self._given is not None:
            return self._given.bits(self._manifest.tasks[task].name, piece.tensor, piece.start, piece.start + len(tau))
        away = np.abs(piece.multi - tau)
        np.multiply(away, away.dtype.type(self._levels[task]), out=away)
        mask: NDArray[np.bool_] = np.greater(np.abs(tau), away)
        return mask

    def _place(self, part: _Part, numel: int) -> None:
        """Write what has a known place, keep the rest until the tensor is complete."""
        file, width = self._file, len(part.multi) // max(1, part.count)
        file.write(file.cursor + self._done * width, part.multi)
        after = file.cursor + numel * width
        if part.scales:
            file.write(after + self._done // BLOCK * 4, part.scales)
            after += -(-numel // BLOCK) * 4
        if self._manifest.codec == "raw":
            for t, mask in enumerate(part.masks):
                file.write(after + t * -(-numel // 8) + self._done // 8, mask)
        else:
            self._kept.append(_Kept(part.count, self._spool.tell(), tuple(map(len, part.masks))))
            self._spool.writelines(part.masks)
        self._bits += part.bits
        self._norms += part.sizes

    def _enter(self, name: str, shape: tuple[int, ...], kind: str) -> None:
        """Put the complete tensor's parts into the header."""
        numel = self._done
        begin, raw = self._file.cursor, -(-numel // 8)
        self._file.enter(multi_name(name), kind, shape, numel * ITEM_BYTES[kind])
        if kind == "I8":
            blocks = -(-numel // BLOCK)
            self._file.enter(scale_name(name), "F32", (blocks,), 4 * blocks)
        middle = self._file.cursor
        for t in range(len(self._levels)):
            size = raw
            if self._manifest.codec != "raw":
                size = self._code(t, numel)
            self._file.enter(mask_name(t, name), "U8", (size,), size)
        self._sizes["trainable"] += numel
        self._sizes["multi"] += middle - begin
        self._sizes["mask"] += self._file.cursor - middle
        self._sizes["raw_mask"] += raw * len(self._levels)
        before, after = self._norms
        gains = np.divide(before, after, out=np.ones_like(before), where=after > 0)
        self._gains[name] = gains.astype(np.float32)
        self._set += self._bits

    def _code(self, task: int, numel: int) -> int:
        """Write a coded mask where the file ends; its bytes."""
        codec, size = self._manifest.codec, 0
        small = is_smaller([kept.lengths[task] for kept in self._kept], codec, -(-numel // 8))
        for kept in self._kept:
            self._spool.seek(kept.spot + sum(kept.lengths[:task]))
            segment = self._spool.read(kept.lengths[task])
            data = framed(segment) if small else plain(segment, codec, -(-kept.count // 8))
            self._file.write(self._file.cursor + size, data)
            size += len(data)
        return size


def _sizes(piece: Piece, masks: list[NDArray[np.bool_]]) -> NDArray[np.float64]:
    """(2, T) sum |tau_t| and sum |mask x multi|, in float64."""
    multi = np.abs(piece.multi, dtype=np.float64)
    before = [float(np.abs(tau, dtype=np.float64).sum()) for tau in piece.taus]
    return np.array([before, [float(multi[mask].sum()) for mask in masks]])
