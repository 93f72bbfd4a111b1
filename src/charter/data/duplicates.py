"""Near duplicates among many texts: texts that have most of their three-word sequences in common.

The result is exact, without comparing all pairs. Two texts of which a fraction t of the sequences overlap have at least
one sequence in common among the rarest 1 - t of each, so only those are looked up (Chaudhuri et al. 2006; Bayardo et
al. 2007, "Scaling up all pairs similarity search").
"""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from charter.core.text import runs_of, split_words

RUN = 3
"""Words per sequence."""

_ROUNDING = 1e-9  # in floating point, 0.07 * 100 is a little over 7

Run = tuple[str, ...]


class NearDuplicate(NamedTuple):
    """A text's number, that of the earlier text it repeats, and their overlap: Jaccard similarity of sequences."""

    number: int
    of: int
    overlap: float


def near_duplicates(texts: Sequence[str], threshold: float) -> list[NearDuplicate]:
    """The texts that repeat an earlier one that is kept, in order. A text without words repeats none.

    Args:
        texts: in their order of precedence.
        threshold: the least overlap that makes a repetition, over 0 and at most 1.
    """
    sequences = [set(runs_of(split_words(text), RUN)) for text in texts]
    frequency = Counter(sequence for each in sequences for sequence in each)
    kept: dict[Run, list[int]] = defaultdict(list)  # the numbers of the texts that are kept, by their rarest sequences
    duplicates = list[NearDuplicate]()
    for number, current in enumerate(sequences):
        rarest = sorted(current, key=lambda sequence: (frequency[sequence], sequence))
        size = len(current)
        rarest = rarest[: size - math.ceil(threshold * size - _ROUNDING) + 1] if size else []
        candidates = sorted({other for sequence in rarest for other in kept[sequence]})
        nearest = max(candidates, key=lambda other: (_overlap(current, sequences[other]), -other), default=None)
        if nearest is not None and (overlap := _overlap(current, sequences[nearest])) >= threshold:
            duplicates.append(NearDuplicate(number, nearest, overlap))
        else:
            for sequence in rarest:
                kept[sequence].append(number)
    return duplicates


def _overlap(one: set[Run], other: set[Run]) -> float:
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared)
