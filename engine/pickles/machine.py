"""A pickle of a state dict, interpreted without running anything: only dicts, plain values and tensors exist here.

This is no unpickler: names of functions are compared with a short list and never looked up. Whatever is not on the
lists is refused, so that a pickle which passes is a plain state dict: `{name: tensor}`, perhaps with numbers and texts.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

from engine.errors import UnsafePickle
from engine.files.text import printable

MOST_OPCODES = 2_000_000
MOST_DIMS = 32
_PLAIN = "Only plain state dicts are converted. Load it in the program that made it and save its state dict."
ITEM_BYTES: Mapping[str, int] = {
    "DoubleStorage": 8, "FloatStorage": 4, "HalfStorage": 2, "BFloat16Storage": 2, "LongStorage": 8, "IntStorage": 4,
    "ShortStorage": 2, "CharStorage": 1, "ByteStorage": 1, "BoolStorage": 1, "UntypedStorage": 1,
}  # fmt: skip
_GLOBALS = frozenset(
    {("collections", "OrderedDict"), ("torch._utils", "_rebuild_tensor_v2"), ("torch._utils", "_rebuild_parameter")}
    | {("torch", name) for name in ITEM_BYTES}
)


@dataclass(frozen=True, slots=True)
class Name:
    """A function or class that was named, not looked up."""

    module: str
    name: str


@dataclass(frozen=True, slots=True)
class Storage:
    """Bytes that several tensors may share: type, key in the container and number of elements."""

    kind: str
    key: str
    numel: int


@dataclass(frozen=True, slots=True)
class Tensor:
    """A view of a storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(slots=True)
class _Mark:
    """Where a list of arguments begins."""


@dataclass(slots=True)
class _Machine:
    """Stack and memo of one pickle."""

    allow: frozenset[tuple[str, str]]
    stack: list[Any] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def marked(self) -> list[Any]:
        """What was pushed since the last mark."""
        items: list[Any] = []
        while not isinstance(self.stack[-1], _Mark):
            items.append(self.stack.pop())
        self.stack.pop()
        return items[::-1]

    def put(self, index: int) -> None:
        """Remember the top; memo numbers are dense in everything that torch writes."""
        if index > len(self.memo) + 1:
            raise refused("its memo is not as torch writes it")
        self.memo[index] = self.stack[-1]

    def set_items(self, pairs: list[Any]) -> None:
        """Fill a dict."""
        target = self.stack[-1]
        if type(target) is not dict or len(pairs) % 2 or not all(type(k) in (str, int) for k in pairs[::2]):
            raise refused("it sets items of something that is no table")
        target.update(zip(pairs[::2], pairs[1::2], strict=True))

    def call(self) -> None:
        """A call of one of the few names."""
        arguments, name = self.stack.pop(), self.stack.pop()
        if not isinstance(name, Name) or type(arguments) is not tuple:
            raise refused("it calls something that is no name")
        if name.name == "OrderedDict" and arguments == ():
            self.stack.append({})
        elif name.name == "_rebuild_tensor_v2" and len(arguments) in (6, 7):
            self.stack.append(_tensor(arguments))
        elif name.name == "_rebuild_parameter" and len(arguments) == 3 and isinstance(arguments[0], Tensor):
            self.stack.append(arguments[0])
        else:
            raise refused(f"it calls {printable(name.name, 60)}")

    def build(self) -> None:
        """Attributes of an ordered dict (`_metadata` of modules); they are dropped."""
        state = self.stack.pop()
        if type(self.stack[-1]) is not dict or type(state) is not dict or set(state) - {"_metadata"}:
            raise refused("it sets attributes")

    def persistent(self) -> None:
        """A reference to a storage."""
        told = self.stack.pop()
        if type(told) is not tuple or len(told) not in (5, 6) or told[0] != "storage":
            raise refused("it refers to something that is no storage")
        kind, key, numel = told[1], told[2], told[4]
        if not isinstance(kind, Name) or kind.name not in ITEM_BYTES or type(key) is not str or not is_size(numel):
            raise refused("it refers to a storage of an unknown type")
        self.stack.append(Storage(kind.name, key, numel))


