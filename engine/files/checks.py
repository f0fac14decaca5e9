"""Whether an expert fits a base, told from headers; and whether its values are sound, told by reading them.

Nothing is ever broadcast, resized or guessed: what does not fit is said, with what to do about it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

import numpy as np

from engine.files.decode import count_nonfinite
from engine.files.model import ITEM_BYTES, Checkpoint, Finding, Severity, TensorInfo
from engine.files.reading import Reader
from engine.files.text import counted, listed, printable
from engine.progress import Progress, Silent

_CHUNK_BYTES = 8 << 20
_MOST_NAMES = 24
_PREFIXES = ("model.", "module.", "bert.", "roberta.", "deberta.", "distilbert.", "vit.", "transformer.",
             "language_model.", "model.language_model.", "backbone.", "encoder.", "_orig_mod.", "base_model.model.",
             "model.diffusion_model.")  # fmt: skip
_VOCABULARY = ("embed_tokens.weight", "lm_head.weight", "lm_head.bias", "wte.weight", "word_embeddings.weight",
               "shared.weight", "token_embedding.weight", "embed_in.weight", "embed_out.weight",
               "predictions.decoder.weight", "predictions.decoder.bias", "predictions.bias")  # fmt: skip
_OUTPUTS = ("lm_head.weight", "embed_out.weight", "predictions.decoder.weight", "output_projection.weight")
_HEADS = ("classifier.", "score.", "lm_head.", "cls.", "qa_outputs.", "pooler.", "visual_projection.", "head.", "fc.")


def check(base: Checkpoint, expert: Checkpoint) -> tuple[Finding, ...]:
    """Compare an expert with the base by their headers alone.

    Returns:
        Findings, the severest first; none if they fit exactly. An "error" makes the merge impossible.
    """
    shared = base.tensors.keys() & expert.tensors.keys()
    smaller = min(len(base.tensors), len(expert.tensors))
    if not shared or (2 * len(shared) < smaller and _prefix_between(base, expert)):
        return (*_incomplete(base), _foreign(base, expert))
    pairs = [(base.tensors[name], expert.tensors[name]) for name in base.tensors if name in shared]
    found = (
        *_incomplete(base), *_shapes(pairs), *_dtypes(pairs),
        *_absent(base, expert), *_extra(base, expert), *_tied(base, expert),
    )  # fmt: skip
    order: dict[Severity, int] = {"error": 0, "warning": 1, "info": 2}
    return tuple(sorted(found, key=lambda finding: order[finding.severity]))


def check_values(
    checkpoint: Checkpoint, progress: Progress | None = None, names: Collection[str] | None = None
) -> tuple[Finding, ...]:
    """Look for NaN and infinity by reading all floating-point values, in file order.

    Args:
        checkpoint: The model.
        progress: Told the bytes; asked at every chunk whether to go on.
        names: Only these tensors; all of them if None.

    Raises:
        FileProblem: if the files cannot be read or have changed.
        Cancelled: if the user stopped it.
    """
    progress = progress or Silent()
    infos = [t for t in checkpoint.tensors.values() if t.is_float and (names is None or t.name in names)]
    infos.sort(key=lambda info: (info.file, info.start))
    progress.begin(sum(info.size_bytes for info in infos), f"Checking the values of {printable(checkpoint.name, 80)}")
    bad: dict[str, int] = {}
    buffer = np.empty(_CHUNK_BYTES, np.uint8)
    with Reader(checkpoint) as reader:
        for info in infos:
            for raw in _chunks(reader, info, buffer, progress):
                count = count_nonfinite(raw, info.dtype)
                if count:
                    bad[info.name] = bad.get(info.name, 0) + count
    if not bad:
        return ()
    return (_finding(
        "error", "nan", bad,
        f"{counted(sum(bad.values()), 'value')} in {counted(len(bad), 'tensor')} not finite (NaN or infinity): "
        f"{listed(list(bad))}.",
        "The training of this model failed or the file is damaged; use another checkpoint of it.",
    ),)  # fmt: skip


def check_buffers(base: Checkpoint, expert: Checkpoint, progress: Progress | None = None) -> tuple[Finding, ...]:
    """Compare the tensors that are not merged (integers, masks); the merged model takes the base's.

    Raises:
        FileProblem: if the files cannot be read or have changed.
        Cancelled: if the user stopped it.
    """
    progress = progress or Silent()
    pairs = [
        (info, other)
        for name, info in base.tensors.items()
        if not info.is_float and (other := expert.tensors.get(name)) and _alike(info, other)
    ]  # fmt: skip
    progress.begin(sum(info.size_bytes for info, _ in pairs), f"Comparing buffers of {printable(expert.name, 80)}")
    first, second = np.empty(_CHUNK_BYTES, np.uint8), np.empty(_CHUNK_BYTES, np.uint8)
    differing = []
    with Reader(base) as one, Reader(expert) as two:
        for info, other in pairs:
            chunks = zip(_chunks(one, info, first, progress), _chunks(two, other, second, Silent()), strict=True)
            if not all(np.array_equal(a, b) for a, b in chunks):
                differing.append(info.name)
    counters = all(name.endswith("num_batches_tracked") for name in differing)
    if not differing:
        return ()
    return (_finding(
        "info" if counters else "warning", "buffers", differing,
        f"{counted(len(differing), 'tensor')} of whole numbers differ from the base's: {listed(differing)}.",
        "They are not merged; the base's are used.",
    ),)  # fmt: skip


def _chunks(reader: Reader, info: TensorInfo, buffer: np.ndarray, progress: Progress) -> Iterator[np.ndarray]:
    """The bytes of a tensor, piece by piece, in one buffer that is used again."""
    size = ITEM_BYTES[info.dtype]
    step = len(buffer) // size
    for first in range(0, info.numel, step):
        progress.check()
        count = min(step, info.numel - first)
        raw = buffer[: count * size]
        reader.read_into(info, first, count, raw)
        yield raw
        progress.advance(count * size)


def _alike(mine: TensorInfo, theirs: TensorInfo) -> bool:
    return (mine.dtype, mine.shape) == (theirs.dtype, theirs.shape)


def _finding(severity: Severity, code: str, names: Iterable[str], message: str, hint: str = "") -> Finding:
    found = tuple(names)
    return Finding(severity, code, message, hint, found[:_MOST_NAMES], len(found))


def _incomplete(base: Checkpoint) -> tuple[Finding, ...]:
    """A base that lacks files would give a model that lacks tensors."""
    if not base.absent_shards:
        return ()
    gone = sorted(base.indexed - base.tensors.keys())
    return (_finding(
        "error", "missing", gone, f"The base is not complete; not there: {listed(base.absent_shards)}.",
        "Get the missing files of the base and drop its folder again.",
    ),)  # fmt: skip


def _foreign(base: Checkpoint, expert: Checkpoint) -> Finding:
    """Hardly a name in common: either only a prefix differs, or it is another architecture."""
    prefix = _prefix_between(base, expert)
    if prefix:
        who, other = ("base", "expert") if prefix[0] else ("expert", "base")
        message = f"The tensor names of the {who} begin with {prefix[1]!r} and those of the {other} do not."
        hint = "The weights may fit: save both in the same way, for instance both with or both without a task head."
        return _finding("error", "keys", expert.tensors, message, hint)
    mine, theirs = next(iter(base.tensors), "no tensor"), next(iter(expert.tensors), "no tensor")
    return _finding(
        "error", "keys", expert.tensors,
        f"It has no tensor in common with the base ({printable(theirs, 80)} here, {printable(mine, 80)} in the base).",
        "It is a model of another architecture or in another format; use fine-tunes of this base.",
    )  # fmt: skip


def _prefix_between(base: Checkpoint, expert: Checkpoint) -> tuple[bool, str] | None:
    """(whether the base has it, the prefix) if adding a known prefix makes most names agree."""
    needed = max(1, min(len(base.tensors), len(expert.tensors)) // 2)
    for of_base, longer, shorter in ((True, base.tensors, expert.tensors), (False, expert.tensors, base.tensors)):
        for prefix in _PREFIXES:
            if sum(prefix + name in longer for name in shorter) >= needed:
                return of_base, prefix
    return None


def _shapes(pairs: list[tuple[TensorInfo, TensorInfo]]) -> Iterator[Finding]:
    wrong = [(mine, theirs) for mine, theirs in pairs if mine.shape != theirs.shape]
    merged = [pair for pair in wrong if pair[0].is_float]
    buffers = [mine.name for mine, _ in wrong if not mine.is_float]
    if merged:
        yield _vocabulary(merged) or _other_shapes(merged)
    if buffers:
        yield _finding(
            "warning", "buffers", buffers,
            f"{counted(len(buffers), 'tensor')} of whole numbers not of the base's shape: {listed(buffers)}.",
            "They are not merged; the base's are used.",
        )  # fmt: skip


def _vocabulary(wrong: list[tuple[TensorInfo, TensorInfo]]) -> Finding | None:
    """The finding if only the number of tokens differs."""
    if not all(
        mine.name.endswith(_VOCABULARY) and mine.shape[1:] == theirs.shape[1:] and len(mine.shape) == len(theirs.shape)
        for mine, theirs in wrong
    ):
        return None
    mine, theirs = wrong[0]
    return _finding(
        "error", "shape", [pair[0].name for pair in wrong],
        f"The vocabulary differs: {theirs.shape[0]:,} tokens here, {mine.shape[0]:,} in the base "
        f"({listed([pair[0].name for pair in wrong])}).",
        "Tokens were added in fine-tuning. Resize the expert's embeddings to the base's vocabulary, or use an expert "
        "without added tokens.",
    )  # fmt: skip


def _other_shapes(wrong: list[tuple[TensorInfo, TensorInfo]]) -> Finding:
    mine, theirs = wrong[0]
    more = f", and {counted(len(wrong) - 1, 'more tensor')}" if len(wrong) > 1 else ""
    heads = all(any(f".{head}" in f".{pair[0].name}" for head in _HEADS) for pair in wrong)
    return _finding(
        "error", "shape", [pair[0].name for pair in wrong],
        f"{printable(mine.name, 120)} has shape {list(theirs.shape)} here and {list(mine.shape)} in the base{more}.",
        "Task heads of different tasks cannot be merged; use the encoders without their heads." if heads
        else "These are models of different sizes or architectures; use fine-tunes of this base.",
    )  # fmt: skip


def _dtypes(pairs: list[tuple[TensorInfo, TensorInfo]]) -> Iterator[Finding]:
    quantised = [(mine, theirs) for mine, theirs in pairs if mine.is_float and not theirs.is_float]
    if quantised:
        mine, theirs = quantised[0]
        yield _finding(
            "error", "dtype", [pair[0].name for pair in quantised],
            f"{counted(len(quantised), 'tensor')} are {theirs.dtype} here and {mine.dtype} in the base: "
            f"{listed([pair[0].name for pair in quantised])}.",
            "Quantised models cannot be merged; use the original weights.",
        )  # fmt: skip
    integer = [mine.name for mine, theirs in pairs if not mine.is_float and theirs.dtype != mine.dtype]
    if integer:
        yield _finding(
            "warning", "buffers", integer,
            f"{counted(len(integer), 'tensor')} have another type than in the base: {listed(integer)}.",
            "They are not merged; the base's are used.",
        )  # fmt: skip
    mixed = [(a, b) for a, b in pairs if a.is_float and b.is_float and a.dtype != b.dtype]
    if mixed:
        mine, theirs = mixed[0]
        coarse = any(ITEM_BYTES[b.dtype] == 1 for _, b in mixed)
        yield _finding(
            "warning" if coarse else "info", "dtype", [pair[0].name for pair in mixed],
            f"{counted(len(mixed), 'tensor')} are stored as {theirs.dtype} here and as {mine.dtype} in the base.",
            "8-bit weights are rounded so coarsely that the rounding looks like fine-tuning." if coarse
            else "They are merged in float32; the result is stored as in the base unless you choose otherwise.",
        )  # fmt: skip


def _absent(base: Checkpoint, expert: Checkpoint) -> Iterator[Finding]:
    """Tensors that the expert does not bring; they count as unchanged."""
    tied = _tied_outputs(base, expert)
    gone = [name for name, info in base.tensors.items() if info.is_float and name not in expert.tensors]
    gone = [name for name in gone if name not in tied]
    if not gone:
        return
    if expert.absent_shards:
        yield _finding(
            "warning", "absent-tensors", gone,
            f"{counted(len(gone), 'tensor')} not here, as files of the model are absent: "
            f"{listed(expert.absent_shards)}. The base's are used.",
            "Get the missing files if this model did change these tensors.",
        )  # fmt: skip
        return
    total = sum(info.is_float for info in base.tensors.values())
    mostly = 2 * len(gone) > total
    yield _finding(
        "warning" if mostly else "info", "absent-tensors", gone,
        f"{len(gone):,} of {counted(total, 'tensor')} of the base not here: {listed(gone)}. The base's are used.",
        "Check that this is a fine-tune of the base." if mostly else "",
    )  # fmt: skip


def _extra(base: Checkpoint, expert: Checkpoint) -> Iterator[Finding]:
    """Tensors that the base does not know; they do not enter the merged model."""
    tied = _tied_outputs(expert, base)
    extra = [name for name in expert.tensors if name not in base.tensors and name not in tied]
    adapters = [name for name in extra if ".lora_" in name or "lora_A" in name or ".hada_" in name]
    if adapters:
        yield _finding(
            "error", "keys", adapters,
            f"It holds {counted(len(adapters), 'adapter tensor')} (LoRA), which are not merged into its weights.",
            "Merge the adapter into its model first, then drop the full model.",
        )  # fmt: skip
    rest = [name for name in extra if name not in set(adapters)]
    if rest:
        yield _finding(
            "info" if len(rest) * 10 <= len(base.tensors) else "warning", "extra-tensors", rest,
            f"{counted(len(rest), 'tensor')} not in the base and left out: {listed(rest)}.",
            "A task head is expected here; anything else may mean another architecture.",
        )  # fmt: skip


def _tied(base: Checkpoint, expert: Checkpoint) -> Iterator[Finding]:
    """Output layers that share the embeddings' weights are stored once, twice or both ways."""
    missing, surplus = _tied_outputs(base, expert), _tied_outputs(expert, base)
    if missing:
        yield _finding(
            "warning", "tied", missing,
            f"{listed(missing)} is stored in the base but not here, where it shares the weights of the embeddings. "
            "It counts as unchanged although the embeddings may have changed.",
            "Save the expert with its output layer, or use a base whose output layer is tied too.",
        )  # fmt: skip
    if surplus:
        untied = expert.config is not None and expert.config.get("tie_word_embeddings") is False
        yield _finding(
            "warning" if untied else "info", "tied", surplus,
            f"{listed(surplus)} is stored here; in the base it shares the weights of the embeddings and is left out.",
            "This expert was trained with an output layer of its own, which the merged model loses." if untied else "",
        )  # fmt: skip


def stored_twice(model: Checkpoint) -> dict[str, str]:
    """Output layers that a model stores although its configuration ties them: name to that of the embeddings."""
    if not (model.config or {}).get("tie_word_embeddings"):
        return {}
    embeddings = {info.shape: name for name, info in model.tensors.items() if name.endswith(_VOCABULARY)}
    return {
        name: embeddings[info.shape]
        for name, info in model.tensors.items()
        if name.endswith(_OUTPUTS) and info.shape in embeddings
    }


def _tied_outputs(holder: Checkpoint, other: Checkpoint) -> tuple[str, ...]:
    """Output layers that `holder` stores and `other`, by its configuration or lack of contradiction, ties."""
    if (other.config or {}).get("tie_word_embeddings") is False or other.absent_shards:
        return ()
    embeddings = {info.shape for name, info in other.tensors.items() if name.endswith(_VOCABULARY)}
    return tuple(
        name
        for name, info in holder.tensors.items()
        if name.endswith(_OUTPUTS) and name not in other.tensors and info.shape in embeddings
    )
