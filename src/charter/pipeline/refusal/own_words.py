"""What an answer says itself: without its thoughts, without headings, and without what it quotes.

A model may think of refusing and then comply, or quote a refusal that somebody else should say.
"""

import re

_THOUGHTS = re.compile(r"\A.*</(?:think|thinking|thought|reasoning)>", re.DOTALL | re.IGNORECASE)
_UNFINISHED = re.compile(r"\s*<(?:think|thinking|thought|reasoning)>", re.IGNORECASE)
_HEADING = re.compile(r"(?:#{1,6} [^\n]*\n\s*)+(?=\S)")
_QUOTED = re.compile(
    r'"[^"\n]{9,400}"|\u201c[^\u201d\n]{9,400}\u201d|\u00ab[^\u00bb\n]{9,400}\u00bb'
    r"|(?<![\w'])'(?=\w)(?:[^'\n]|'(?=\w)){9,400}'(?!\w)"  # an apostrophe within a word ends no quotation
    r"|\n>[^\n]*"
)
_OPENS = ('"', "\u201c", "\u00ab", " '", "\n>")


def after_thoughts(response: str) -> str:
    """The answer that follows a model's thoughts; nothing where they were cut off."""
    if "</" in response:
        response = _THOUGHTS.sub("", response)
    return "" if _UNFINISHED.match(response) else response.strip()


def own_words(answer: str) -> str:
    """An answer without its first headings and without quotations; all of it where it is nothing but a quotation."""
    if answer.startswith("#"):
        answer = _HEADING.sub("", answer, count=1)
    if not any(mark in answer for mark in _OPENS):
        return answer
    left = _QUOTED.sub(" ", answer)
    return left.strip() if any(map(str.isalnum, left)) else answer