def interpret(data: bytes, *, globals_allowed: bool = True) -> tuple[Any, int]:
    """Read one pickle.

    Args:
        data: Bytes that begin with a pickle.
        globals_allowed: Whether names may occur at all.

    Returns:
        Its value, of dicts, lists, tuples, plain values and `Tensor`s; and the number of bytes it takes.

    Raises:
        UnsafePickle: if it is anything else than a plain state dict.
    """
    machine = _Machine(_GLOBALS if globals_allowed else frozenset())
    try:
        for count, (opcode, argument, position) in enumerate(pickletools.genops(data)):
            if opcode.name == "STOP":
                if len(machine.stack) != 1:
                    raise refused("it leaves something over")
                return machine.stack[0], (position or 0) + 1
            if count >= MOST_OPCODES:
                raise refused("it has too many parts")
            _step(machine, opcode.name, argument)
    except UnsafePickle:
        raise
    except Exception as error:  # a damaged pickle: genops and the stack raise many kinds
        raise refused(f"it is damaged ({type(error).__name__})") from error
    raise refused("it has no end")


def refused(reason: str) -> UnsafePickle:
    """The error of a pickle that is no plain state dict."""
    return UnsafePickle(f"This is not a plain state dict: {reason}. Nothing in it was run.", hint=_PLAIN)


def is_size(value: object) -> bool:
    """Whether a value is a number of elements."""
    return type(value) is int and 0 <= value < 2**48


def _step(machine: _Machine, name: str, argument: Any) -> None:
    stack = machine.stack
    if name in _PUSH:
        stack.append(argument)
    elif name in _MAKE:
        stack.append(_MAKE[name]())
    elif name == "GLOBAL":
        module, _, own = argument.partition(" ")
        if (module, own) not in machine.allow:
            raise refused(f"it names {printable(f'{module}.{own}', 80)}")
        stack.append(Name(module, own))
    elif name in ("BINPUT", "LONG_BINPUT"):
        machine.put(argument)
    elif name in ("BINGET", "LONG_BINGET"):
        stack.append(machine.memo[argument])
    elif name in _ACT:
        _ACT[name](machine)
    elif name not in ("PROTO", "FRAME"):
        raise refused(f"it uses the opcode {name}")


def _tuple(count: int) -> Callable[[_Machine], None]:
    def make(machine: _Machine) -> None:
        items = machine.stack[-count:]
        del machine.stack[-count:]
        machine.stack.append(tuple(items))

    return make


def _set_one(machine: _Machine) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    machine.set_items([key, value])


def _extend(machine: _Machine, items: list[Any]) -> None:
    if type(machine.stack[-1]) is not list:
        raise refused("it appends to something that is no list")
    machine.stack[-1].extend(items)


_PUSH = frozenset({"BINUNICODE", "SHORT_BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"})
_MAKE: Mapping[str, Callable[[], Any]] = {
    "EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "MARK": _Mark,
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False,
}  # fmt: skip
_ACT: Mapping[str, Callable[[_Machine], None]] = {
    "TUPLE": lambda m: m.stack.append(tuple(m.marked())),
    "TUPLE1": _tuple(1),
    "TUPLE2": _tuple(2),
    "TUPLE3": _tuple(3),
    "SETITEMS": lambda m: m.set_items(m.marked()),
    "SETITEM": _set_one,
    "APPENDS": lambda m: _extend(m, m.marked()),
    "APPEND": lambda m: _extend(m, [m.stack.pop()]),
    "MEMOIZE": lambda m: m.put(len(m.memo)),
    "REDUCE": _Machine.call,
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.persistent,
}


def _tensor(arguments: tuple[Any, ...]) -> Tensor:
    """A tensor whose elements all lie in its storage, and which has no more of them than that has."""
    storage, offset, shape, stride = arguments[:4]
    fits = (
        isinstance(storage, Storage) and is_size(offset) and type(shape) is tuple and type(stride) is tuple
        and len(shape) == len(stride) <= MOST_DIMS and all(map(is_size, (*shape, *stride)))
    )  # fmt: skip
    if not fits:
        raise refused("a tensor has an impossible shape")
    last = offset + sum((n - 1) * s for n, s in zip(shape, stride, strict=True)) if all(shape) else 0
    if prod(shape) > storage.numel or (all(shape) and last >= storage.numel):
        raise refused("a tensor is larger than its storage")
    return Tensor(storage, offset, shape, stride)
