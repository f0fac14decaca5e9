"""onnxruntime sessions whose weights are injected when they are made; the graph itself never changes."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.errors import Cancelled, EvalProblem
from engine.files.text import counted, listed, printable
from engine.progress import Progress

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

_HINT = "Install onnxruntime (onnxruntime-gpu for CUDA), or choose torch as the runner."
_POLL_S = 0.05
_NUMPY = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64,
          "tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(bool)": np.bool_}  # fmt: skip


def providers(wanted: str = "") -> list[Any]:
    """Execution providers in the order to use them, always named: CUDA where there is a GPU that torch sees, then CPU.

    Args:
        wanted: "", "cpu" or "cuda".

    Raises:
        EvalProblem: if onnxruntime is missing, or CUDA is wanted and there is none.
    """
    runtime = _onnxruntime()
    has_cuda = "CUDAExecutionProvider" in runtime.get_available_providers() and _sees_gpu()
    if wanted == "cuda" and not has_cuda:
        raise EvalProblem("onnxruntime has no CUDA provider here.", hint="Install onnxruntime-gpu, or use the CPU.")
    cuda = [("CUDAExecutionProvider", {"use_tf32": "0"})] if has_cuda and wanted != "cpu" else []
    return [*cuda, "CPUExecutionProvider"]


def provider(wanted: str = "") -> str:
    """Name of the provider that is used."""
    first = providers(wanted)[0]
    return first if isinstance(first, str) else str(first[0])


def _sees_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise EvalProblem("onnxruntime is not installed.", hint=_HINT) from error
    return onnxruntime


class Session:
    """One graph with one set of weights, ready to run; use as a context manager. Several threads may run it at once.

    Args:
        graph: The .onnx file, or its bytes.
        weights: Values of its weights by the graph's names; others are left out. Empty for a file that has its own.
        threads: Threads of one run.
        device: "", "cpu" or "cuda".
        progress: Asked all the while a run goes on; a cancelled run ends within its current operator.

    Raises:
        EvalProblem: if the graph cannot be loaded or weights are missing.
    """

    def __init__(
        self, graph: Path | bytes, weights: Mapping[str, Tensor], *, threads: int = 1, device: str = "",
        progress: Progress | None = None,
    ) -> None:  # fmt: skip
        runtime = _onnxruntime()
        options = runtime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = options.inter_op_num_threads = threads
        options.use_deterministic_compute = True
        self._held: list[Any] = []
        source = str(graph) if isinstance(graph, Path) else graph
        if weights:
            source = graph.read_bytes() if isinstance(graph, Path) else graph
            self._held = _injected(runtime, options, source, weights)
        try:
            self._session = runtime.InferenceSession(source, options, providers=providers(device))
        except Exception as error:  # onnxruntime's own classes, made in C++
            raise _refused(error) from error
        self._inputs = {i.name: _NUMPY.get(i.type) for i in self._session.get_inputs()}
        self.inputs: tuple[str, ...] = tuple(self._inputs)
        self.outputs: tuple[str, ...] = tuple(o.name for o in self._session.get_outputs())
        self.ranks = {o.name: len(o.shape) for o in self._session.get_outputs()}
        self._run_options = runtime.RunOptions()
        self._run_options.log_severity_level = 4
        self._done = threading.Event()
        self._watcher = threading.Thread(target=self._watch, args=(progress,), daemon=True)

    def __enter__(self) -> Session:
        self._watcher.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._watcher.join()
        del self._session  # before the weights that it reads
        self._held = []

    def _watch(self, progress: Progress | None) -> None:
        if progress is None:
            return
        try:
            while not self._done.wait(_POLL_S):
                progress.check()
        except Cancelled:
            self._run_options.terminate = True

    def run(self, feeds: Mapping[str, Tensor], outputs: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Outputs by name.

        Args:
            feeds: Inputs by name; token type ids and position ids are made where the graph wants them.
            outputs: Which outputs; None for all.

        Raises:
            EvalProblem: if an input is unknown, or the graph cannot be run on these inputs.
            Cancelled: if the user stopped the job.
        """
        import torch

        given = {name: self._array(name, feeds) for name in self.inputs}
        try:
            found = self._session.run(list(outputs or self.outputs), given, self._run_options)
        except Exception as error:  # onnxruntime's own classes, made in C++
            if self._run_options.terminate:
                raise Cancelled from error
            raise EvalProblem(f"onnxruntime cannot run the graph on these inputs: {printable(error, 300)}") from error
        arrays = (value if value.dtype != np.float16 else value.astype(np.float32) for value in found)
        return dict(zip(outputs or self.outputs, map(torch.from_numpy, arrays), strict=True))

    def _array(self, name: str, feeds: Mapping[str, Tensor]) -> NDArray[Any]:
        import torch

        dtype = self._inputs[name]
        if dtype is None:
            raise EvalProblem(f"The graph's input {printable(name)!r} has a type that cannot be fed.")
        tensor = feeds.get(name)
        if tensor is None and "pixel_values" in feeds and len(self.inputs) == 1:
            tensor = feeds["pixel_values"]
        if tensor is None and name == "token_type_ids" and "input_ids" in feeds:
            tensor = torch.zeros_like(feeds["input_ids"])
        if tensor is None and name == "position_ids" and "attention_mask" in feeds:
            tensor = (feeds["attention_mask"].cumsum(1) - 1).clamp_min(0)
        if tensor is None:
            raise EvalProblem(
                f"The graph wants an input {printable(name)!r}, which the task does not give.",
                hint=f"The task gives {', '.join(feeds)}; the graph may belong to another model.",
            )
        return np.ascontiguousarray(tensor.numpy(), dtype=dtype)


def _injected(runtime: Any, options: Any, raw: bytes, weights: Mapping[str, Tensor]) -> list[Any]:
    """Tell a session about its weights; returns what must live as long as it."""
    import torch

    from engine.graphs.proto import external_names

    dtypes = external_names(raw)
    missing = [name for name in dtypes if name not in weights]
    if missing:
        raise EvalProblem(
            f"{counted(len(missing), 'weight')} of the graph {'is' if len(missing) == 1 else 'are'} not among the "
            f"model's tensors ({listed(missing)}).",
            hint="The graph belongs to another model.",
        )
    held = []
    for name, dtype in dtypes.items():
        tensor = weights[name].detach().to("cpu", getattr(torch, dtype)).contiguous()
        held.append(runtime.OrtValue.ortvalue_from_numpy(tensor.numpy()))
    if held:
        options.add_external_initializers(list(dtypes), held)
    return held


def _refused(error: Exception) -> EvalProblem:
    return EvalProblem(
        f"onnxruntime cannot load the graph: {printable(error, 300)}",
        hint="It may need operators of its own or a newer onnxruntime; torch can score the model.",
    )
