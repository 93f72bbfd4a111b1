"""Two answers beside each other, with the words marked that only one of them has."""

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from charter.constitution.diff import diff_words

_STRAY = 2


class Marked(NamedTuple):
    """A stretch of one of two texts, and whether the other has it too."""

    changed: bool
    words: str


def side_by_side(before: str, after: str) -> tuple[tuple[Marked, ...], tuple[Marked, ...]]:
    """Two texts with the words marked that only one of them has.

    One or two words that stayed in the midst of others that did not are marked too: two answers that have nothing
    but "the" in common are easier to read so.
    """
    pieces = diff_words(f"{before} ", f"{after} ")  # the last word of one may stand in the middle of the other
    sides: tuple[list[Marked], list[Marked]] = ([], [])
    for place, (change, text) in enumerate(pieces):
        inside = 0 < place < len(pieces) - 1
        marked = Marked(change != "same" or (inside and len(text.split()) <= _STRAY), text)
        for side, other in zip(sides, ("added", "removed"), strict=True):
            if change != other:
                side.append(marked)
    return _runs(sides[0]), _runs(sides[1])


def _runs(side: Sequence[Marked]) -> tuple[Marked, ...]:
    runs = [Marked(changed, "".join(p.words for p in run)) for changed, run in groupby(side, lambda p: p.changed)]
    return (*runs[:-1], *(Marked(last.changed, last.words.rstrip()) for last in runs[-1:]))
