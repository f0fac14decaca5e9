"""How experts overlap: products, signs and TALL masks of all task vectors in one pass over the models."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from engine.analyse.counters import MaskCounter, ProductCounter, SignCounter
from engine.analyse.sample import scaled_overlap
from engine.analyse.sweep import CHUNK, plan_of, sweep
from engine.analyse.values import Overlap
from engine.errors import OutOfRange
from engine.merge.inputs import Inputs
from engine.merge.plan import Plan
from engine.progress import Progress, Silent

PARTS = ("products", "signs", "masks")
"""What can be counted."""

STRICTNESS = (0.2, 0.3, 0.4, 0.5, 0.6)
"""The paper's values of lambda."""


def overlap(
    inputs: Inputs,
    *,
    strictness: Sequence[float] = STRICTNESS,
    vector: str = "ta",
    parts: Collection[str] = PARTS,
    progress: Progress | None = None,
    threads: int | None = None,
    sample: int = 0,
) -> Overlap:
    """Compare the task vectors of all experts as they are, whatever a recipe says.

    Args:
        inputs: A base and T experts.
        strictness: Values of lambda, 0 or more.
        vector: Multi-task vector of the masks: "ta" (a sum) or "ties".
        parts: Which of `PARTS` to count.
        progress: Told the bytes read; pauses and cancels.
        threads: Worker threads; None for one a core.
        sample: Weights of each model to look at for a quick estimate; 0 for all.

    Returns:
        Exact counts (estimates from a sample), with the experts in the order of `inputs`.

    Raises:
        Mismatch: if there is no base, or the models do not fit.
        NotFinite: if a model has a NaN or infinity.
        FileProblem: if a file cannot be read or was changed.
        Cancelled: if the user stopped it.
    """
    plan = plan_of(inputs, vector=vector)
    found = overlap_of(plan, strictness=strictness, parts=parts, progress=progress, threads=threads, sample=sample)
    return found.ordered(inputs.names)


def overlap_of(
    plan: Plan,
    *,
    strictness: Sequence[float] = STRICTNESS,
    parts: Collection[str] = PARTS,
    progress: Progress | None = None,
    threads: int | None = None,
    chunk: int = CHUNK,
    sample: int = 0,
) -> Overlap:
    """Compare the task vectors that a plan hears, times their coefficients.

    For a plan of the method Consensus (or TALL mask) the masks are those that its merge makes, bit for bit.

    Args:
        plan: Of a method with task vectors; its parameter `vector`, if it has one, makes the multi-task vector.
        strictness: Values of lambda, 0 or more.
        parts: Which of `PARTS` to count.
        progress: Told the bytes read; pauses and cancels.
        threads: Worker threads; None for one a core.
        chunk: Most weights at a time.
        sample: Weights of each model to look at; 0 for all.

    Returns:
        Exact counts, with the experts in the plan's (canonical) order.

    Raises:
        OutOfRange: for a negative lambda, or none.
        MixdownError: as `overlap`.
    """
    levels = np.asarray(strictness, np.float64)
    if not levels.size or not np.isfinite(levels).all() or (levels < 0).any():
        raise OutOfRange("λ must be one or more numbers from 0 up.", hint="Write for example 0.4")
    groups, experts = len(plan.layout.groups), len(plan.models.experts)
    products = ProductCounter(groups, experts) if "products" in parts else None
    signs = SignCounter(groups, experts) if "signs" in parts else None
    masks = MaskCounter(groups, experts, levels) if "masks" in parts else None
    counters = [counter for counter in (products, signs, masks) if counter is not None]
    found = sweep(plan, counters, progress or Silent(), threads=threads, chunk=chunk, sample=sample, apart=not sample)
    made = Overlap(
        plan.models.names,
        found.groups,
        found.sizes,
        found.zeros,
        products=None if products is None else products.value(),
        signs=None if signs is None else signs.value(),
        masks=None if masks is None else masks.value(found.frozen),
    )
    return scaled_overlap(made, found.whole) if sample else made
