"""Which of some models is the ancestor that the others were fine-tuned from, told by a sample of their weights.

Fine-tunes of one base leave it in unrelated directions: seen from the base, the differences to any two of
the others are nearly at right angles. Seen from one of the fine-tunes they are not, as all of them share the
way back to the base (about 60 degrees between two fine-tunes, 45 between a fine-tune and the base). Models
of other origin are as far from the family as random weights are.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.files.decode import to_float32
from engine.files.model import Checkpoint, TensorInfo
from engine.files.reading import Reader
from engine.files.sampling import read_spots, spots
from engine.files.text import counted
from engine.progress import Progress, Silent

_MOST_TENSORS, _RUNS, _RUN = 192, 3, 512
_LEAST_SHARED = 0.5
"""Share of the smaller model's tensors that two models of one family have in common by name and shape."""
_LEAST_COSINE = 0.5
"""Median cosine between weights of relatives; fine-tunes have 0.9 and more, strangers about 0."""
_CLEAR_WAY, _CLEAR_COSINE = 0.25, 0.125
_LIKELY_WAY, _LIKELY_COSINE = 0.35, 0.3
_POSSIBLE_WAY = 0.45
"""How much the differences of the others may have in common as seen from a base; see `_views`.
In bench8-text it is at most 0.12 and 0.09; without the base at least 0.18 and 0.17 from any fine-tune."""
_BASE_WORDS = frozenset({"base", "pretrained", "foundation", "original", "zeroshot"})
_TUNED_WORDS = frozenset({"instruct", "chat", "it", "sft", "dpo", "rlhf", "finetuned", "finetune", "tuned", "lora",
                          "merged", "expert", "task", "adapter", "distilled"})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Ancestry:
    """What the weights say about how models descend from each other; numbers are positions in the list given.

    Attributes:
        base: The common ancestor, or None if that cannot be told.
        scores: For each model how well it fits as the ancestor: 1 if the ways from it to the others have
            nothing in common, 0 if all of them lead through another model. 0 for strangers.
        siblings: The other members of the family that the base belongs to (all members without a base).
        strangers: Models that are not related to that family.
        reason: A sentence for the user.
        certain: Whether the weights decide; False for a guess from names or absent tensors.
    """

    base: int | None
    scores: tuple[float, ...]
    siblings: tuple[int, ...]
    strangers: tuple[int, ...]
    reason: str
    certain: bool = False


def detect_base(checkpoints: Sequence[Checkpoint], progress: Progress | None = None) -> Ancestry:
    """Find the ancestor among models; reads at most a few megabytes of each.

    Args:
        checkpoints: The models in any order; the verdict does not depend on it.
        progress: Told how many samples are taken; asked at each whether to go on.

    Raises:
        FileProblem: if a file cannot be read or has changed.
        Cancelled: if the user stopped it.
    """
    models, progress = list(checkpoints), progress or Silent()
    if len(models) < 2:
        return Ancestry(None, (0.0,) * len(models), tuple(range(len(models))), (), "There is only one model.")
    fits = _fitting(models)
    family = _largest(fits)
    samples = _sample([models[i] for i in family], progress)
    kinship = _relatives(samples) if samples else np.eye(len(family), dtype=bool)
    kin = _largest(kinship)
    members = tuple(family[i] for i in kin)
    if len(members) < 2:
        return _undecided(len(models), any_kin=(not family and fits.sum() > len(models)) or kinship.sum() > len(family))
    squares = _distances(samples, kin)
    if (squares == 0).sum() > len(kin):  # perhaps only biases and norms were tuned
        squares = _distances(_sample([models[i] for i in members], progress, vectors=True), range(len(members)))
    return _decide(models, members, squares)


def _decide(models: Sequence[Checkpoint], members: tuple[int, ...], squares: NDArray[np.float64]) -> Ancestry:
    """The verdict about one family, given all squared distances between its members."""
    distinct = [i for i in range(len(members)) if not (squares[i, :i] == 0).any()]  # of copies the first
    ways, angles = _views(squares[np.ix_(distinct, distinct)])
    scores = [0.0] * len(models)
    for row, index in enumerate(members):
        original = distinct.index(int(np.argmax(squares[row] == 0)))
        scores[index] = float(np.clip(1 - ways[original], 0, 1))
    best = int(np.argmin(ways))
    found: int | None = members[distinct[best]]
    is_copied = (squares[distinct[best]] == 0).sum() > 1
    certain = bool(ways[best] <= _CLEAR_WAY and angles[best] <= _CLEAR_COSINE and not is_copied)
    reason = f"{_others(len(distinct) - 1)} it in unrelated directions, as fine-tunes of it do."
    if not certain:
        reason = f"{_others(len(distinct) - 1)} it in the least related directions, but not clearly so."
    if ways[best] > _LIKELY_WAY or angles[best] > _LIKELY_COSINE:
        allowed = (found,) if ways[best] <= _POSSIBLE_WAY else members if len(distinct) == 2 else ()
        found, reason = _hinted(models, members, allowed) or (None, _doubt(len(distinct)))
    siblings = tuple(i for i in members if i != found)
    strangers = tuple(i for i in range(len(models)) if i not in members)
    return Ancestry(found, tuple(scores), siblings, strangers, reason, certain)


