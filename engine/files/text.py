"""Text from files, made safe to show: names stay data, messages never carry control characters."""

from __future__ import annotations

import re

_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # C0, DEL, C1
    "\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"  # invisible, line and bidi controls
    "\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e0fff]"  # annotations, lone surrogates, tags
)


_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def printable(text: object, limit: int = 200) -> str:
    r"""A text of unknown origin as one harmless line.

    Args:
        text: A tensor name, a file name, a value from a header.
        limit: Longest result; the middle of anything longer is left out.

    Returns:
        The text with invisible and direction-changing characters written as `\u{202e}`.
    """
    raw = str(text)
    if len(raw) > limit:
        head = limit * 2 // 3
        raw = f"{raw[:head]}…{raw[len(raw) - (limit - head - 1) :]}"
    return _UNSAFE.sub(lambda match: f"\\u{{{ord(match.group()):x}}}", raw)


def control_in(name: str) -> str:
    r"""The first character of a name that breaks lines or turns the reading direction, as `\u{a}`; "" without one.

    Unlike in `_UNSAFE`, characters that only cannot be seen are let pass: languages and emoji need some of them.
    """
    found = _CONTROL.search(name)
    return printable(found.group()) if found else ""


def listed(names: list[str] | tuple[str, ...], most: int = 3) -> str:
    """The first few names in a sentence: `a, b, c and 4 more`."""
    shown = ", ".join(printable(name, 80) for name in names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def counted(number: int, thing: str) -> str:
    """`1 tensor`, `2,500 tensors`."""
    return f"{number:,} {thing}" + ("" if number == 1 else "s")
