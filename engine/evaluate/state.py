"""The weights of a checkpoint on disk, read one by one when the network asks for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from engine.errors import EvalProblem
from engine.files.model import Checkpoint, TensorInfo
from engine.files.reading import Reader
from engine.files.text import printable
from engine.progress import Progress, Silent

if TYPE_CHECKING:
    from torch import Tensor


def completed(model: Checkpoint, base: Checkpoint | None) -> dict[str, TensorInfo]:
    """The tensors of a model; those that it leaves out, because fine-tuning kept them, are the base's.

    Only a model that names its tensors as the base does is completed: else two whole models would be mixed up.
    """
    if base is None or sum(name in base.tensors for name in model.tensors) * 2 < len(model.tensors):
        return dict(model.tensors)
    return {**base.tensors, **model.tensors}


def shapes_of(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor of a state; nothing is read."""
    if isinstance(state, DiskState):
        return state.shapes
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


class DiskState(Mapping[str, "Tensor"]):
    """A state dict in float32 whose tensors are read when they are looked up, each time anew.

    Use as a context manager; several threads may look up at once.

    Args:
        model: Whose weights.
        base: Where tensors come from that the model does not have, or None.
        progress: Asked before every tensor.
    """

    def __init__(self, model: Checkpoint, base: Checkpoint | None = None, progress: Progress | None = None) -> None:
        self._infos = completed(model, base)
        self._own, self._model = model.tensors, Reader(model)
        self._base = Reader(base or model)
        self._progress = progress or Silent()

    def __enter__(self) -> DiskState:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._model.close()
        self._base.close()

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every tensor."""
        return {name: tuple(info.shape) for name, info in self._infos.items()}

    def __len__(self) -> int:
        return len(self._infos)

    def __iter__(self) -> Iterator[str]:
        return iter(self._infos)

    def __getitem__(self, name: str) -> Tensor:
        """Read one tensor.

        Raises:
            KeyError: if neither model has it.
            EvalProblem: if it has values that are not finite.
            FileProblem: if it cannot be read or the file was changed.
        """
        import torch

        from engine.merge.dtypes import TORCH

        info = self._infos[name]
        self._progress.check()
        reader = self._model if name in self._own else self._base
        if not info.is_float:
            return torch.from_numpy(reader.read(info)).view(TORCH[info.dtype]).view(info.shape)
        values = reader.read_float32(info).reshape(info.shape)
        if not np.isfinite(values).all():
            raise EvalProblem(
                f"The tensor {printable(name)} has values that are not finite.",
                where=printable(reader.checkpoint.path, 400),
                hint="The model is damaged or overflowed in training; get it again.",
            )
        return torch.from_numpy(values)
