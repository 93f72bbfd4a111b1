"""The mix: which pairs leave for the sake of the whole, by lot, when all of a run have been judged.

All pairs are weighed before any leaves; of each, six bytes are kept.
"""

from array import array
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charter.config import Pairs
from charter.stages.context import seed_of

REASONS = ("", "helpful-share", "length-balance")
"""Why a pair leaves; it stays for the first."""

_ROUNDING = 1e-9  # 3 * 0.25 / 0.75 is a little under 1


class Weighed(NamedTuple):
    """What the mix looks at: by how many characters the chosen answer is longer than the rejected one."""

    pair_id: str
    strategy: str
    longer_by: int


class Weights(NamedTuple):
    """All pairs, in their order.

    Attributes:
        luck: those with the lowest leave first; drawn from the seed and the pair's id.
        helpful: whether a pair is of the strategy `helpful`.
        longer: 1 where the chosen answer is the longer one, -1 where it is the shorter.
    """

    luck: NDArray[np.uint32]
    helpful: NDArray[np.bool_]
    longer: NDArray[np.int8]


def weigh(pairs: Iterable[Weighed], seed: int) -> Weights:
    """Look at all pairs, one after the other."""
    luck, helpful, longer = array("I"), array("B"), array("b")
    for pair in pairs:
        luck.append(seed_of(seed, "mix", pair.pair_id))
        helpful.append(pair.strategy == "helpful")
        longer.append((pair.longer_by > 0) - (pair.longer_by < 0))
    return Weights(np.array(luck, np.uint32), np.array(helpful, np.bool_), np.array(longer, np.int8))


def leaving(weights: Weights, settings: Pairs) -> NDArray[np.uint8]:
    """The number of each pair's reason to leave among `REASONS`, 0 where it stays."""
    fates = np.zeros(len(weights.luck), np.uint8)
    fates[too_many_helpful(weights, settings.helpful_share)] = REASONS.index("helpful-share")
    if settings.length_balance:
        fates[too_long(weights, fates == 0)] = REASONS.index("length-balance")
    return fates


def too_many_helpful(weights: Weights, share: float) -> NDArray[np.int64]:
    """The places of the fewest helpful pairs that leave so that they are at most `share` of all.

    None leaves where there are no others.
    """
    helpful = np.flatnonzero(weights.helpful)
    others = len(weights.luck) - len(helpful)
    if not others or share >= 1:
        return helpful[:0]
    return _drawn(weights, helpful, len(helpful) - int(others * share / (1 - share) + _ROUNDING))


def too_long(weights: Weights, among: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The places of the fewest pairs that leave so that chosen is longer as often as it is shorter.

    Equal lengths stay.
    """
    longer, shorter = (np.flatnonzero(among & (weights.longer == sign)) for sign in (1, -1))
    more, fewer = (longer, shorter) if len(longer) > len(shorter) else (shorter, longer)
    return _drawn(weights, more, len(more) - len(fewer))


def _drawn(weights: Weights, places: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    order = np.argsort(weights.luck[places], kind="stable")
    return places[order[: max(0, n)]]
