"""Tokenised rows of each family of text tasks, as the tensors that `engine.evaluate.sample` reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import EvalProblem
from engine.evaluate.look import shown
from engine.evaluate.plan import TaskPlan
from engine.evaluate.sample import MAX_DOCUMENTS
from engine.evaluate.splitting import Parts
from engine.evaluate.table import Table, as_number, problem
from engine.evaluate.task_schema import MAX_CLASSES
from engine.evaluate.tokens import Encoded, Words
from engine.files.text import counted, printable
from engine.progress import Progress


@dataclass(slots=True)
class Made:
    """What the data of a task became.

    Attributes:
        arrays: Tensors by name.
        rows: Items of each split.
        labels: Class names, empty unless the family is "class".
        facts: What goes into the file's `made`.
        notes: What the user should know.
        input: Scale, mean and deviation of images; empty for texts.
        pad: Id that fills a batch of texts.
    """

    arrays: dict[str, NDArray[Any]]
    rows: dict[str, int]
    labels: tuple[str, ...] = ()
    facts: dict[str, str | int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    input: dict[str, Any] = field(default_factory=dict)
    pad: int = 0


Maker = Callable[[TaskPlan, Table, Parts, Words, int, Progress], Made]
"""(plan, table, split, tokenizer, longest row in tokens, progress) -> tensors."""


def flat(rows: Sequence[Encoded]) -> dict[str, NDArray[np.int64]]:
    """Ids of all rows one after the other, and their lengths.

    Raises:
        EvalProblem: if a row has no token.
    """
    if any(not row.ids for row in rows):
        raise EvalProblem("A text has no token.", hint="Leave empty texts out of the data.")
    return {"ids": np.array([i for row in rows for i in row.ids], np.int32),
            "lengths": np.array([len(row.ids) for row in rows], np.int32)}  # fmt: skip


def _classes(plan: TaskPlan, table: Table, parts: Parts, words: Words, longest: int, progress: Progress) -> Made:
    texts, said = table.texts(plan.text), [shown(v) for v in table.column(plan.label)]
    for number, label in enumerate(said, 1):
        if not label.strip() or len(label) > 400:
            raise problem(table.path, number, f"column {printable(plan.label, 80)!r} is empty or too long for a label")
    labels = _ordered(said)
    if not 2 <= len(labels) <= MAX_CLASSES:
        raise EvalProblem(f"The column {printable(plan.label, 80)!r} has {counted(len(labels), 'different label')}.",
                          hint=f"2 to {MAX_CLASSES:,} classes are possible.")  # fmt: skip
    index = {label: at for at, label in enumerate(labels)}
    made = _plain(texts, parts, words, longest, progress)
    for split, chosen in _splits(parts):
        made.arrays[f"{split}.labels"] = np.array([index[said[i]] for i in chosen], np.int32)
    made.labels = labels
    return made


def _ordered(said: Sequence[str]) -> tuple[str, ...]:
    """Labels in order: numbers by value, so that class 0 comes first, else by name."""
    names = set(said)
    if all(name.isascii() and name.isdigit() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def _values(plan: TaskPlan, table: Table, parts: Parts, words: Words, longest: int, progress: Progress) -> Made:
    numbers = table.numbers(plan.label)
    made = _plain(table.texts(plan.text), parts, words, longest, progress)
    for split, chosen in _splits(parts):
        made.arrays[f"{split}.labels"] = np.array([numbers[i] for i in chosen], np.float32)
    return made


def _plain(texts: Sequence[str], parts: Parts, words: Words, longest: int, progress: Progress) -> Made:
    made, cut = Made({}, {}), 0
    for split, chosen in _splits(parts):
        rows = words.encode([texts[i] for i in chosen], longest, progress)
        cut += sum(len(row.ids) >= longest for row in rows)
        made.arrays |= {f"{split}.{name}": values for name, values in flat(rows).items()}
        made.rows[split] = len(chosen)
    made.facts["max_tokens"] = longest
    if cut:
        made.notes = (f"{counted(cut, 'text')} fill all {longest} tokens and may have been cut.",)
    return made


def _pairs(plan: TaskPlan, table: Table, parts: Parts, words: Words, longest: int, progress: Progress) -> Made:
    first, second, numbers = table.texts(plan.text), table.texts(plan.second), table.numbers(plan.label)
    made = Made({}, {}, facts={"max_tokens": longest})
    for split, chosen in _splits(parts):
        rows = words.encode([t for i in chosen for t in (first[i], second[i])], longest, progress)
        made.arrays |= {f"{split}.{name}": values for name, values in flat(rows).items()}
        made.arrays[f"{split}.labels"] = np.array([numbers[i] for i in chosen], np.float32)
        made.rows[split] = len(chosen)
    return made


def _searches(plan: TaskPlan, table: Table, parts: Parts, words: Words, longest: int, progress: Progress) -> Made:
    """Every row is a query and a document that answers it; all documents are searched in both splits."""
    queries, documents = table.texts(plan.text), table.texts(plan.second)
    place = {text: at for at, text in enumerate(dict.fromkeys(documents))}
    if len(place) > MAX_DOCUMENTS:
        raise EvalProblem(f"There are {len(place):,} documents; at most {MAX_DOCUMENTS:,} can be searched.")
    encoded = words.encode(list(place), longest, progress)
    made = Made({}, {}, facts={"max_tokens": longest, "documents": len(place)})
    for split, chosen in _splits(parts):
        number = {text: at for at, text in enumerate(dict.fromkeys(queries[i] for i in chosen))}
        rows = [*encoded, *words.encode(list(number), longest, progress)]
        pairs = sorted({(number[queries[i]], place[documents[i]]) for i in chosen})
        made.arrays |= {f"{split}.{name}": values for name, values in flat(rows).items()}
        made.arrays[f"{split}.labels"] = np.array(pairs, np.int32).reshape(-1)
        made.rows[split] = len(number)
    return made


def _language(plan: TaskPlan, table: Table, parts: Parts, words: Words, longest: int, progress: Progress) -> Made:
    """Texts cut into windows of `longest` tokens; the first token of a window is context only."""
    texts, made = table.texts(plan.text), Made({}, {}, facts={"max_tokens": longest})
    for split, chosen in _splits(parts):
        rows, sizes = [], []
        for i, whole in zip(chosen, words.encode([texts[i] for i in chosen], 0, progress), strict=True):
            for first in range(0, len(whole.ids), longest):
                window = Encoded(whole.ids[first : first + longest], whole.spans[first : first + longest])
                size = len(texts[i][window.spans[0][1] : max(end for _, end in window.spans)].encode())
                if len(window.ids) > 1 and size:
                    rows.append(window)
                    sizes.append(size)
        if not rows:
            raise EvalProblem("No text has two tokens.", hint="Use longer texts.")
        made.arrays |= {f"{split}.{name}": values for name, values in flat(rows).items()}
        made.arrays[f"{split}.sizes"] = np.array(sizes, np.int32)
        made.arrays[f"{split}.labels"] = np.array(sizes, np.int32)
        made.rows[split] = len(rows)
    return made


def _choices(plan: TaskPlan, table: Table, parts: Parts, words: Words, longest: int, progress: Progress) -> Made:
    """Every option after its question and a space; only the option's tokens are scored."""
    questions, options = table.texts(plan.text), table.lists(plan.options)
    answers, made = _answers(plan, table, options), Made({}, {}, facts={"max_tokens": longest})
    for split, chosen in _splits(parts):
        flatly = [(at, i, text) for at, i in enumerate(chosen) for text in options[i]]
        asked = words.encode([questions[i] for i in chosen], 0, progress)
        whole = words.encode([f"{questions[i]} {text}" for _, i, text in flatly], 0, progress)
        rows, starts = [], []
        for (at, i, _), row in zip(flatly, whole, strict=True):
            start = next((n for n, span in enumerate(row.spans) if span[1] > len(questions[i])), len(asked[at].ids))
            drop = max(0, len(row.ids) - longest)  # the question's beginning is what can be spared
            rows.append(Encoded(row.ids[drop:], row.spans[drop:]))
            starts.append(min(max(start - drop, 1), len(row.ids) - drop - 1))
        made.arrays |= {f"{split}.{name}": values for name, values in flat(rows).items()}
        made.arrays |= {
            f"{split}.groups": np.array([at for at, *_ in flatly], np.int32),
            f"{split}.starts": np.array(starts, np.int32),
            f"{split}.sizes": np.array([len(f" {text}".encode()) for *_, text in flatly], np.int32),
            f"{split}.labels": np.array([answers[i] for i in chosen], np.int32),
        }
        if min(map(len, (row.ids for row in rows))) < 2:
            raise EvalProblem("A question has no token before its options.", hint="Give every question a text.")
        made.rows[split] = len(chosen)
    spread = Counter(answers[i] + 1 for _, chosen in _splits(parts) for i in chosen)
    made.notes = ("Right options: " + ", ".join(f"{n}: {count}" for n, count in sorted(spread.items())) + ".",)
    return made


