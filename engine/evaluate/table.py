"""A stranger's data file as a table of plain values: CSV, TSV, JSON lines, Parquet; strict, bounded, told in rows.

Parquet is read if the package pyarrow is installed; it is not part of Mixdown (55 MB).
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from engine.errors import EvalProblem, FileProblem
from engine.files import strict_json
from engine.files.opening import read_small
from engine.files.text import counted, printable
from engine.progress import Progress, Silent

MAX_FILE = 256 << 20
MAX_ROWS = 500_000
MAX_COLUMNS = 256
MAX_CELL = 1_000_000
"""Most characters of one cell."""
SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".jsonl.gz", ".parquet")
Value = str | float | int | bool | None | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of plain values.

    Attributes:
        path: Where it came from.
        columns: Names, in order.
        rows: One value for each column; lists of texts as tuples.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]

    def column(self, name: str) -> list[Value]:
        """All values of a column.

        Raises:
            EvalProblem: if there is no such column.
        """
        if name not in self.columns:
            raise EvalProblem(f"There is no column {printable(name, 80)!r}.", where=printable(self.path, 400),
                              hint=f"There are: {', '.join(printable(c, 40) for c in self.columns[:20])}.")  # fmt: skip
        at = self.columns.index(name)
        return [row[at] for row in self.rows]

    def texts(self, name: str) -> list[str]:
        """A column that must hold text in every row; numbers count as what they look like.

        Raises:
            EvalProblem: naming the first row that is empty or a list.
        """
        found = []
        for number, value in enumerate(self.column(name), 1):
            if value is None or isinstance(value, tuple) or not str(value).strip():
                what = "a list" if isinstance(value, tuple) else "empty"
                raise problem(self.path, number, f"column {printable(name, 80)!r} is {what}; a text is needed")
            found.append(str(value))
        return found

    def numbers(self, name: str) -> list[float]:
        """A column that must hold finite numbers.

        Raises:
            EvalProblem: naming the first row that does not.
        """
        found = []
        for number, value in enumerate(self.column(name), 1):
            parsed = as_number(value)
            if parsed is None:
                shown = printable(value, 40)
                raise problem(self.path, number, f"column {printable(name, 80)!r} has {shown!r}; a number is needed")
            found.append(parsed)
        return found

    def lists(self, names: Sequence[str]) -> list[tuple[str, ...]]:
        """Texts of several columns, or of one that holds lists; empty cells are left out.

        Raises:
            EvalProblem: naming the first row with fewer than two.
        """
        columns, found = [self.column(name) for name in names], []
        for number, cells in enumerate(zip(*columns, strict=True), 1):
            texts: list[str] = []
            for cell in cells:
                texts += cell if isinstance(cell, tuple) else [] if cell is None or cell == "" else [str(cell)]
            if len(texts) < 2:
                raise problem(self.path, number, "fewer than two options")
            found.append(tuple(texts))
        return found


def as_number(value: Value) -> float | None:
    """A finite number from a cell, or None."""
    if value is None or isinstance(value, (bool, tuple)):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def problem(path: Path, row: int, what: str) -> EvalProblem:
    """An error in one row of data; rows count from 1, without a header."""
    return EvalProblem(f"Row {row:,}: {what}.", where=printable(path, 400),
                       hint="Correct the file, or leave the row out.")  # fmt: skip


def read_table(path: Path, progress: Progress | None = None) -> Table:
    """Read a whole data file.

    Raises:
        EvalProblem: naming the row and column of the first thing that is wrong.
        Cancelled: if the user stopped the job.
    """
    progress = progress or Silent()
    name = path.name.lower()
    kind = next((k for k in _READERS if name.endswith(k)), "")
    if not kind:
        raise EvalProblem(f"Data files of this kind are not known: {printable(path.name, 80)}.", where=str(path),
                          hint="Known: CSV, TSV, JSON lines, Parquet, npz, safetensors, image folders.")  # fmt: skip
    try:
        table = _READERS[kind](path, progress)
    except FileProblem as error:
        raise EvalProblem(f"The data file cannot be read: {error.message}", where=error.where,
                          hint="Check that it exists and is at most 256 MiB.") from error  # fmt: skip
    if not table.rows:
        raise EvalProblem("The data file has no rows.", where=printable(path, 400), hint="Choose another file.")
    return table


def _text(path: Path) -> str:
    raw = read_small(path, MAX_FILE)
    if path.name.lower().endswith(".gz"):
        raw = _unpacked(raw, path)
    return decoded(raw, path)


def decoded(raw: bytes, path: Path) -> str:
    """Strict UTF-8, a byte-order mark at the start is dropped.

    Raises:
        EvalProblem: naming the line of the first byte that is no UTF-8.
    """
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise EvalProblem(f"Line {line:,} is not UTF-8 text.", where=printable(path, 400),
                          hint="Save the file as UTF-8.") from error  # fmt: skip


def _unpacked(raw: bytes, path: Path) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(raw)) as file:
            unpacked = file.read(MAX_FILE + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise EvalProblem(
            "The file is no valid gzip file.", where=printable(path, 400), hint="Get it again."
        ) from error
    if len(unpacked) > MAX_FILE:
        raise EvalProblem("The file unpacks to more than 256 MiB.", where=printable(path, 400), hint="Use fewer rows.")
    return unpacked


def _csv(path: Path, progress: Progress) -> Table:
    text = _text(path)
    first = text[: text.find("\n") if "\n" in text else len(text)]
    comma = "\t" if path.suffix.lower() == ".tsv" or first.count("\t") > first.count(",") else ","
    comma = ";" if first.count(";") > first.count(comma) else comma
    csv.field_size_limit(MAX_CELL)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=comma, strict=True)
    columns: tuple[str, ...] = ()
    rows: list[tuple[Value, ...]] = []
    try:
        for cells in lines:
            if not cells:
                continue
            if not columns:
                columns = _header(cells, path)
                continue
            if len(cells) != len(columns):
                text = f"{counted(len(cells), 'cell')} instead of {len(columns)} (line {lines.line_num:,})"
                raise problem(path, len(rows) + 1, text)
            _check_room(rows, path, progress)
            rows.append(tuple(cells))
    except csv.Error as error:
        raise problem(path, len(rows) + 1, f"{printable(error, 120)} (line {lines.line_num:,})") from error
    return Table(path, columns, tuple(rows))


def _header(cells: Sequence[str], path: Path) -> tuple[str, ...]:
    names = tuple(cell.strip() for cell in cells)
    if len(names) > MAX_COLUMNS or len(set(names)) < len(names) or "" in names or max(map(len, names)) > 200:
        raise EvalProblem("The first line must name every column, each once.", where=printable(path, 400),
                          hint=f"At most {MAX_COLUMNS} columns with short, different names.")  # fmt: skip
    return names


def _check_room(rows: Sequence[Any], path: Path, progress: Progress) -> None:
    if len(rows) >= MAX_ROWS:
        raise EvalProblem(f"The file has more than {MAX_ROWS:,} rows.", where=printable(path, 400),
                          hint="A few thousand rows are enough for a score; make a smaller file.")  # fmt: skip
    if len(rows) % 1024 == 0:
        progress.check()


def _jsonl(path: Path, progress: Progress) -> Table:
    columns: dict[str, None] = {}
    objects: list[dict[str, Value]] = []
    for number, line in enumerate(_text(path).split("\n"), 1):
        if not line.strip():
            continue
        _check_room(objects, path, progress)
        try:
            raw = strict_json.parse(line.encode(), depth=4)
        except strict_json.BadJson as error:
            raise problem(path, len(objects) + 1, f"{error} (line {number:,})") from error
        if not isinstance(raw, dict):
            raise problem(path, len(objects) + 1, f"a JSON object is needed (line {number:,})")
        row = {str(key): _cell(value, path, len(objects) + 1, str(key)) for key, value in raw.items()}
        columns.update(dict.fromkeys(row))
        if len(columns) > MAX_COLUMNS:
            raise problem(path, len(objects) + 1, f"there are more than {MAX_COLUMNS} columns")
        objects.append(row)
    names = tuple(columns)
    return Table(path, names, tuple(tuple(row.get(name) for name in names) for row in objects))


def _cell(value: Any, path: Path, row: int, column: str) -> Value:
    if isinstance(value, str):
        if len(value) > MAX_CELL or not strict_json.is_text(value):
            raise problem(path, row, f"column {printable(column, 80)!r} is too long or no proper text")
        return value
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, list) and len(value) <= 100 and all(isinstance(v, (str, int, float)) for v in value):
        return tuple(str(_cell(v, path, row, column)) for v in value)
    if isinstance(value, dict):  # nested objects (ids, metadata) are not needed; they show as JSON
        return json.dumps(value, ensure_ascii=False)[:MAX_CELL]
    raise problem(path, row, f"column {printable(column, 80)!r} has a value that is no text, number or short list")


def has_parquet() -> bool:
    """Whether Parquet can be read here."""
    return find_spec("pyarrow") is not None


def _parquet(path: Path, progress: Progress) -> Table:
    if not has_parquet():
        raise EvalProblem("Parquet files need the package pyarrow, which is not installed.", where=printable(path, 400),
                          hint="Install pyarrow (55 MB) beside Mixdown, or save the data as CSV.")  # fmt: skip
    pyarrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    raw = read_small(path, MAX_FILE)
    try:
        with parquet.ParquetFile(pyarrow.BufferReader(raw), thrift_string_size_limit=1 << 24) as file:
            if file.metadata.num_rows > MAX_ROWS or file.metadata.num_columns > MAX_COLUMNS:
                text = f"The file has {file.metadata.num_rows:,} rows and {file.metadata.num_columns} columns"
                raise EvalProblem(f"{text}, which is too many.", where=printable(path, 400), hint="Make it smaller.")
            size = sum(file.metadata.row_group(g).total_byte_size for g in range(file.metadata.num_row_groups))
            if size > MAX_FILE:
                raise EvalProblem("The file unpacks to more than 256 MiB.", where=printable(path, 400),
                                  hint="Make a smaller file.")  # fmt: skip
            names = _header(file.schema_arrow.names, path)
            rows = tuple(_parquet_rows(file, names, path, progress))
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise EvalProblem(f"The Parquet file is damaged: {printable(error, 160)}.", where=printable(path, 400),
                          hint="Get it again.") from error  # fmt: skip
    return Table(path, names, rows)


def _parquet_rows(file: Any, names: tuple[str, ...], path: Path, progress: Progress) -> Iterator[tuple[Value, ...]]:
    number = 0
    for batch in file.iter_batches(batch_size=1024):
        progress.check()
        columns = [batch.column(at).to_pylist() for at in range(len(names))]
        for cells in zip(*columns, strict=True):
            number += 1
            yield tuple(_cell(_scalar(v), path, number, n) for v, n in zip(cells, names, strict=True))


def _scalar(value: Any) -> Any:
    """Dates and bytes as text."""
    return value if value is None or isinstance(value, (str, bool, int, float, list, dict)) else str(value)[:MAX_CELL]


_READERS: dict[str, Callable[[Path, Progress], Table]] = {
    ".csv": _csv, ".tsv": _csv, ".jsonl": _jsonl, ".ndjson": _jsonl, ".jsonl.gz": _jsonl, ".parquet": _parquet,
}  # fmt: skip
