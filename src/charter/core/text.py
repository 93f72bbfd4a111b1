"""Texts made safe for HTML, JSON and terminals, and texts split into words without a dictionary."""

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any


def plain(value: Any) -> Any:
    """`value` as nested values that JSON can hold and a page can show."""
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        # JSON has no NaN and no infinity.
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, int) else printable(str(value))


def printable(text: str) -> str:
    """Without the characters that HTML forbids or UTF-8 cannot encode; models do produce some."""
    return _FORBIDDEN.sub("\ufffd", text)


_FORBIDDEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def inline(value: object) -> str:
    """`value` as one line of Markdown text, with its markup and table bars escaped."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(str(value).split()))


def cut_inline(text: str, length: int = 400) -> str:
    """`text` as by `inline`, cut after `length` characters."""
    # Cut before escaping, so that no escape is cut in two.
    return inline(text if len(text) <= length else f"{text[:length]}…")


def inline_code(text: str, length: int = 300) -> str:
    """`text` as one line of Markdown code, so that nothing in a request or an answer is rendered."""
    return "`" + " ".join(text.replace("`", "'").split())[:length] + "`"


# Scripts without spaces between words: kana, Han, and the compatibility forms of Han.
_ALONE = r"\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_ALONE}]|(?:(?![{_ALONE}])[^\W_])+(?:['\u2019](?:(?![{_ALONE}])[^\W_])+)*|[^\w\s]|_")


def split_words(text: str) -> list[str]:
    """The words and marks of a text in lower case; Chinese and Japanese, which have no spaces, by character."""
    # NFKC makes full-width letters and ligatures equal to plain ones.
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def runs_of(words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    """Every run of `n` consecutive words; a shorter text is one run."""
    if len(words) < n:
        # Two short texts can still repeat each other as a whole.
        return [tuple(words)] if words else []
    return list(zip(*(islice(words, start, None) for start in range(n)), strict=False))
