"""Validation and test rows, kept apart from the start: by the data's own word, or by a hash of what a row says."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from engine.errors import EvalProblem
from engine.evaluate.pictures import split_word
from engine.files.text import counted


@dataclass(frozen=True, slots=True)
class Parts:
    """Indices of the rows of both splits, in an order that depends on their content and the seed alone.

    Attributes:
        val: Rows to choose with.
        test: Rows for the final figure.
        notes: What was left out, in sentences.
    """

    val: tuple[int, ...]
    test: tuple[int, ...]
    notes: tuple[str, ...] = ()


def content(*texts: str) -> bytes:
    """What makes two rows the same: their words, whatever their case and spaces."""
    return "\0".join(" ".join(text.split()).casefold() for text in texts).encode("utf-8", "surrogatepass")


def part(keys: Sequence[bytes], given: Sequence[str], seed: int, rows: int) -> Parts:
    """Assign rows to validation and test.

    Rows with the same content never lie in both. Where the data name both splits they are taken as named
    (train rows serve for validation if there are no validation rows); else half of all contents, by hash.

    Args:
        keys: Content of every row (`content`).
        given: The data's own word for every row, "" where there is none.
        seed: Changes the split by hash and the order.
        rows: Most rows of each split.

    Raises:
        EvalProblem: if one of the splits has no rows.
    """
    ranks = [_rank(key, seed) for key in keys]
    words = [split_word(word) for word in given] if given else [""] * len(keys)
    kinds = set(words)
    notes: list[str] = []
    if "test" in kinds and kinds & {"val", "train"}:
        source = "val" if "val" in kinds else "train"
        test = [i for i, word in enumerate(words) if word == "test"]
        val = [i for i, word in enumerate(words) if word == source]
        seen = {keys[i] for i in test}
        apart = [i for i in val if keys[i] not in seen]
        if len(apart) < len(val):
            notes.append(f"{counted(len(val) - len(apart), 'validation row')} left out: the test rows have them too.")
        if source == "train":
            notes.append("The data have no validation rows; training rows are used to choose with.")
        val = apart
    else:
        test = [i for i, rank in enumerate(ranks) if rank % 2]
        val = [i for i, rank in enumerate(ranks) if not rank % 2]
        notes.append("Split in halves by content; equal rows stay together.")
    if not val or not test:
        raise EvalProblem("The data are too few: one of the two splits has no rows.",
                          hint="Give more rows, another seed, or a column that says val or test.")  # fmt: skip
    for name, chosen in (("validation", val), ("test", test)):
        if len(chosen) > rows:
            notes.append(f"{rows:,} of {len(chosen):,} {name} rows are used.")
    first = [tuple(sorted(chosen, key=lambda i: (ranks[i], keys[i], i))[:rows]) for chosen in (val, test)]
    return Parts(first[0], first[1], tuple(notes))


def _rank(key: bytes, seed: int) -> int:
    return int.from_bytes(hashlib.blake2b(key, digest_size=8, key=seed.to_bytes(8, "little")).digest(), "little")
