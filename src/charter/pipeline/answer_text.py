"""What can be told from the text of an answer alone: a preamble, another language, repetition."""

import re
import unicodedata
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import Any

from charter.core.text import runs_of, split_words
from charter.core.yaml import safe_load

LANGUAGES = Path(__file__).with_name("languages.yaml")
_MIN_LETTERS, _MAX_LETTERS = 20, 1000
"""Fewer letters do not show a language; more are not read."""
_MIN_WORDS = 5
"""This many frequent words of another language, and more than twice those of the right one, show it."""

RUN = 4
"""Words in a run, when looking for repetition."""
WINDOW = 60
"""Words within which a long text may start to repeat itself."""
_MIN_REPEATING_WORDS = 12
_LONGEST_WORD = 60

_YES = r"(?:sure(?: thing)?|certainly|of course|ok(?:ay)?|absolutely|understood|you(?:['\u2019]| a)re right)"
_SORRY = r"(?:(?:i )?(?:\w+ )?apologi[sz]e|(?:my )?(?:\w+ )?apologies|(?:i(?:['\u2019]| a)m )?(?:\w+ )?sorry|thank you)"
_DECLINES = r"(?:cannot|can['\u2019]t|won['\u2019]t|unable)"
_REVISED = r"(?:revised|rewritten|reworded|new|updated|improved|safer|corrected|modified|alternative)"
_ANSWER = r"(?:answer|response|reply)s?"
_VERSION = (
    rf"(?:version|text)s?(?: of (?:my|the|this|that) (?:[\w-]+ ){{0,2}}?{_ANSWER})?"  # but not of a letter or a song
)
_MORE = r"(?:,| \(| [\u2013\u2014-]| (?:to|for|in|that|which|with(?:out)?|as|based|following|avoiding|respecting)\b)"
_THEIRS = r"\byour (?!question|request|message|prompt|query)"

_SENTENCE = re.compile(
    r"(?:\#+ *)?(?P<mark>[*_]*)(?P<text>[^\n:.!*_]+)"
    r"(?P<end>(?P=mark)[:.!]+|[:.!]+(?P=mark)|(?P=mark)(?=\n|$))\s*"
)
_COURTESY = re.compile(rf"(?!.*\b{_DECLINES}\b)(?:{_YES}|(?:{_YES},? )?{_SORRY}\b.*)", re.IGNORECASE)
_ANNOUNCEMENT = re.compile(
    rf"(?!.*{_THEIRS})(?:{_YES}[,;]? )?(?:here(?:['\u2019]s| is| are)|(?:below|the following|this) (?:is|are)) "
    r"(?!how\b|why\b|what\b|where\b|when\b|who\b)(?:[\w'\u2019-]+,? ){0,6}?"
    rf"(?:{_REVISED}(?:,? [\w-]+){{0,6}}? (?:{_ANSWER}|{_VERSION})|revisions?|rewrite)(?:{_MORE}.*)?",
    re.IGNORECASE,
)
_TITLE = re.compile(rf"(?:the |my )?{_REVISED} (?:{_ANSWER}|version)\s*", re.IGNORECASE)


def strip_preamble(text: str) -> str:
    """A revision without a preamble such as "Sure! Here is the revised answer:"; empty if nothing else is there.

    The text is read sentence by sentence; a colon or the end of a line ends one too. An announcement of the revision
    is removed, with the courtesies before it.
    """
    text = text.strip()
    start = position = 0
    while sentence := _SENTENCE.match(text, position):
        words, position = sentence["text"].strip(), sentence.end()
        is_title = _TITLE.fullmatch(words) and not sentence["end"].strip("*_").endswith((".", "!"))
        if is_title or _ANNOUNCEMENT.fullmatch(words):
            start = position
        # A courtesy alone belongs to the answer, so `start` does not move; neither does "Here is how bees make honey:".
        elif not _COURTESY.fullmatch(words):
            break
    return text[start:]


def is_known_language(language: str) -> bool:
    """Whether `is_foreign` knows this language; `language` is a code such as ``en`` or ``en-GB``."""
    code = _code(language)
    return code in _languages()["words"] or code in _languages()["scripts"]


def is_foreign(text: str, language: str) -> bool:
    """Whether `text` is certainly in another language; texts that are too short to tell are not.

    The script of its letters decides; among languages in Latin script the most frequent short words do.

    Raises:
        KeyError: a language that is not known; ask `is_known_language` first.
    """
    letters = [c for c in text if c.isalpha()][:_MAX_LETTERS]
    if len(letters) < _MIN_LETTERS:
        return False
    code, known = _code(language), _languages()
    scripts = ["LATIN"] if code in known["words"] else known["scripts"][code]
    # The first word of a character's Unicode name is its script, such as LATIN SMALL LETTER A.
    if sum(unicodedata.name(letter, "").split(" ")[0] in scripts for letter in letters) < len(letters) / 2:
        return True
    if scripts != ["LATIN"]:
        return False
    counts = Counter(split_words(text))
    hits = {name: sum(counts[word] for word in words) for name, words in known["words"].items()}
    expected = hits.pop(code)
    return max(hits.values()) >= max(_MIN_WORDS, 2 * expected + 1)


def _code(language: str) -> str:
    return language.lower().replace("_", "-").split("-")[0]


@lru_cache(maxsize=1)
def _languages() -> dict[str, Any]:
    return dict(safe_load(LANGUAGES.read_text(encoding="utf-8")))


def repeated_share(text: str) -> float:
    """The share of runs of four words that came before, in the whole text or in its worst window of 60 words.

    0 for a text of fewer than 12 words.
    """
    # What is longer than any word, such as a line of dashes or Chinese without spaces, is read by the character.
    words = [part for word in split_words(text) for part in (word if len(word) > _LONGEST_WORD else (word,))]
    if len(words) < _MIN_REPEATING_WORDS:
        return 0.0
    runs = runs_of(words, RUN)
    whole = 1 - len(set(runs)) / len(runs)
    # Marks do not count in windows: a rule or a table is drawn with many that are alike.
    runs, size = runs_of([word for word in words if word[0].isalnum()], RUN), WINDOW - RUN + 1
    if len(runs) < size:
        return whole
    # Slide the window by one run at a time, and keep the smallest number of different runs in it.
    inside = Counter(runs[:size])
    fewest = len(inside)
    for left, entered in zip(runs, runs[size:], strict=False):
        inside[entered] += 1
        inside[left] -= 1
        if not inside[left]:
            del inside[left]
        fewest = min(fewest, len(inside))
    return max(whole, 1 - fewest / size)
