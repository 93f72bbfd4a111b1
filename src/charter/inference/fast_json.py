"""JSON by orjson, and by the standard library what orjson refuses.

That is half of a surrogate pair, which a cut answer may end with and a prompt may contain, and NaN or infinity, which
some servers send.
"""

import json
from typing import Any

import orjson


def dumps(value: Any) -> bytes:
    """Compact JSON in UTF-8.

    Raises:
        TypeError: a value cannot be written as JSON.
    """
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()


def canonical(value: Any) -> bytes:
    """Like `dumps`, with keys in the given order; half of a surrogate pair is written as its three bytes.

    Not for floats: the two libraries write some of them differently.

    Raises:
        TypeError: a value cannot be written as JSON.
    """
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def loads(text: bytes) -> Any:
    """Parse JSON. An integer of more than 64 bits, which no answer contains, becomes a float.

    Raises:
        ValueError: the text is not JSON.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return json.loads(text)
