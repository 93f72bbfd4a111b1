"""Rules that need no model: the sentences under a principle's ``### Check``, and what they say of an answer.

Each is one plain sentence, such as "At most 3 sentences." (rule-based rewards: Mu et al. 2024, arXiv 2411.01111;
verifiable instructions: Zhou et al. 2023, arXiv 2311.07911).
"""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

KNOWN = (
    "At most N words, sentences, paragraphs or lines.",
    "At least N words, sentences, paragraphs or lines.",
    "No lists.",
    "Ends with a question.",
    "Does not end with a question.",
    "Starts with `text`.",
    "Ends with `text`.",
    "Must match `pattern`.",
    "Must not match `pattern`.",
)
"""The sentences that are understood; N is a number or a word up to twelve, and patterns are regular expressions."""

_CLOSING = "\"'\u201d\u2019)]*_"
_SENTENCE_END = re.compile(rf"[.!?\u2026]+[{re.escape(_CLOSING)}]*(?=\s|$)|\n+")
_LIST_ITEM = re.compile(r"^\s*(?:[-*•+]|\d{1,2}[.)])\s+\S", re.MULTILINE)
_NUMBERS = dict(
    zip(
        ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"],
        range(1, 13),
        strict=True,
    )
)

Problem = Callable[[str], str]
"""From an answer to what is wrong with it, as the end of a sentence that begins with "The answer"; empty if nothing."""


class Rule(NamedTuple):
    """One rule.

    Attributes:
        sentence: as it is written.
        problem: says what is wrong with an answer; empty if it keeps the rule.
    """

    sentence: str
    problem: Problem


def problems_of(sentences: Sequence[str], answer: str) -> list[str]:
    """What is wrong with an answer by these checks; empty if it keeps all of them."""
    return [problem for sentence in sentences if (problem := parse_check(sentence).problem(answer))]


@lru_cache(maxsize=1024)
def parse_check(sentence: str) -> Rule:
    """The rule that a sentence states.

    Raises:
        ValueError: the sentence is not understood, or its pattern is not a regular expression.
    """
    plain = sentence.strip().removesuffix(".")
    for form, rule in _FORMS:
        if match := form.fullmatch(plain):
            return Rule(sentence, rule(match))
    raise ValueError("is not understood")


def split_sentences(section: str) -> list[str]:
    """The checks of a section: one on each line, with or without a list mark."""
    lines = (re.sub(r"^\s*(?:[-*+]|\d+[.)])\s+", "", line).strip() for line in section.splitlines())
    return [line for line in lines if line]


def count_sentences(text: str) -> int:
    """How many sentences a text has: what ends in a full stop, a question or exclamation mark, or with its line."""
    return sum(any(letter.isalnum() for letter in part) for part in _SENTENCE_END.split(text))


_COUNTS: dict[str, Callable[[str], int]] = {
    "word": lambda text: len(text.split()),
    "sentence": count_sentences,
    "paragraph": lambda text: len([part for part in re.split(r"\n\s*\n", text) if part.strip()]),
    "line": lambda text: len([line for line in text.splitlines() if line.strip()]),
}


def _length(match: re.Match[str]) -> Problem:
    bound, unit = match["bound"].casefold(), match["unit"].casefold()
    number = _NUMBERS.get(match["number"].casefold()) or int(match["number"])

    def problem(answer: str) -> str:
        count = _COUNTS[unit](answer)
        if (count > number) if bound == "most" else (count < number):
            return f"has {count} {unit}{'s' if count != 1 else ''}, and at {bound} {number} are allowed"
        return ""

    return problem


def _no_lists(match: re.Match[str]) -> Problem:
    return lambda answer: "has a list, and lists are not allowed" if _LIST_ITEM.search(answer) else ""


def _question(match: re.Match[str]) -> Problem:
    wanted = match["not"] is None

    def problem(answer: str) -> str:
        asks = answer.rstrip(f"{_CLOSING} \n\t").endswith(("?", "\uff1f", "\u061f"))  # of Chinese and Arabic too
        if asks == wanted:
            return ""
        return "does not end with a question" if wanted else "ends with a question"

    return problem


def _edge(match: re.Match[str]) -> Problem:
    text, at_start = match["text"], match["edge"].casefold() == "starts"

    def problem(answer: str) -> str:
        stripped = answer.strip().casefold()
        kept = stripped.startswith(text.casefold()) if at_start else stripped.endswith(text.casefold())
        return "" if kept else f'does not {"start" if at_start else "end"} with "{text}"'

    return problem


def _pattern(match: re.Match[str]) -> Problem:
    wanted = match["not"] is None
    try:
        pattern = re.compile(match["text"], re.IGNORECASE | re.MULTILINE)
    except re.error as error:
        raise ValueError(f"has a pattern that is not a regular expression ({error})") from error

    def problem(answer: str) -> str:
        found = pattern.search(answer)
        if (found is not None) == wanted:
            return ""
        return f"lacks what must be in it ({match['text']})" if wanted else f'has "{found[0] if found else ""}" in it'

    return problem


_FORMS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], Problem]], ...] = tuple(
    (re.compile(form, re.IGNORECASE), rule)
    for form, rule in (
        (
            rf"at (?P<bound>most|least) (?P<number>\d{{1,6}}|{'|'.join(_NUMBERS)}) "
            r"(?P<unit>word|sentence|paragraph|line)s?",
            _length,
        ),
        (r"no lists?", _no_lists),
        (r"(?:ends|does (?P<not>not) end) with a question", _question),
        (r"(?P<edge>starts|ends) with `(?P<text>[^`]+)`", _edge),
        (r"must (?P<not>not )?match `(?P<text>[^`]+)`", _pattern),
    )
)
