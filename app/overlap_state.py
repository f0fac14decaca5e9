"""From Gram matrices and analyses to what the overlap views show: pure functions, no widgets."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from PySide6.QtGui import QColor

from engine.analyse.magnitude_values import Magnitudes
from engine.analyse.values import Overlap
from engine.files.model import Layout
from engine.live.gram import Gram
from widgets.common.colours import expert_colour, expert_letter
from widgets.common.theme import theme
from widgets.plots.signs_state import SignConflict
from widgets.plots.state import COMBINATIONS, Bars, Heat, Histogram, UpSet

_HATCHED = ("left out of the merge", "masked by role, or what Consensus would drop at k")


def cosines(matrix: np.ndarray) -> np.ndarray:
    """(..., T, T) cosines from inner products; NaN where a task vector is 0."""
    norms = np.sqrt(np.diagonal(matrix, axis1=-2, axis2=-1))
    with np.errstate(divide="ignore", invalid="ignore"):
        made: np.ndarray = matrix / (norms[..., :, None] * norms[..., None, :])
    return np.where(np.isfinite(made), np.clip(made, -1.0, 1.0), np.nan)


def lettered(names: Sequence[str]) -> tuple[str, ...]:
    """ "A chat", "B code": the letters of the desk."""
    return tuple(f"{expert_letter(i)} {name}" for i, name in enumerate(names))


def basis(found: Overlap | Magnitudes | None) -> str:
    """Whether the numbers are exact or a first look: ", exact" or ", sample of 1.5 % of the weights"."""
    if found is None:
        return ""
    share = f"{100 * found.share:.1f}" if found.share >= 0.001 else f"{100 * found.share:.1g}"
    return ", exact" if found.share >= 1 else f", sample of {share} % of the weights; exact follows"


def cosine_view(gram: Gram | None, names: Sequence[str], groups: Sequence[int] | None = None, where: str = "") -> Heat:
    """Cosine of every pair of task vectors over the chosen groups (all when None)."""
    title = f"Cosine of task vectors{f', {where}' if where else ''}"
    if gram is None or len(names) < 2:
        return Heat(title=title)
    chosen = gram.matrix if groups is None else gram.matrix[list(groups)]
    values = cosines(chosen.sum(axis=0))
    reach = _reach(values[~np.eye(len(names), dtype=bool)])
    return Heat(
        title=title,
        rows=lettered(names),
        columns=lettered(names),
        values=values,
        low=-reach,
        high=reach,
        diverging=True,
        meaning="1: the same direction, 0: unrelated, −1: opposite. Click a cell to select both experts.",
        row_experts=tuple((i,) for i in range(len(names))),
        column_experts=tuple((i,) for i in range(len(names))),
    )


def _reach(values: np.ndarray) -> float:
    """Where the colours of cosines end: 0.25, 0.5 or 1, so that small ones can be told apart, too."""
    top = float(np.nanmax(np.abs(values))) if np.isfinite(values).any() else 1.0
    return next(end for end in (0.25, 0.5, 1.0) if top <= end or end == 1.0)


def layer_view(gram: Gram | None, names: Sequence[str], layout: Layout | None) -> Heat:
    """Cosine of every pair, layer by layer."""
    title = "Cosine by layer"
    if gram is None or layout is None or len(names) < 2:
        return Heat(title=title)
    layers, nothing = layout.layers, np.zeros_like(gram.matrix[0])
    summed = np.stack([
        sum((gram.matrix[i] for i, g in enumerate(gram.groups) if g.place.layer == layer), nothing) for layer in layers
    ])  # fmt: skip
    every = cosines(summed)
    pairs = tuple(combinations(range(len(names)), 2))
    letters = [expert_letter(i) for i in range(len(names))]
    values = np.array([every[:, a, b] for a, b in pairs])
    reach = _reach(values)
    return Heat(
        title=title,
        rows=tuple(f"{letters[a]}–{letters[b]} {names[a]}, {names[b]}" for a, b in pairs),
        columns=layers,
        short_rows=tuple(f"{letters[a]}–{letters[b]}" for a, b in pairs),
        values=values,
        low=-reach,
        high=reach,
        diverging=True,
        meaning="Where two experts pull the same way (1) or against each other (−1). Click to select both there.",
        row_experts=pairs,
    )


def sign_view(found: Overlap | None, layers: Sequence[str], *, weighted: bool = False) -> SignConflict:
    """How much of each expert goes against the elected sign, layer by layer.

    Args:
        found: What was measured.
        layers: Columns.
        weighted: Whether the colours weigh every weight by the magnitude of its change.
    """
    title = "Sign conflict by layer"
    if found is None or found.signs is None or len(found.names) < 2:
        return SignConflict(title=title)
    groups = found.by_layer(layers)
    counts, masses = (found.signs.conflict(groups, weighted=way).T for way in (False, True))
    what = "the size (sum of |τ|) of an expert's changes" if weighted else "an expert's changes"
    return SignConflict(
        title=f"{title}{', weighted by magnitude' if weighted else ''}{basis(found)}",
        rows=lettered(found.names),
        columns=tuple(layers),
        values=masses if weighted else counts,
        counts=counts,
        masses=masses,
        by_magnitude=weighted,
        low=0.0,
        high=0.5,
        unit="%",
        meaning=f"Share of {what} whose sign is not that of the sum of all task vectors.",
        row_experts=tuple((i,) for i in range(len(found.names))),
    )


def mask_view(found: Overlap | None, strictness: float) -> UpSet:
    """In which combinations of TALL masks the weights lie."""
    title = "Overlap of TALL masks"
    if found is None or found.masks is None or len(found.names) < 2:
        return UpSet(title=title)
    if found.masks.lattice is None:
        return UpSet(title=title, empty="Combinations are counted for up to 12 experts. See the roles instead.")
    level = found.masks.level(strictness)
    counts = found.masks.lattice[level].sum(axis=0)
    combinations = int(np.count_nonzero(counts[1:]))
    rest = f" The {COMBINATIONS} largest of {combinations:,}; the table has all." if combinations > COMBINATIONS else ""
    return UpSet(
        title=f"{title}, {_lambda_text(found.masks.strictness[level], strictness)}{basis(found)}",
        sets=found.names,
        counts=counts,
        meaning=f"Weights that lie in exactly these masks and no other, of all weights.{rest}",
    )


def _lambda_text(measured: float, wanted: float) -> str:
    """ "λ = 0.4", or what was measured next to it."""
    exact = abs(measured - wanted) < 1e-9
    return f"λ = {measured:g}" if exact else f"λ = {measured:g} (the method has {wanted:g})"


def role_view(
    found: Overlap | None,
    layers: Sequence[str],
    strictness: float,
    k: int | None,
    gone: Sequence[str] = (),
    *,
    is_preview: bool = False,
) -> Bars:
    """To how many tasks the weights of each layer matter; what is left out of the merge is grey.

    Args:
        found: What was measured.
        layers: Columns.
        strictness: Wanted lambda.
        k: Of Consensus; None for no preview.
        gone: Roles that the recipe leaves out, as `engine.recipe.act.dropped_roles` calls them.
        is_preview: Whether the method has no k, so that the line only shows what Consensus would do.
    """
    title = "Weight roles by layer"
    if found is None or found.masks is None or len(found.names) < 2:
        return Bars(title=title)
    level, columns, count = found.masks.level(strictness), found.by_layer(layers), len(found.names)
    active = columns @ found.masks.active[level]
    own = columns @ found.masks.selfish[level]
    sizes = np.maximum(active.sum(axis=1), 1)[:, None]
    some = [f"shared by {n}" for n in range(2, count)]
    parts = ("nobody's", *(f"only {name}" for name in found.names), *some, "everybody's")
    levels = (0, *([1] * count), *range(2, count + 1))
    roles = ("nobody", *(["only"] * count), *(["shared"] * len(some)), "everybody")
    ids = ("nobody", *(f"only@{name}" for name in found.names), *(["shared"] * len(some)), "everybody")
    return Bars(
        title=f"{title}, {_lambda_text(found.masks.strictness[level], strictness)}{basis(found)}",
        columns=tuple(layers),
        parts=parts,
        short=_short_parts(count),
        values=np.concatenate([active[:, :1], own, active[:, 2:]], axis=1) / sizes,
        colours=_role_inks(count),
        dropped=frozenset(i for i in range(len(parts)) if (k is not None and levels[i] < k) or ids[i] in gone),
        roles=roles,
        part_experts=((), *((t,) for t in range(count)), *(((),) * (len(some) + 1))),
        levels=levels,
        cut=k,
        meaning=f"To how many tasks weights matter. Hatched: {_HATCHED[is_preview]}.",
    )


def _short_parts(count: int) -> tuple[str, ...]:
    """The roles where there is no room for names, as "only A", "B", "shared by 2", "3"."""
    own = (f"{'' if t else 'only '}{expert_letter(t)}" for t in range(count))
    some = (f"{'shared by ' if n == 2 else ''}{n}" for n in range(2, count))
    return ("nobody's", *own, *some, "everybody's")


def _role_inks(count: int) -> tuple[str, ...]:
    """Colours of the roles: experts have their own, shared weights are greys that no expert has."""
    first, last = QColor(theme().panel), QColor(theme().text)
    steps = [0.2 + 0.8 * (n - 1) / (count - 1) for n in range(2, count)]
    ends = list(zip((first.red(), first.green(), first.blue()), (last.red(), last.green(), last.blue()), strict=True))
    some = [QColor(*(round(a + (b - a) * s) for a, b in ends)).name() for s in (*steps, 1.0)]
    return (theme().track, *(expert_colour(i).name() for i in range(count)), *some)


def size_view(found: Magnitudes | None, density: float | None, own: Sequence[float] | None = None) -> Histogram:
    """How large the elements of the task vectors are, and where a density, or every expert's own, cuts."""
    title = "Magnitudes of the task vectors"
    if found is None:
        return Histogram(title=title)
    drawn = found.drawn()
    if drawn is None:
        return Histogram(title=title, empty="The experts do not differ from the base.")
    return Histogram(
        title=f"{title}{basis(found)}",
        names=found.names,
        edges=drawn.edges,
        counts=drawn.counts,
        zeros=drawn.zeros,
        thresholds=found.threshold(own or density) if density is not None else np.zeros(0),
        density=density,
        meaning="Drag the line to set the density: what lies right of it is kept."
        if density is not None
        else "This method has no density.",
    )
