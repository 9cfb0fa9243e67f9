"""JSON Schemas of many kinds, drawn from a seed. All of them are bounded, so that an answer comes to its end."""

from __future__ import annotations

import random
from typing import Any

Schema = dict[str, Any]

WORDS = ["name", "age", "city", "colour", "price", "tags", "note", "état", "日付", "a-b", "with_space_", "$id"]
PATTERNS = [r"^[A-Z]{2}-\d{4}$", r"^(red|green|blue)$", r"^#[0-9a-f]{6}$", r"^[a-z]+(\.[a-z]+){1,2}$", r"^\+?\d{5,9}$"]
FORMATS = ["date", "time", "date-time", "uuid", "ipv4"]


def schema(seed: int) -> Schema:
    """The schema of a seed: most often an object, as users ask for."""
    draw = random.Random(seed)
    if draw.random() < 0.1:
        return _with_reference(draw)
    return _object(draw, 2) if draw.random() < 0.8 else _any(draw, 2)


def _any(draw: random.Random, depth: int) -> Schema:
    leaves = [_integer, _number, _string, _pattern, _format, _choice, _simple]
    if depth and draw.random() < 0.4:
        return draw.choice([_object, _array, _either])(draw, depth - 1)
    return draw.choice(leaves)(draw)


def _object(draw: random.Random, depth: int) -> Schema:
    names = draw.sample(WORDS, draw.randint(1, 4))
    required = [name for name in names if draw.random() < 0.7]
    properties = {name: _any(draw, depth) for name in names}
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _array(draw: random.Random, depth: int) -> Schema:
    fewest = draw.randint(0, 2)
    return {
        "type": "array",
        "items": _any(draw, depth),
        "minItems": fewest,
        "maxItems": fewest + draw.randint(0, 2),
    }


def _either(draw: random.Random, depth: int) -> Schema:
    return {"anyOf": [_any(draw, depth) for _ in range(draw.randint(2, 3))]}


def _integer(draw: random.Random) -> Schema:
    least = draw.randint(-50, 50)
    most = least + draw.choice([0, 7, 1000])
    return draw.choice(
        [
            {"type": "integer", "minimum": least, "maximum": most},
            {"type": "integer", "exclusiveMinimum": least - 1, "exclusiveMaximum": most + 1},
            {"type": "integer", "minimum": 0, "maximum": 90, "multipleOf": 15},
        ]
    )


def _number(draw: random.Random) -> Schema:
    return {"type": "number", "minimum": draw.randint(-9, 0), "maximum": draw.randint(1, 9), "multipleOf": 0.25}


def _string(draw: random.Random) -> Schema:
    shortest = draw.randint(0, 3)
    return {"type": "string", "minLength": shortest, "maxLength": shortest + draw.randint(0, 12)}


def _pattern(draw: random.Random) -> Schema:
    return {"type": "string", "pattern": draw.choice(PATTERNS), "maxLength": 24}


def _format(draw: random.Random) -> Schema:
    return {"type": "string", "format": draw.choice(FORMATS)}


def _choice(draw: random.Random) -> Schema:
    values: list[Any] = ["yes", "no", "vielleicht\n", '"quoted"', 3, 2.5, None, True, "東京"]
    return draw.choice([{"enum": draw.sample(values, 3)}, {"const": draw.choice(values)}])


def _simple(draw: random.Random) -> Schema:
    return draw.choice([{"type": "boolean"}, {"type": "null"}, {"type": ["boolean", "null"]}])


def _with_reference(draw: random.Random) -> Schema:
    item = _object(draw, 1)
    item["properties"]["again"] = {"type": "array", "items": {"$ref": "#/$defs/leaf"}, "maxItems": 2}
    return {"$defs": {"node": item, "leaf": _any(draw, 0)}, "$ref": "#/$defs/node"}
