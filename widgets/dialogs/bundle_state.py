"""What the task bundle dialog shows and reports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from widgets.panels.state import JobRow

NO_DATA_LEVEL = 0.4
"""λ of a task without data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleTask:
    """One expert that becomes a task of the bundle.

    Attributes:
        name: The expert's name.
        data: (path, label) of every quick-eval task that may measure it.
        chosen: Path of the one that does, "" for none.
        auto: Whether λ is chosen on its validation rows.
        level: λ where it is not chosen.
    """

    name: str
    data: tuple[tuple[str, str], ...] = ()
    chosen: str = ""
    auto: bool = True
    level: float = NO_DATA_LEVEL

    @property
    def is_tuned(self) -> bool:
        """Whether λ will be chosen by quick eval."""
        return self.auto and bool(self.chosen)


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleForm:
    """What the user wants.

    Attributes:
        path: The .safetensors file to write.
        include_base: Whether the base's weights go in; else its hash.
        coded: Whether masks are entropy coded (lossless).
        eight: Whether the multi-task vector is rounded to 8 bits.
        rescale: Whether restored task vectors get their old size back; off is what the paper does.
        tasks: One entry for each expert.
    """

    path: str = ""
    include_base: bool = False
    coded: bool = True
    eight: bool = False
    rescale: bool = True
    tasks: tuple[BundleTask, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleSizes:
    """What the bundle will take, beside the experts.

    Attributes:
        file_bytes: The bundle at most.
        experts_bytes: All experts.
        bits: Bits for each parameter of one model, base, multi-task vector and masks.
        tasks: Number of experts.
        ratio: How many times smaller base and bundle are than the experts.
    """

    file_bytes: int
    experts_bytes: int
    bits: float
    tasks: int
    ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleResult:
    """One line of the table of a finished bundle; scores are None without data.

    Attributes:
        name: The task.
        level: λ of its mask.
        tuned: Whether λ was chosen by quick eval.
        density: Share of the weights in its mask.
        size_bytes: Its mask in the bundle.
        restored: Test score of what the bundle gives back.
        expert: Test score of the expert itself.
        kept: Restored over expert.
        rows: Test rows.
    """

    name: str
    level: float
    tuned: bool
    density: float
    size_bytes: int
    restored: float | None = None
    expert: float | None = None
    kept: float | None = None
    rows: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleState:
    """Everything but the form.

    Attributes:
        sizes: The forecast; None while it is not known.
        reason: Why no bundle can be made now; "" if it can.
        job: The running or last job.
        results: The table of the last bundle.
        summary: What the last bundle takes and keeps, in sentences.
    """

    sizes: BundleSizes | None = None
    reason: str = ""
    job: JobRow | None = None
    results: tuple[BundleResult, ...] = ()
    summary: str = ""
