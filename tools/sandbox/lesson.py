"""What a lesson is: conversations that begin alike, with the words that decide marked."""

import re
from typing import NamedTuple

from charter.core.messages import Messages, Role

_DECISIONS = {
    "scope": re.compile(r"(?<=The principle is about )[^.]+|(?<=The principle allows )[^.]+"),
    "verdict": re.compile(r"(?<=Verdict: )\w+"),
    "better": re.compile(r"(?<=Better: )\w+"),
    "fault": re.compile(r"(?<= involves )[^.]+|(?<= shows )[^.]+"),
    "form": re.compile(r"\. (?:The answer|Answer|Verdict|Better)"),
}


class Decision(NamedTuple):
    """A span of characters in which the model decides something, and what."""

    start: int
    end: int
    name: str


class Turn(NamedTuple):
    """One message of a lesson.

    Attributes:
        train: whether the model learns to write it.
        decisions: spans that decide, which weigh more.
        alternative: a text as right as `content`; both are taught with weight one half.
    """

    role: Role
    content: str
    train: bool = False
    decisions: tuple[Decision, ...] = ()
    alternative: str | None = None


Branch = list[Turn]
Lesson = list[Branch]


def turns_of(messages: Messages) -> Branch:
    """Messages as turns that the model reads and does not learn to write."""
    return [Turn(m["role"], m["content"]) for m in messages]


def judged(text: str) -> Turn:
    """An assistant's turn in which the words that decide are marked."""
    spans = (Decision(*m.span(), name) for name, pattern in _DECISIONS.items() for m in pattern.finditer(text))
    return Turn("assistant", text, True, tuple(spans))
