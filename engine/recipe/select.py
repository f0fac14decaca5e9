"""The selection language: `expert : kind : layers = value`, shared by the desk's box and the CLI's `--set`.

    chat,code : attn : 3-6 = 0.7      two experts, attention, layers 3 to 6 (inclusive)
    chat = 0.5                        everything of one expert
    * : mlp = 0                       the mlps of all experts
    chat : 3- += 0.1                  from layer 3 on; also -=, *=, /=
    * : emb, head *= 0.5              embeddings and head
    chat : model.layers.3.*.weight = 1  tensors by name, * and ? allowed

Parts are separated by " : " and may be left out from the right, and "*" means all. A part after the
expert may be kinds or layers; which, follows from the words. Unknown words are errors with suggestions:
typing nonsense never silently does nothing.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from engine.errors import BadRecipe, OutOfRange, UnknownSelection
from engine.files.model import KINDS, Layout

_STATEMENT = re.compile(r"^(?P<where>.*?)\s*(?P<op>[-+*/]?=)\s*(?P<value>[^=]+)$", re.DOTALL)
_COLON = re.compile(r':(?=(?:[^"]*"[^"]*")*[^"]*$)')  # colons outside quotes
_RANGE = re.compile(r"^(?P<first>[\w.]+)?\s*-\s*(?P<last>[\w.]+)?$")


@dataclass(frozen=True, slots=True)
class Selection:
    """What a selection text names: cells of the desk. Empty tuples never occur; "all" is spelled out.

    Attributes:
        experts: Expert ids, in row order.
        kinds: Kinds, in `KINDS` order.
        layers: Layer labels, in network order.
        tensors: Tensor names; empty unless tensors were named.
        every_expert: Whether all experts were meant, so that a rule need not name them.
        every_kind: Whether all kinds were meant.
        every_layer: Whether all layers were meant.
    """

    experts: tuple[str, ...]
    kinds: tuple[str, ...]
    layers: tuple[str, ...]
    tensors: tuple[str, ...] = ()
    every_expert: bool = False
    every_kind: bool = False
    every_layer: bool = False


@dataclass(frozen=True, slots=True)
class Statement:
    """A selection with what to do to it."""

    selection: Selection
    operator: str
    value: float


def parse(text: str, experts: Sequence[tuple[str, str]], layout: Layout) -> Selection:
    """Read a selection.

    Args:
        text: For instance "chat,code : attn : 3-6".
        experts: (id, name) of every expert, in row order.
        layout: Of the base, to know layers, kinds and tensors.

    Raises:
        UnknownSelection: if a word is not an expert, kind, layer or tensor.
    """
    parts = [part.strip() for part in _COLON.split(text.strip())]
    if len(parts) > 3:
        raise UnknownSelection("A selection has at most three parts.", hint="Write: expert : kind : layers.")
    chosen = _experts(parts[0], experts)
    found = _Places(layout)
    for index, part in enumerate(parts[1:]):
        found.read(part, kinds_first=index == 0)
    return Selection(
        experts=chosen,
        kinds=tuple(k for k in layout.kinds if not found.kinds or k in found.kinds),
        layers=tuple(la for la in layout.layers if not found.layers or la in found.layers),
        tensors=tuple(found.tensors),
        every_expert=len(chosen) == len(experts),
        every_kind=not found.kinds,
        every_layer=not found.layers,
    )


def parse_statement(text: str, experts: Sequence[tuple[str, str]], layout: Layout) -> Statement:
    """Read a selection followed by `= value` (or `+=`, `-=`, `*=`, `/=`).

    Raises:
        UnknownSelection: if the selection is not understood.
        BadRecipe: if there is no operator.
        OutOfRange: if the value is not a finite number.
    """
    match = _STATEMENT.match(text.strip())
    if match is None:
        raise BadRecipe(f"There is no “= value” in {text!r}.", hint="Write for example: chat : attn : 3-6 = 0.7")
    try:
        value = float(match["value"])
    except ValueError as error:
        raise OutOfRange(f"{match['value']!r} is not a number.", hint="Write for example: chat = 0.7") from error
    if value != value or value in (float("inf"), float("-inf")) or (match["op"] == "/=" and value == 0):
        raise OutOfRange(f"{match['value']} cannot be a coefficient.", hint="Use a finite number.")
    return Statement(parse(match["where"] or "*", experts, layout), match["op"], value)


def has_statement(text: str) -> bool:
    """Whether the text says what to do, not only where."""
    return _STATEMENT.match(text.strip()) is not None


def render(selection: Selection, experts: Sequence[tuple[str, str]], layout: Layout) -> str:
    """The shortest text that `parse` reads back as the same selection."""
    names = dict(experts)
    first = "*" if selection.every_expert else ",".join(quote(names[e]) for e in selection.experts)
    if selection.tensors:
        return f"{first} : {','.join(selection.tensors)}"
    layers = "" if selection.every_layer else ",".join(_runs(selection.layers, layout.layers))
    kinds = "" if selection.every_kind else ",".join(selection.kinds)
    if selection.every_kind and any(label in KINDS for label in selection.layers) and layers:
        kinds = "*"  # else "emb" and "head" would be read as kinds
    return " : ".join(part for part in (first, kinds, layers) if part)


def quote(name: str) -> str:
    """A name as it must be written in a selection: quoted if it holds separators."""
    return f'"{name}"' if re.search(r"[,:=*?]", name) and '"' not in name else name


def _experts(part: str, experts: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """Ids of the experts that the first part names, in row order."""
    if part in ("", "*"):
        return tuple(expert_id for expert_id, _ in experts)
    wanted: set[str] = set()
    for word in _words(part):
        hits = [i for i, name in experts if name == word] or [i for i, name in experts if name.lower() == word.lower()]
        if not hits and ("*" in word or "?" in word):
            hits = [i for i, name in experts if fnmatchcase(name, word)]
        if not hits:
            close = difflib.get_close_matches(word, [name for _, name in experts], n=3, cutoff=0.4)
            raise UnknownSelection(
                f"No expert is called {word!r}.",
                suggestions=tuple(close),
                hint="" if close else "Experts: " + ", ".join(name for _, name in experts) + ".",
            )
        wanted.update(hits)
    return tuple(i for i, _ in experts if i in wanted)


def _words(part: str) -> list[str]:
    """Comma-separated words; double quotes protect commas and spaces."""
    words = re.findall(r'"([^"]*)"|([^,]+)', part)
    return [(quoted or plain).strip() for quoted, plain in words if (quoted or plain).strip()]


class _Places:
    """Collects the kinds, layers and tensors that the parts after the expert name."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self.kinds: set[str] = set()
        self.layers: set[str] = set()
        self.tensors: list[str] = []

    def read(self, part: str, *, kinds_first: bool) -> None:
        """Add what one part names; "emb" and "head" are kinds in the second part and layers in the third."""
        if part in ("", "*"):
            return
        for word in _words(part):
            self._word(word, kinds_first)

    def _word(self, word: str, kinds_first: bool) -> None:
        layout = self._layout
        is_kind, is_layer = word in layout.kinds, word in layout.layers
        if is_kind and (kinds_first or not is_layer):
            self.kinds.add(word)
        elif is_layer:
            self.layers.add(word)
        elif match := _RANGE.match(word):
            self._range(match["first"], match["last"], word)
        elif hits := [name for name in layout.places if fnmatchcase(name, word)]:
            self.tensors.extend(name for name in hits if name not in self.tensors)
        else:
            self._unknown(word)

    def _range(self, first: str | None, last: str | None, word: str) -> None:
        layers = self._layout.layers
        prefix = first.rpartition(".")[0] + "." if first and "." in first else ""
        if prefix and last and "." not in last:
            last = prefix + last
        numbered = [i for i, label in enumerate(layers) if label.rpartition(".")[2].isdigit()]
        if not numbered or (first is None and last is None):
            self._unknown(word)
        for label in (first, last):
            if label is not None and label not in layers:
                self._unknown(label)
        start = layers.index(first) if first is not None else numbered[0]
        stop = layers.index(last) if last is not None else numbered[-1]
        if start > stop:
            raise UnknownSelection(f"The range {word!r} runs backwards.", hint=f"Write {last}-{first}.")
        self.layers.update(layers[start : stop + 1])

    def _unknown(self, word: str) -> None:
        layout = self._layout
        words = [*layout.kinds, *layout.layers]
        close = tuple(difflib.get_close_matches(word, words, n=3, cutoff=0.4))
        hint = "" if close else f"Kinds: {', '.join(layout.kinds)}. Layers: {layout.layers[0]} to {layout.layers[-1]}."
        raise UnknownSelection(f"There is no kind, layer or tensor {word!r}.", suggestions=close, hint=hint)


def _runs(chosen: Sequence[str], layers: Sequence[str]) -> list[str]:
    """Layer labels with consecutive numbered ones written as ranges."""
    wanted, runs, index = set(chosen), [], 0
    while index < len(layers):
        if layers[index] not in wanted:
            index += 1
            continue
        stop = index
        if layers[index].isdigit():
            while stop + 1 < len(layers) and layers[stop + 1] in wanted and layers[stop + 1].isdigit():
                stop += 1
        runs.append(layers[index] if stop == index else f"{layers[index]}-{layers[stop]}")
        index = stop + 1
    return runs
