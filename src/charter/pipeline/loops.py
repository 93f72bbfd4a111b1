"""Texts that do not end as they should: that repeat themselves, or that were cut off in the middle."""

import re

from charter.core.text import split_words
from charter.pipeline.answer_text import repeated_share

MIN_REPETITIONS, MIN_LOOP_WORDS = 3, 20
"""A text loops if it ends with this many repetitions of the same words, which are this many words together."""
_LOOPING_SHARE = 0.6
"""A long text loops as well if this share of its four-word sequences came before, as in `pairs.filters.repetition`."""
_LONG = 100
"""Words from which that share is looked at: a short list of similar lines is not a loop."""

_WORD = re.compile(r"\S+")
_CLOSING = "\"'\u201d\u2019\u00bb)\\]*_`"  # quotation marks, brackets and Markdown after a full stop
_SENTENCE_END = re.compile(
    rf"[.!?\u2026]+[{_CLOSING}]*(?=\s|$)|[\u3002\uff01\uff1f]+[\u300d\u300f\u201d\u2019\uff09]*"  # and in Chinese
)
_LIST_NUMBER = re.compile(r"\s*(?:\d+|[A-Za-z])\.")
_FENCE = "```"


def is_looping(text: str) -> bool:
    """Whether a text repeats itself, as greedy decoding makes small models do until they are cut off."""
    if _loop_start(text) is not None:
        return True
    return len(split_words(text)) >= _LONG and repeated_share(text) >= _LOOPING_SHARE


def before_loop(text: str) -> str:
    """A text up to and including the first of the repetitions that it ends with; the whole text if it has none."""
    start = _loop_start(text)
    return text if start is None else text[:start].rstrip()


def _loop_start(text: str) -> int | None:
    """The character at which the second of the final repetitions starts; None if the text does not end in any."""
    words = list(_WORD.finditer(text))
    spelled = [word.group() for word in words]
    n = len(spelled)
    for period in range(1, n // MIN_REPETITIONS + 1):
        # Count from the end how many words are the same one period earlier. The last word may be cut off.
        same = 0
        while same < n - 1 - period and spelled[n - 2 - same] == spelled[n - 2 - same - period]:
            same += 1
        if same >= max((MIN_REPETITIONS - 1) * period, MIN_LOOP_WORDS - period):
            return words[n - 1 - same].start()
    return None


def trim_to_sentence(text: str) -> str:
    """A text that was cut off, up to its last complete sentence; empty if it has none.

    An open code block is left out as a whole. The number of a list item ("2.") ends no sentence.
    """
    text = text.rstrip()
    if text.count(_FENCE) % 2:
        text = text[: text.rindex(_FENCE)].rstrip()
        if text.endswith(":"):  # "Here is the program:"
            text = text.rpartition("\n")[0].rstrip() or text
    ends = [
        match.end()
        for match in _SENTENCE_END.finditer(text)
        if not _LIST_NUMBER.fullmatch(text, text.rfind("\n", 0, match.start()) + 1, match.end())
    ]
    return text[: ends[-1]] if ends else ""
