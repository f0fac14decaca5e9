"""Whether data certainly fits a JSON schema, said without loading the library that explains why it does not.

Loading jsonschema takes as long as painting the window. What this module is not certain of (an unknown keyword, an
odd number, anything wrong) is left to jsonschema, which has the last word and the messages.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

_TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda x: isinstance(x, dict),
    "array": lambda x: isinstance(x, list),
    "string": lambda x: isinstance(x, str),
    "boolean": lambda x: isinstance(x, bool),
    "null": lambda x: x is None,
    "integer": lambda x: isinstance(x, int) and not isinstance(x, bool),
    "number": lambda x: isinstance(x, int | float) and not isinstance(x, bool),
}
_REMARKS = frozenset({"$schema", "$id", "title", "description", "default", "examples"})


def fits(data: Any, schema: Any) -> bool:
    """Whether the data fits for certain.

    Args:
        data: From JSON.
        schema: A JSON schema of draft 2020-12.

    Returns:
        True only if jsonschema would find no error; False means "ask jsonschema".
    """
    if not isinstance(schema, Mapping):
        return schema is True
    return all(name in _REMARKS or _holds(name, wanted, data, schema) for name, wanted in schema.items())


def _holds(name: str, wanted: Any, data: Any, schema: Mapping[str, Any]) -> bool:
    """Whether one keyword of a schema is kept."""
    if name == "type":
        kinds = [wanted] if isinstance(wanted, str) else wanted
        return any(kind in _TYPES and _TYPES[kind](data) for kind in kinds)
    if name in ("const", "enum"):
        allowed = [wanted] if name == "const" else wanted
        return isinstance(data, str | int | None) and any(type(x) is type(data) and x == data for x in allowed)
    if name == "anyOf":
        return any(fits(data, one) for one in wanted)
    if name in ("minimum", "maximum"):
        number = _TYPES["number"](data)
        return not number or bool(data >= wanted if name == "minimum" else data <= wanted)
    if name in ("minLength", "maxLength", "pattern"):
        return not isinstance(data, str) or _text_holds(name, wanted, data)
    if name in ("minItems", "maxItems", "items"):
        return not isinstance(data, list) or _list_holds(name, wanted, data)
    if name in ("required", "properties", "additionalProperties", "maxProperties"):
        return not isinstance(data, dict) or _object_holds(name, wanted, data, schema)
    return False  # a keyword that is not known here


def _text_holds(name: str, wanted: Any, data: str) -> bool:
    if name == "pattern":
        return re.search(wanted, data) is not None
    return bool(len(data) >= wanted if name == "minLength" else len(data) <= wanted)


def _list_holds(name: str, wanted: Any, data: list[Any]) -> bool:
    if name == "items":
        return all(fits(item, wanted) for item in data)
    return bool(len(data) >= wanted if name == "minItems" else len(data) <= wanted)


def _object_holds(name: str, wanted: Any, data: dict[str, Any], schema: Mapping[str, Any]) -> bool:
    if name == "required":
        return all(key in data for key in wanted)
    if name == "maxProperties":
        return bool(len(data) <= wanted)
    known = schema.get("properties", {})
    if name == "properties":
        return all(fits(data[key], inner) for key, inner in wanted.items() if key in data)
    return all(fits(value, wanted) for key, value in data.items() if key not in known)