def _answers(plan: TaskPlan, table: Table, options: Sequence[tuple[str, ...]]) -> list[int]:
    """The right option of every row: its letter, its text, or its number from 0 (or 1, if no row has a 0)."""
    values = table.column(plan.label)
    numbers = [as_number(v) for v in values]
    known = [n for n in numbers if n is not None]
    first = 1 if len(known) == len(values) and min(known, default=0) >= 1 and any(
        n == len(o) for n, o in zip(known, options, strict=False)) else 0  # fmt: skip
    found = []
    for row, (value, number, texts) in enumerate(zip(values, numbers, options, strict=True), 1):
        text = shown(value).strip()
        if text in texts:
            at = texts.index(text)
        elif number is not None and number.is_integer():
            at = int(number) - first
        elif len(text) == 1 and text.isascii() and text.isalpha():
            at = ord(text.upper()) - ord("A")
        else:
            at = -1
        if not 0 <= at < len(texts):
            where = f"column {printable(plan.label, 80)!r} has {printable(text, 40)!r}"
            raise problem(table.path, row, f"{where}, which is none of the {len(texts)} options")
        found.append(at)
    return found


def _splits(parts: Parts) -> tuple[tuple[str, tuple[int, ...]], ...]:
    return ("val", parts.val), ("test", parts.test)


ROWS: Mapping[str, Maker] = MappingProxyType({
    "class": _classes, "value": _values, "pair": _pairs, "retrieve": _searches, "lm": _language, "choice": _choices,
})  # fmt: skip
"""How the rows of each family are made."""
