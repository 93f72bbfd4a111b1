"""Texts made safe to show: no characters that HTML, JSON or a terminal must not be given."""

import math
import re
from collections.abc import Mapping
from typing import Any


def plain(value: Any) -> Any:
    """`value` as JSON can hold it and a page can show it, all the way down."""
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, int) else printable(str(value))


def printable(text: str) -> str:
    """Without the characters that HTML forbids or UTF-8 cannot hold, which a model may well produce."""
    return _FORBIDDEN.sub("\ufffd", text)


_FORBIDDEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def inline(value: object) -> str:
    """`value` as one line of Markdown text: no markup of its own, no table cell broken."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(str(value).split()))