def _others(count: int) -> str:
    return f"The {'two' if count == 2 else f'{count:,}'} others differ from"


def _doubt(distinct: int) -> str:
    if distinct == 1:
        return "The models are the same in every sample that was looked at."
    if distinct == 2:
        return "From two models alone it cannot be told which one came first."
    return "None of them is where the others came from, as far as the weights tell; the base is probably not here."


def _undecided(count: int, *, any_kin: bool) -> Ancestry:
    """No family is the largest one."""
    if any_kin:
        text = "They are of several families, and none has more members than the others."
        return Ancestry(None, (0.0,) * count, (), (), text)
    text = "The models are not related: their tensors or weights have nothing in common."
    return Ancestry(None, (0.0,) * count, (), tuple(range(count)), text)


def _fitting(models: Sequence[Checkpoint]) -> NDArray[np.bool_]:
    """(n, n) whether two models share most tensors by name and shape."""
    keys = [frozenset((t.name, t.shape) for t in m.tensors.values() if t.is_float) for m in models]
    known: dict[tuple[frozenset[tuple[str, tuple[int, ...]]], ...], bool] = {}
    fits = np.eye(len(models), dtype=bool)
    for i, mine in enumerate(keys):
        for j in range(i):
            pair = (mine, keys[j])
            if pair not in known:
                known[pair] = len(mine & keys[j]) >= _LEAST_SHARED * max(1, min(len(mine), len(keys[j])))
            fits[i, j] = fits[j, i] = known[pair]
    return fits


def _largest(related: NDArray[np.bool_]) -> tuple[int, ...]:
    """The largest set of models that are connected by relations; none if two are equally large."""
    groups: list[tuple[int, ...]] = []
    left = set(range(len(related)))
    while left:
        group, edge = set[int](), {min(left)}
        while edge:
            group |= edge
            edge = {int(j) for i in edge for j in np.flatnonzero(related[i])} - group
        left -= group
        groups.append(tuple(sorted(group)))
    groups.sort(key=len, reverse=True)
    alone = len(groups) == 1 or (len(groups) > 1 and len(groups[0]) > len(groups[1]))
    return groups[0] if alone else ()


