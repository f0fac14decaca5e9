"""What the ONNX half knows about architectures and about speed, as plain values. Light."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast

Choice = Literal["auto", "torch", "onnxruntime"]
"""What the user may want; "auto" takes the faster one once both were measured."""

CHOICES: tuple[tuple[Choice, str], ...] = (
    ("auto", "Automatic: the faster one"),
    ("torch", "torch"),
    ("onnxruntime", "onnxruntime"),
)
COMMAND = "trace_graph"
"""The hidden command of a frozen program that does what `python -m engine.graphs.child` does."""
OPSET = 20
"""Operator set of every graph that Mixdown makes."""
TOLERANCE = 1e-4
"""Largest difference of outputs between torch and onnxruntime that counts as agreement, relative to the largest
output where that is above 1."""
MARGIN = 1.1
"""How many times faster onnxruntime must be to be taken: its sessions take time to make."""
TRACER = 2
"""Raised when the same architecture would be traced to another graph."""
LOCATION = "mixdown-weights"
"""Where a graph without weights says that its weights are; no such file exists."""


@dataclass(frozen=True, slots=True)
class Spec:
    """One architecture, in the words of `engine.evaluate.model.network`.

    Attributes:
        kind: "image" or "tokens".
        head: "" for the encoder alone, "class" or "lm".
        classes: Outputs of the classifier, 0 without one.
        config: The reduced config.json as JSON text: [model_type, fields].
    """

    kind: str
    head: str
    classes: int
    config: str

    @classmethod
    def of(cls, key: tuple[str, str]) -> Spec:
        """From the key of a `Network`."""
        kind, head, classes = key[0].split(" ")
        return cls(kind, head, int(classes), key[1])

    @property
    def fields(self) -> dict[str, Any]:
        """The configuration as `network` takes it."""
        model_type, fields = json.loads(self.config)
        return {**fields, "model_type": model_type}

    @property
    def key(self) -> str:
        """Content key of the graph: architecture, tracer and the versions that trace."""
        tools = [_version(name) for name in ("torch", "transformers", "onnxscript", "onnx")]
        return hashlib.blake2b(repr((TRACER, OPSET, asdict(self), tools)).encode(), digest_size=16).hexdigest()

    def plain(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Measured:
    """How torch and onnxruntime did on the same batches.

    Attributes:
        torch_s: Best seconds of one batch by torch, on one core.
        onnx_s: The same by onnxruntime, with a share of the time that its session takes to be made.
        difference: Largest absolute difference of the outputs.
        scale: Largest absolute output.
        provider: Execution provider of onnxruntime.
    """

    torch_s: float
    onnx_s: float
    difference: float
    scale: float
    provider: str

    @property
    def agrees(self) -> bool:
        """Whether the outputs are the same within `TOLERANCE`."""
        return self.difference <= TOLERANCE * max(1.0, self.scale)

    @property
    def faster(self) -> Choice:
        """The runner to take; torch where onnxruntime does not agree or is not clearly faster."""
        return "onnxruntime" if self.agrees and self.onnx_s * MARGIN < self.torch_s else "torch"

    @property
    def text(self) -> str:
        """One sentence for people."""
        if not self.agrees:
            return f"torch: onnxruntime's outputs differ by {self.difference:.1e}."
        ratio = self.torch_s / max(self.onnx_s, 1e-9)
        said = f"torch {self.torch_s * 1e3:.1f} ms, onnxruntime {self.onnx_s * 1e3:.1f} ms a batch"
        return f"{self.faster}: {said} ({ratio:.2f}×); outputs agree to {self.difference:.0e}."

    def plain(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def measured_from(raw: object) -> Measured | None:
    """A measurement from plain data, None if it is none."""
    if not isinstance(raw, Mapping):
        return None
    names = ("torch_s", "onnx_s", "difference", "scale")
    numbers = [raw.get(name) for name in names]
    if not all(isinstance(n, (int, float)) and not isinstance(n, bool) for n in numbers):
        return None
    torch_s, onnx_s, difference, scale = (float(cast("float", n)) for n in numbers)
    return Measured(torch_s, onnx_s, difference, scale, str(raw.get("provider", ""))[:80])


def _version(package: str) -> str:
    import importlib.metadata  # brings the e-mail package along: not while the window starts

    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
