"""The quick look at a schema never says yes where jsonschema says no, and knows the files that are really written."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from engine.evaluate.task_schema import SCHEMA as TASKS
from engine.evaluate.task_schema import SCHEMA_2 as TASKS_2
from engine.recipe.project import SCHEMA
from engine.recipe.quick import fits

ODD: list[Any] = [None, True, False, 0, 1, -1, 1.0, 0.5, 1e308, "", "x", "x" * 5000, [], {}, [1], {"a": 1}, ["x"] * 3]
SCHEMAS: list[Any] = [SCHEMA, *TASKS.values(), *TASKS_2.values()]


def example(schema: Any, chance: random.Random) -> Any:
    """Something that fits a schema more or less."""
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return chance.choice(schema["enum"])
    if "anyOf" in schema:
        return example(chance.choice(schema["anyOf"]), chance)
    kind = schema.get("type", "string")
    kind = chance.choice(kind) if isinstance(kind, list) else kind
    if kind == "object":
        named = {k: example(v, chance) for k, v in schema.get("properties", {}).items()
                 if k in schema.get("required", ()) or chance.random() < 0.6}  # fmt: skip
        more = schema.get("additionalProperties")
        return named | ({"other": example(more, chance)} if isinstance(more, dict) else {})
    if kind == "array":
        return [example(schema["items"], chance) for _ in range(max(schema.get("minItems", 0), 1))]
    plain: dict[str, Any] = {"string": "x" * max(1, schema.get("minLength", 1)), "boolean": True, "null": None,
                             "integer": max(1, schema.get("minimum", 1)), "number": 0.5}  # fmt: skip
    return plain[kind]


def places(data: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key) of everything inside."""
    for key in data if isinstance(data, dict) else range(len(data)):
        yield data, key
        if isinstance(data[key], dict | list):
            yield from places(data[key])


@pytest.mark.parametrize("number", range(len(SCHEMAS)))
def test_yes_is_always_true(number: int) -> None:
    schema, chance = SCHEMAS[number], random.Random(number)
    judge = jsonschema.Draft202012Validator(schema)
    yes = no = 0
    for _ in range(150):
        data = example(schema, chance)
        for _ in range(chance.choice((0, 0, 1, 2))):
            holder, key = chance.choice(list(places(data)))
            if chance.random() < 0.2 and isinstance(holder, dict):
                del holder[key]
                holder["unknown"] = copy.deepcopy(chance.choice(ODD))
            else:
                holder[key] = copy.deepcopy(chance.choice(ODD))
            if not data:
                break
        valid = judge.is_valid(data)
        if fits(data, schema):
            assert valid, data
            yes += 1
        no += not valid
    assert yes > 10 and no > 10


@pytest.mark.parametrize(
    ("data", "schema"),
    [(True, {"type": "integer"}), (1.0, {"type": "integer"}), (True, {"const": 1}), (1, {"enum": [True]}),
     ("aaa", {"maxLength": 2}), (float("nan"), {"minimum": 0}), (1, {"multipleOf": 2}), ({"a": 1}, {"not": {}}),
     ({"b": 1}, {"properties": {"a": {}}, "additionalProperties": False}), (1, False)],
)  # fmt: skip
def test_doubt_is_a_no(data: Any, schema: Any) -> None:
    assert not fits(data, schema)
