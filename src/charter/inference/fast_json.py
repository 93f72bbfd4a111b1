"""JSON as it goes over the wire: by orjson, and by json what orjson turns down.

That is half of a surrogate pair, which a cut answer may end with and a prompt may hold, and NaN or infinity where some
servers send it.
"""

import json
from typing import Any

import orjson


def dumps(value: Any) -> bytes:
    """Compact JSON in UTF-8.

    Raises:
        TypeError: something in it has no form in JSON.
    """
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()


def canonical(value: Any) -> bytes:
    """As `dumps`, in the order in which keys are given; a half of a pair stands there as it is, in three bytes.

    Not for numbers with a fraction, of which the two libraries write some in different ways.

    Raises:
        TypeError: something in it has no form in JSON.
    """
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def loads(text: bytes) -> Any:
    """What the JSON says; a whole number of more than 64 bits, which no answer holds, comes as a fraction.

    Raises:
        ValueError: it is no JSON.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return json.loads(text)
