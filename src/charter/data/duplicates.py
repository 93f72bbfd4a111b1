"""Near duplicates among many texts: those that share most of their runs of words.

Exact, and without comparing every two: texts whose runs overlap by a share t have one in common among the rarest
1 - t of each, so that only these are looked up (Chaudhuri et al. 2006; Bayardo et al. 2007, "Scaling up all pairs
similarity search").
"""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from charter.core.words import runs_of, split_words

RUN = 3
"""Words per run."""

_ROUNDING = 1e-9  # 0.07 * 100 is a little over 7

Run = tuple[str, ...]


class NearDuplicate(NamedTuple):
    """A text's number, that of the earlier text it repeats, and the share of runs both have (Jaccard)."""

    number: int
    of: int
    overlap: float


def near_duplicates(texts: Sequence[str], threshold: float) -> list[NearDuplicate]:
    """The texts that repeat an earlier one that stays, in order; a text without words repeats none.

    Args:
        texts: in their order of precedence.
        threshold: the least share of runs in common, over 0 and at most 1.
    """
    runs = [set(runs_of(split_words(text), RUN)) for text in texts]
    frequency = Counter(run for each in runs for run in each)
    stays: dict[Run, list[int]] = defaultdict(list)
    found = list[NearDuplicate]()
    for number, own in enumerate(runs):
        rarest = sorted(own, key=lambda run: (frequency[run], run))
        looked_up = rarest[: len(own) - math.ceil(threshold * len(own) - _ROUNDING) + 1] if own else []
        met = sorted({other for run in looked_up for other in stays[run]})
        nearest = max(met, key=lambda other: (_overlap(own, runs[other]), -other), default=None)
        if nearest is not None and (overlap := _overlap(own, runs[nearest])) >= threshold:
            found.append(NearDuplicate(number, nearest, overlap))
        else:
            for run in looked_up:
                stays[run].append(number)
    return found


def _overlap(one: set[Run], other: set[Run]) -> float:
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared)
