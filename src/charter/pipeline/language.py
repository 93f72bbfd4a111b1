"""Whether a text is in another language than it should be: cheap, and only sure of what is plain.

The script of its letters decides, and among languages in Latin script the most frequent short words do
(`languages.yaml`). Texts too short to tell pass.
"""

import unicodedata
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import Any

from charter.core.text import split_words
from charter.core.yaml import safe_load

FILE = Path(__file__).with_name("languages.yaml")
_LETTERS = 20
"""Fewer letters than this say nothing about a language; more than `_ENOUGH` are not looked at."""
_ENOUGH = 1000
_WORDS = 5
"""So many frequent words of another language, and more than twice as many as of the right one, tell."""


def is_known(language: str) -> bool:
    """Whether texts in this language can be told from others; `language` is a code such as ``en`` or ``en-GB``."""
    code = _code(language)
    return code in _languages()["words"] or code in _languages()["scripts"]


def is_foreign(text: str, language: str) -> bool:
    """Whether `text` is plainly in another language.

    Raises:
        KeyError: a language that is not known; ask `is_known` first.
    """
    letters = [c for c in text if c.isalpha()][:_ENOUGH]
    if len(letters) < _LETTERS:
        return False
    code, known = _code(language), _languages()
    scripts = ["LATIN"] if code in known["words"] else known["scripts"][code]
    if sum(_script(letter) in scripts for letter in letters) < len(letters) / 2:
        return True
    return scripts == ["LATIN"] and _other_words(text, code)


def _other_words(text: str, code: str) -> bool:
    counts = Counter(split_words(text))
    hits = {name: sum(counts[word] for word in words) for name, words in _languages()["words"].items()}
    own = hits.pop(code)
    return max(hits.values()) >= max(_WORDS, 2 * own + 1)


def _script(letter: str) -> str:
    return unicodedata.name(letter, "").split(" ")[0]


def _code(language: str) -> str:
    return language.lower().replace("_", "-").split("-")[0]


@lru_cache(maxsize=1)
def _languages() -> dict[str, Any]:
    return dict(safe_load(FILE.read_text(encoding="utf-8")))
