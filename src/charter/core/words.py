"""Texts as words, to compare them by: no dictionary and no language needed."""

import re
import unicodedata
from collections.abc import Sequence
from itertools import islice

_ALONE = r"\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_ALONE}]|(?:(?![{_ALONE}])[^\W_])+(?:['\u2019](?:(?![{_ALONE}])[^\W_])+)*|[^\w\s]|_")


def split_words(text: str) -> list[str]:
    """The words and marks of a text in lower case; Chinese and Japanese, which have no spaces, by the character."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def runs_of(words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    """Every run of `n` words; one run of all of them, where there are fewer."""
    if len(words) < n:
        return [tuple(words)] if words else []
    return list(zip(*(islice(words, start, None) for start in range(n)), strict=False))
