"""Texts to token ids with the fast tokenizer of a model folder (tokenizer.json); no code of the model is run."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import EvalProblem, FileProblem
from engine.files import strict_json
from engine.files.opening import is_safe_member, read_small
from engine.files.text import printable
from engine.progress import Progress, Silent

MAX_TOKENIZER = 64 << 20
_BATCH = 256


@dataclass(frozen=True, slots=True)
class Encoded:
    """One text.

    Attributes:
        ids: Its tokens, special ones included.
        spans: First and last character of each token; equal for special ones.
    """

    ids: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Words:
    """A model's tokenizer.

    Attributes:
        pad: Id that fills a batch.
        sha256: Hash of tokenizer.json.
    """

    _tokenizer: Any
    pad: int
    sha256: str

    def encode(
        self, texts: Sequence[str], longest: int = 0, progress: Progress | None = None, special: bool = True
    ) -> list[Encoded]:
        """Tokens of every text.

        Args:
            texts: What to encode.
            longest: Most tokens, special ones included; 0 does not cut.
            progress: Asked between batches.
            special: Whether special tokens are added.
        """
        progress, found = progress or Silent(), []
        self._tokenizer.no_padding()
        if longest:
            self._tokenizer.enable_truncation(longest)
        else:
            self._tokenizer.no_truncation()
        for first in range(0, len(texts), _BATCH):
            progress.check()
            batch = self._tokenizer.encode_batch(list(texts[first : first + _BATCH]), add_special_tokens=special)
            found += [Encoded(tuple(e.ids), tuple(e.offsets)) for e in batch]
        return found

    def decode(self, ids: Sequence[int]) -> str:
        """The text of some tokens, without special ones."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))


def read_tokenizer(folder: Path | None) -> Words:
    """The tokenizer of a model folder.

    Raises:
        EvalProblem: if there is no tokenizer.json, or it is damaged.
    """
    import hashlib

    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    from tokenizers import Tokenizer

    if folder is None:
        raise EvalProblem("A model folder is needed for its tokenizer.", hint="Choose the base's folder.")
    raw = member(folder, "tokenizer.json", MAX_TOKENIZER)
    if raw is None:
        raise EvalProblem("The model folder has no tokenizer.json.", where=printable(folder, 400),
                          hint="Choose the folder that the tokenizer lies in, usually the base's.")  # fmt: skip
    try:
        tokenizer = Tokenizer.from_str(raw.decode("utf-8"))
    except Exception as error:  # the Rust library raises plain Exception
        raise EvalProblem(f"The tokenizer cannot be read: {printable(error, 200)}.", where=printable(folder, 400),
                          hint="Get tokenizer.json again.") from error  # fmt: skip
    return Words(tokenizer, _pad(tokenizer, folder), hashlib.sha256(raw).hexdigest())


def member(folder: Path, name: str, limit: int) -> bytes | None:
    """A small file of a model folder, or None if it is not there.

    Raises:
        EvalProblem: if it cannot be read or is too large.
    """
    if not is_safe_member(folder, name):
        return None
    try:
        return read_small(folder / name, limit)
    except FileProblem as problem:
        raise EvalProblem(problem.message, where=problem.where, hint=problem.hint) from problem


def settings(folder: Path | None, name: str) -> dict[str, Any]:
    """A JSON file of a model folder, {} if it is absent or damaged."""
    raw = None if folder is None else member(folder, name, 4 << 20)
    try:
        parsed = strict_json.parse(raw, depth=32) if raw else {}
    except strict_json.BadJson:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _pad(tokenizer: Any, folder: Path) -> int:
    named = settings(folder, "tokenizer_config.json").get("pad_token")
    named = named.get("content") if isinstance(named, dict) else named
    candidates: Iterable[Any] = (named, "[PAD]", "<pad>", "<|endoftext|>", "</s>")
    ids = (tokenizer.token_to_id(name) for name in candidates if isinstance(name, str))
    return next((int(number) for number in ids if number is not None), 0)