def _shared_floats(models: Sequence[Checkpoint], *, vectors: bool) -> list[str]:
    """Tensors that all models have in one shape, spread over the network; matrices only if there are some."""
    counts = Counter((t.name, t.shape) for m in models for t in m.tensors.values() if t.is_float and t.numel > 1)
    common = sorted(key for key, count in counts.items() if count == len(models))
    matrices = [key for key in common if len(key[1]) > 1]
    names = [name for name, _ in (common if vectors or len(matrices) < 4 else matrices)]
    if len(names) <= _MOST_TENSORS:
        return names
    return [names[i * (len(names) - 1) // (_MOST_TENSORS - 1)] for i in range(_MOST_TENSORS)]


def _sample(models: Sequence[Checkpoint], progress: Progress, *, vectors: bool = False) -> list[NDArray[np.float32]]:
    """For each of some tensors (n, values) the same elements of all models; empty for less than two models."""
    if len(models) < 2:
        return []
    names = _shared_floats(models, vectors=vectors)
    progress.begin(len(models) * len(names), "Comparing samples of the weights")
    columns = []
    for model in models:
        with Reader(model) as reader:
            columns.append([_values(reader, model.tensors[name], progress) for name in names])
    return [np.stack(rows) for rows in zip(*columns, strict=True)]


def _values(reader: Reader, info: TensorInfo, progress: Progress) -> NDArray[np.float32]:
    progress.check()
    raw = read_spots(reader, info, spots(info.numel, _RUN, _RUNS))
    progress.advance(1)
    return np.nan_to_num(to_float32(raw, info.dtype), posinf=0, neginf=0)


def _relatives(samples: Sequence[NDArray[np.float32]]) -> NDArray[np.bool_]:
    """(n, n) whether most tensors of two models point in the same direction."""
    found = []
    for values in samples:
        rows = values.astype(np.float64)
        gram = rows @ rows.T
        norms = np.sqrt(np.diag(gram))
        scale = np.outer(norms, norms)
        found.append(np.divide(gram, scale, out=np.full_like(gram, np.nan), where=scale > 0))
    table = np.stack(found)
    blank = np.isnan(table).all(axis=0)
    median = np.nanmedian(np.where(blank, 0, table), axis=0)
    related: NDArray[np.bool_] = median >= _LEAST_COSINE
    np.fill_diagonal(related, val=True)
    return related


def _distances(samples: Sequence[NDArray[np.float32]], members: Sequence[int]) -> NDArray[np.float64]:
    """(m, m) squared distances; every tensor counts by its size relative to its own weights."""
    total = np.zeros((len(members), len(members)))
    for every in samples:
        rows = every[list(members)].astype(np.float64)
        square = float((rows**2).sum()) / len(members)
        rows -= rows.mean(axis=0)  # small numbers: no cancellation below
        gram = rows @ rows.T
        norms = np.diag(gram)
        if square > 0:
            total += np.maximum(norms[:, None] + norms[None, :] - 2 * gram, 0) / square * every.shape[1]
    np.fill_diagonal(total, 0)
    total[total < 1e-14 * max(1.0, total.max())] = 0
    return total


def _views(squares: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How the other models look from each model.

    Args:
        squares: (m, m) squared distances, 0 on the diagonal only.

    Returns:
        (m,) the largest share of the way to any one model that the others went too: 0 from a base, 1 from a
        fine-tune whose base is there, about 0.5 without a base. (m,) the absolute cosine between the
        differences of two others. Both are medians over the others; 1 where there are less than two.
    """
    count = len(squares)
    ways, angles = np.ones(count), np.ones(count)
    for i in range(count if count > 2 else 0):
        far = np.delete(squares[i], i)
        dots = (far[:, None] + far[None, :] - np.delete(np.delete(squares, i, 0), i, 1)) / 2
        pairs = ~np.eye(count - 1, dtype=bool)
        shares = (dots / far[:, None])[pairs].reshape(count - 1, count - 2)
        ways[i] = np.median(shares, axis=1).max()
        angles[i] = np.median(np.abs(dots / np.sqrt(np.outer(far, far)))[pairs])
    return ways, angles


def _hinted(
    models: Sequence[Checkpoint], members: tuple[int, ...], allowed: Sequence[int | None]
) -> tuple[int, str] | None:
    """A guess from what is beside the weights, among the models that the weights allow."""
    for guess in (_by_reference, _by_absence, _by_name):
        found = guess([models[i] for i in members])
        if found is not None and members[found[0]] in allowed:
            return members[found[0]], found[1]
    return None


def _only(flags: Sequence[bool]) -> int | None:
    """The one position that is set."""
    return flags.index(True) if sum(flags) == 1 else None


def _by_reference(models: Sequence[Checkpoint]) -> tuple[int, str] | None:
    """A configuration that names the model it started from."""
    named: Counter[int] = Counter()
    for model in models:
        source = str((model.config or {}).get("_name_or_path") or model.metadata.get("base_model") or "")
        last = source.replace("\\", "/").rstrip("/").rpartition("/")[2].lower()
        for index, other in enumerate(models):
            named[index] += bool(last) and other is not model and other.name.lower() == last
    found = _only([named[index] > 0 for index in range(len(models))])
    if found is None:
        return None
    return found, "The configuration of another model names it as its origin."


def _by_absence(models: Sequence[Checkpoint]) -> tuple[int, str] | None:
    """The one model that has tensors which all others lack (they kept only what fine-tuning changed)."""
    keys = [{t.name for t in m.tensors.values() if t.is_float} for m in models]
    found = _only([all(mine > theirs for j, theirs in enumerate(keys) if j != i) for i, mine in enumerate(keys)])
    if found is None or any(m.absent_shards for m in models):
        return None
    gone = min(len(keys[found] - theirs) for i, theirs in enumerate(keys) if i != found)
    return found, f"It has {counted(gone, 'tensor')} that no other brings, as if these were left unchanged."


def _by_name(models: Sequence[Checkpoint]) -> tuple[int, str] | None:
    """A name that says base, or that all others continue."""
    names = [m.name.lower() for m in models]
    words = [set(re.split(r"[^a-z]+", name)) for name in names]
    told = _only([bool(w & _BASE_WORDS) and not w & _TUNED_WORDS for w in words])
    started = _only([
        bool(name) and all(other.startswith(name) and other != name for j, other in enumerate(names) if j != i)
        for i, name in enumerate(names)
    ])  # fmt: skip
    plain = _only([not w & _TUNED_WORDS for w in words])
    for found in (told, started, plain):
        if found is not None:
            return found, "The names suggest so; the weights do not tell."
    return None
