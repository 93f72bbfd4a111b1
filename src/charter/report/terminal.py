"""Texts of models and people in the terminal, made harmless and readable without colour; two answers compared."""

import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from charter.constitution.diff import diff_words
from charter.core.text import printable

SIDE_BY_SIDE = 72
"""The columns that a terminal needs to show two texts side by side."""

_BIDI = re.compile("[\u202a-\u202e\u2066-\u2069]")  # they reverse the direction of the text that follows
_STRAY_WORDS = 2
_REMOVED, _ADDED = ("[-{}-]", "red"), ("{{+{}+}}", "green")


class Marked(NamedTuple):
    """A piece of one of two texts, and whether it is missing from the other."""

    changed: bool
    words: str


def open_console(stderr: bool = False) -> Console:
    """A console that prints texts as they are, without reading markup in them."""
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


def visible(text: str) -> str:
    """`text` without control sequences, which could do anything to a terminal."""
    return _BIDI.sub("\ufffd", printable(text)).expandtabs(4)


def labelled(label: str, text: Text, style: str = "bold") -> Iterator[RenderableType]:
    """A text under its label."""
    text.overflow = "fold"
    yield Text(label, style=style)
    yield Padding(text, (0, 0, 0, 2))


def two_answers(before: str, after: str, names: tuple[str, str], wide: bool) -> Iterator[RenderableType]:
    """Two answers with the words marked that only one of them has; side by side if `wide`."""
    left, right = side_by_side(visible(before), visible(after))
    first, second = _marked(left, *_REMOVED), _marked(right, *_ADDED)
    if wide:
        table = Table(box=SIMPLE_HEAD, expand=True, show_edge=False, padding=(0, 1, 0, 0), header_style="bold")
        for name in names:
            table.add_column(name, ratio=1, overflow="fold")
        table.add_row(first, second)
        yield table
    else:
        yield from labelled(names[0], first)
        yield from labelled(names[1], second)


def side_by_side(before: str, after: str) -> tuple[tuple[Marked, ...], tuple[Marked, ...]]:
    """Two texts with the words marked that only one of them has."""
    pieces = diff_words(
        f"{before} ", f"{after} "
    )  # spaces, because the last word of one may be in the middle of the other
    sides: tuple[list[Marked], list[Marked]] = ([], [])
    for place, (change, text) in enumerate(pieces):
        # One or two unchanged words between changed ones are marked too: two answers that have nothing but "the" in
        # common are easier to read that way.
        stray = 0 < place < len(pieces) - 1 and len(text.split()) <= _STRAY_WORDS
        marked = Marked(change != "same" or stray, text)
        for side, other in zip(sides, ("added", "removed"), strict=True):
            if change != other:
                side.append(marked)
    return _merge_runs(sides[0]), _merge_runs(sides[1])


def _merge_runs(side: Sequence[Marked]) -> tuple[Marked, ...]:
    # Adjacent pieces with the same mark become one, so that each is marked once.
    runs = [Marked(changed, "".join(p.words for p in run)) for changed, run in groupby(side, lambda p: p.changed)]
    return (*runs[:-1], *(Marked(last.changed, last.words.rstrip()) for last in runs[-1:]))


def _marked(side: Sequence[Marked], mark: str, colour: str) -> Text:
    text = Text(overflow="fold")
    for changed, piece in side:
        # White space at the end stays outside the mark, where the eye expects it.
        body = piece.rstrip()
        text.append(mark.format(body) if changed and body else body, style=colour if changed else None)
        text.append(piece[len(body) :])
    text.rstrip()
    return text
