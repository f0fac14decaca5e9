"""YAML from strangers: plain data only, bounded in size, depth, aliases and what aliases expand to.

Only PyYAML's SafeLoader is used, so no tag can build a Python object; dates, sets and binary are refused, too.
Where PyYAML has libyaml, its parser reads the text: what is too much is refused ten times sooner.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isfinite
from typing import Any

import yaml

from engine.errors import BadRecipe

MAX_BYTES = 1_000_000
MAX_DEPTH = 16
MAX_EVENTS = 100_000
MAX_ALIASES = 64
MAX_NODES = 200_000
MAX_TEXT = 4096

_LOADER = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
_HINT = "This does not look like a mergekit configuration."


def parse(data: bytes, *, where: str = "") -> Any:
    """Read one YAML document as plain data: text keys, finite numbers, lists and tables.

    Args:
        data: The bytes.
        where: File name, for the message.

    Raises:
        BadRecipe: saying what is wrong or too much.
    """
    try:
        text = _text(data)
        _count_events(text)
        loader = _LOADER(text)
        try:
            node = loader.get_single_node()
            if node is None:
                raise BadRecipe("The file is empty.", hint=_HINT)
            _Graph().expand(node)
            value = loader.construct_document(node)
        finally:
            loader.dispose()
        return _plain(value)
    except BadRecipe as error:
        raise BadRecipe(error.message, where=error.where or where, hint=error.hint) from error
    except yaml.YAMLError as error:
        raise BadRecipe(f"This is not valid YAML: {_first_line(error)}.", where=where, hint=_HINT) from error
    except (ValueError, OverflowError, RecursionError, TypeError, AttributeError) as error:
        raise BadRecipe("This YAML holds something other than plain data.", where=where, hint=_HINT) from error


def dump(data: Any) -> str:
    """Plain data as YAML: keys in order, lists of numbers on one line, floats that read back exactly."""
    text: str = yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False,
                          width=120)  # fmt: skip
    return text


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]  # PyYAML has no types
    """Writes lists of scalars on one line and never an alias."""

    def ignore_aliases(self, data: Any) -> bool:
        """Equal values are written out each time."""
        return True


def _represent_list(dumper: yaml.SafeDumper, data: Sequence[Any]) -> yaml.SequenceNode:
    flow = all(isinstance(item, (bool, int, float)) for item in data)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=flow)


_Dumper.add_representer(list, _represent_list)


def _text(data: bytes) -> str:
    if len(data) > MAX_BYTES:
        raise BadRecipe(f"The file has {len(data):,} bytes; at most {MAX_BYTES:,} are read.", hint=_HINT)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadRecipe("The file is not UTF-8 text.", hint=_HINT) from error


def _count_events(text: str) -> None:
    """Refuse depth and quantity before anything is built; the parser itself does not recurse."""
    depth = aliases = 0
    for count, event in enumerate(yaml.parse(text, Loader=_LOADER)):
        if isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            depth += 1
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            depth -= 1
        elif isinstance(event, yaml.AliasEvent):
            aliases += 1
        if depth > MAX_DEPTH:
            raise BadRecipe("The file is nested too deeply.", hint=_HINT)
        if count > MAX_EVENTS or aliases > MAX_ALIASES:
            raise BadRecipe("The file has too many entries or aliases.", hint=_HINT)


class _Graph:
    """Counts the nodes that a document has once its aliases are written out."""

    def __init__(self) -> None:
        self._sizes: dict[int, int] = {}
        self._open: set[int] = set()

    def expand(self, node: yaml.Node) -> int:
        """Number of nodes; refuses cycles, repeated keys and too many nodes."""
        if id(node) in self._open:
            raise BadRecipe("The file contains itself (an alias to a list or table around it).", hint=_HINT)
        if id(node) not in self._sizes:
            self._open.add(id(node))
            size = 1 + sum(self.expand(child) for child in self._children(node))
            self._open.discard(id(node))
            if size > MAX_NODES:
                raise BadRecipe("The aliases of the file expand to too much.", hint=_HINT)
            self._sizes[id(node)] = size
        return self._sizes[id(node)]

    @staticmethod
    def _children(node: yaml.Node) -> Iterable[yaml.Node]:
        if isinstance(node, yaml.SequenceNode):
            return list(node.value)
        if not isinstance(node, yaml.MappingNode):
            return ()
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        seen: set[str] = set()
        for key in keys:
            if key in seen:
                raise BadRecipe(f"The key {key[:100]!r} occurs twice.", hint="Keep one of them.")
            seen.add(key)
        return [part for pair in node.value for part in pair]


def _plain(value: Any) -> Any:
    """The value itself if it is plain; numbers must be finite, keys text, texts of bounded length."""
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise BadRecipe("A key of the file is not text.", hint=_HINT)
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, str):
        value.encode("utf-8")  # a lone surrogate is a ValueError
        if len(value) > MAX_TEXT or "\0" in value:
            raise BadRecipe("A text of the file is too long or not plain.", hint=_HINT)
        return value
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, (int, float)):
        if not isfinite(float(value)):
            raise BadRecipe("A number of the file is not finite.", hint="Use a finite number.")
        return value
    raise BadRecipe(f"The file holds a {type(value).__name__}, which is not plain data.", hint=_HINT)


def _first_line(error: yaml.YAMLError) -> str:
    """What and where, without the quoted context."""
    problem = getattr(error, "problem", None) or "it cannot be read"
    mark = getattr(error, "problem_mark", None)
    return f"{str(problem)[:200]}{f' (line {mark.line + 1})' if mark else ''}"
